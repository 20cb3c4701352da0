"""What is heard and what is seen made one: the articulation that a frame's picture is learnt for.

When served, the painter is given what the articulator hears. A painter that learns each picture for what was heard at
that moment has the right scale and the right moment, but what the ears do not know it paints as a mean: lips a little
open where they should shut, and never quite wide. One that learns from what was measured paints whatever it is asked
for, but is asked in another language: the person's own range, and their landmarks' errors. So the measured channels are
first said in the articulator's own values (the same rank in the whole video: a monotone map, which takes the person's
range and habits out and keeps a shut mouth shut), then mixed with what was heard, by as much as the two agree.
docs/from-video.md has the figures of either alone and of the mixture.
"""

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.articulation import CHANNELS
from models.training.face.sample import clamp
from models.training.video import ears
from models.training.video.read import FPS

SEEN: Final = {
    "jaw": 0.7, "aperture": 0.7, "width": 0.7, "rounding": 0.7, "tuck": 0.35, "press": 0.35, "tongue": 0.0,
}  # fmt: skip
"""Share of a channel that is taken from the landmarks where they agree with the ears. Lips turned in are half seen; the
tongue is not."""
AGREE: Final = (0.2, 0.5)
"""Correlations of a channel seen with the same heard: at the first and below, the landmarks do not show it and count
nothing; from the second on they count whole."""
LATEST_MS: Final = 200
"""A sound further beside its picture than this is no camera's doing."""
LEAST_FIT: Final = 0.25
"""Correlation of the aperture heard with the one seen, under which the sound is not this mouth's. A person's own is at
0.6 and more."""
_QUANTILES: Final = np.linspace(0, 100, 201)
_APERTURE: Final = CHANNELS.index("aperture")


class Aligned(NamedTuple):
    """What the painter learns from."""

    articulation: NDArray[np.float32]
    """[T, 7], NaN where there is no face."""
    heard: NDArray[np.float32]
    """[T, 7] as the painter will be given it when served."""
    late_ms: int
    """How far the sound is behind the picture."""
    agreement: NDArray[np.float64]
    """[7] correlations of the channels seen with those heard; NaN for what is not seen."""
    fit: float
    """Of the aperture."""


def align(seen: NDArray[np.float64], fine: NDArray[np.float32], share: float | None = None) -> Aligned:
    """From [T, 7] measured and [T * 4, 7] heard. `share` in place of `SEEN`, for all that is seen, to compare."""
    late = lateness(seen[:, _APERTURE], fine)
    heard = ears.at_frames(fine, late)
    known = ~np.isnan(seen[:, _APERTURE])
    mixed, agreement = heard.copy(), np.full(len(CHANNELS), np.nan)
    for index, name in enumerate(CHANNELS):
        if not SEEN[name]:
            continue
        agreement[index] = correlation(seen[known, index], heard[known, index])
        agreeing = float(np.clip((agreement[index] - AGREE[0]) / (AGREE[1] - AGREE[0]), 0, 1))
        trust = agreeing * (SEEN[name] if share is None else share)
        said = same_rank(seen[known, index], heard[known, index])
        mixed[known, index] += np.float32(trust) * (said - heard[known, index])
    mixed = clamp(mixed)
    mixed[~known] = np.nan
    return Aligned(mixed, heard, late, agreement, float(agreement[_APERTURE]))


def lateness(aperture: NDArray[np.float64], fine: NDArray[np.float32]) -> int:
    """ms by which the sound is behind the picture: where the aperture seen [T] fits the one heard [T * 4, 7] best."""
    known = ~np.isnan(aperture)
    step = 1_000 // (ears.FINE * FPS)

    def fit(late_ms: int) -> float:
        heard: NDArray[np.float32] = ears.at_frames(fine, late_ms)
        return correlation(aperture[known], heard[known, _APERTURE])

    return max(range(-LATEST_MS, LATEST_MS + step, step), key=fit)


def same_rank(values: NDArray[np.float64], like: NDArray[np.float32]) -> NDArray[np.float32]:
    """[n] -> [n]: each value becomes that of the same rank in `like`."""
    mapped = np.interp(values, np.percentile(values, _QUANTILES), np.percentile(like, _QUANTILES))
    return mapped.astype(np.float32)


def correlation(a: NDArray[np.floating], b: NDArray[np.floating]) -> float:
    """Of two series; 0 where one of them does not move."""
    if min(a.std(), b.std()) < 1e-9:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])
