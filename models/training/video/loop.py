"""The idle loop: a stretch of the video in which the mouth rests, played forth and back, so that its end is its
beginning."""

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.articulation import CHANNELS
from models.training.video.errors import VideoError
from models.training.video.read import FPS
from models.training.video.steady import Similarities

LONGEST_S: Final = 5.0
"""Of the stretch: a loop of 10 s, as the shipped speakers have."""
SHORTEST_S: Final = 1.0
"""Under it somebody sways like a pendulum."""
RESTING: Final = 0.2
"""Share of the person's range of apertures under which a mouth is shut; landmarks shake by a twentieth."""
UNHEARD: Final = 0.12
"""Aperture heard under which nobody speaks."""
_APERTURE: Final = CHANNELS.index("aperture")


def resting(seen: NDArray[np.float64], heard: NDArray[np.float32]) -> NDArray[np.bool_]:
    """[T] in which frames the mouth rests: shut to the eye [T, 7], nothing said to the ear [T, 7]."""
    aperture = seen[:, _APERTURE]
    low, high = np.nanpercentile(aperture, [5, 95])
    shut = np.where(np.isnan(aperture), np.inf, aperture) <= low + RESTING * (high - low)
    return np.asarray(shut & (heard[:, _APERTURE] < UNHEARD))


def stretch(video: Path, rests: NDArray[np.bool_], placed: Similarities) -> tuple[int, int]:
    """First frame and frame after the last of the longest rest, cut to the calmest part of it.

    Raises:
        VideoError: the mouth never rests for long enough.
    """
    edges = np.flatnonzero(np.diff(np.concatenate([[False], rests, [False]]).astype(int)))
    runs = [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    first, after = max(runs, key=lambda run: run[1] - run[0], default=(0, 0))
    if after - first < SHORTEST_S * FPS:
        raise VideoError(
            f"{video}, second {first / FPS:.1f}: the longest rest of the mouth is {(after - first) / FPS:.1f} s; "
            f"expected {SHORTEST_S:.0f} s and more in which nobody speaks and the lips are shut: film "
            f"{LONGEST_S:.0f} s of silence, looking into the camera"
        )
    length = min(after - first, round(LONGEST_S * FPS))
    speed = np.abs(np.diff(placed[first:after, :, 2], axis=0)).sum(1)
    effort = np.convolve(speed, np.ones(length - 1), "valid")
    first += int(np.argmin(effort))
    return first, first + length


def forth_and_back(first: int, after: int) -> list[int]:
    """The frames of one turn of the loop; neither end comes twice."""
    return [*range(first, after), *range(after - 2, first, -1)]
