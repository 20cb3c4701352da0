"""How well lips fit a voice: figures of a mouth's track against the times of the phones.

A track is what was painted, 25 rows a second: the moment of the sound that the frame shows, the aperture of
the lips (0 closed), their rounding. Aperture is normalised per speaker, 0 its 5th and 1 its 95th percentile
over speech, so that only the movement counts, not anybody's habit of opening wide; "shut" is below the
speaker's 25th percentile.

closure_hit           share of /p b m/ that are shut at some moment within 40 ms of them
closure_mid           share of /p b m/ that are shut in their middle (chance 0.25)
false_closure         share of open vowels that are shut in their middle (chance 0.25; smaller is better)
auc_open_vs_bilabial  1: every open vowel is wider than every bilabial closure; 0.5: chance
auc_open_vs_close     open vowels against close ones: openness that is not loudness
auc_rounding          rounded vowels and /w/ against spread ones and /s z/, on the rounding
ap_silence            mean aperture in silences of 300 ms and more (0 is as closed as in speech)
lag_ms, corr          where the track fits the phones' openness best (+: the mouth is late), and the
correlation there corr0                 the same correlation with nothing shifted jerk                  mean
absolute second difference of the aperture per frame: how nervous the mouth is
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.training.articulate import BILABIALS, Phone

Array = NDArray[np.float64]

_OPEN: Final = frozenset(["aa", "ae", "ah", "ao", "aw", "ay"])
_WIDE: Final = frozenset(["aa", "ae", "ao", "aw", "ay"])
_CLOSE: Final = frozenset(["iy", "ih", "uw", "uh"])
_ROUNDED: Final = frozenset(["uw", "ow", "ao", "w", "uh"])
_SPREAD: Final = frozenset(["iy", "ey", "ih", "s", "z"])
_LATE: Final = frozenset({"ow", "ey"})
"""Diphthongs that reach what they are judged on at 70 % of their length."""

# fmt: off
_OPENNESS: Final = {
    "aa": .9, "ae": .85, "ah": .5, "ao": .7, "aw": .75, "ay": .75, "eh": .6, "er": .35, "ey": .45, "ih":
    .35, "iy": .28, "ow": .45, "oy": .5, "uh": .3, "uw": .2, "p": 0, "b": 0, "m": 0, "f": .12, "v": .12,
    "th": .25, "dh": .25, "t": .25, "d": .25, "n": .27, "l": .33, "s": .2, "z": .2, "sh": .26, "zh": .26,
    "ch": .25, "jh": .25, "k": .3, "g": .3, "ng": .3, "hh": .4, "r": .27, "w": .12, "y": .26, "dx": .28,
    "sil": 0,
}
# fmt: on
_PAUSE_S: Final = 0.3
_LAGS: Final = np.arange(-20, 21)
"""In hundredths of a second."""


class Track(NamedTuple):
    """What was painted over one recording."""

    name: str
    speaker: str
    time_s: Array
    aperture: Array
    rounding: Array
    phones: Sequence[Phone]


@dataclass(frozen=True, slots=True)
class Figures:
    """See the module's docstring; NaN where there was too little to judge."""

    closure_hit: float
    closure_mid: float
    false_closure: float
    auc_open_vs_bilabial: float
    auc_open_vs_close: float
    auc_rounding: float
    ap_silence: float
    lag_ms: float
    corr: float
    corr0: float
    jerk: float

    def as_dict(self) -> dict[str, float]:
        """By name, in the order of the docstring."""
        return asdict(self)


@dataclass(slots=True)
class _Tally:
    hit: list[bool] = field(default_factory=list)
    mid: list[bool] = field(default_factory=list)
    false: list[bool] = field(default_factory=list)
    bilabial: list[float] = field(default_factory=list)
    open: list[float] = field(default_factory=list)
    wide: list[float] = field(default_factory=list)
    close: list[float] = field(default_factory=list)
    rounded: list[float] = field(default_factory=list)
    spread: list[float] = field(default_factory=list)
    silence: list[float] = field(default_factory=list)
    jerk: list[float] = field(default_factory=list)
    correlation: list[Array] = field(default_factory=list)
    seconds: list[int] = field(default_factory=list)


def auc(positive: Sequence[float], negative: Sequence[float]) -> float:
    """Probability that one of ``positive`` is larger than one of ``negative``; NaN if either has fewer than
    three."""
    if min(len(positive), len(negative)) < 3:
        return float("nan")
    below = np.searchsorted(np.sort(negative), positive, "left")
    not_above = np.searchsorted(np.sort(negative), positive, "right")
    return float(0.5 * (below + not_above).sum() / (len(positive) * len(negative)))


def openness(phones: Sequence[Phone], times: Array) -> Array:
    """A smooth curve of how open the phones are; ``times`` every 10 ms."""
    level = np.zeros(len(times))
    for start, end, name in phones:
        level[(times >= start) & (times < end)] = _OPENNESS.get(name, 0.3)
    kernel = np.exp(-0.5 * (np.arange(-12, 13) / 4.0) ** 2)
    return np.convolve(np.pad(level, 12, mode="edge"), kernel / kernel.sum(), "valid")


def judge(tracks: Sequence[Track]) -> Figures:
    """The figures of all tracks together."""
    by_speaker = defaultdict(list)
    for track in tracks:
        by_speaker[track.speaker].append(track)
    tally = _Tally()
    for mine in by_speaker.values():
        low, quarter, high = np.percentile(
            np.concatenate([each.aperture[speaking(each)] for each in mine]), [5, 25, 95]
        )
        scale = max(high - low, 1e-9)
        least, most = np.percentile(np.concatenate([each.rounding[speaking(each)] for each in mine]), [5, 95])
        span = max(most - least, 1e-9)
        for track in mine:
            even = track._replace(aperture=(track.aperture - low) / scale, rounding=(track.rounding - least) / span)
            _count(tally, even, (quarter - low) / scale)
    return _sum_up(tally)


def speaking(track: Track) -> NDArray[np.bool_]:
    """[frames]: which frames lie in speech, pauses of 300 ms and more aside."""
    speaks = track.time_s <= track.phones[-1].end_s
    for start, end, name in track.phones:
        if name == "sil" and end - start >= _PAUSE_S:
            speaks &= ~((track.time_s >= start) & (track.time_s < end))
    return speaks


def _count(tally: _Tally, track: Track, shut: float) -> None:
    aperture = track.aperture

    def opening(at: float) -> float:
        return float(np.interp(at, track.time_s, aperture))

    for start, end, name in track.phones:
        length, middle = end - start, 0.5 * (start + end)
        if name in BILABIALS and length >= 0.03:
            near = aperture[(track.time_s >= start - 0.0401) & (track.time_s <= end + 0.0401)]
            if len(near):
                tally.hit.append(bool(near.min() < shut))
            tally.mid.append(opening(middle) < shut)
            tally.bilabial.append(opening(middle))
        if name in _OPEN and length >= 0.05:
            tally.open.append(opening(middle))
            if length >= 0.06:
                tally.false.append(opening(middle) < shut)
        if name in _WIDE and length >= 0.05:
            tally.wide.append(opening(middle))
        if name in _CLOSE and length >= 0.05:
            tally.close.append(opening(middle))
        if length >= 0.04 and (name in _ROUNDED or name in _SPREAD):
            at = start + length * (0.7 if name in _LATE else 0.5)
            (tally.rounded if name in _ROUNDED else tally.spread).append(
                float(np.interp(at, track.time_s, track.rounding))
            )
        if name == "sil" and length >= _PAUSE_S:
            inner = np.linspace(start + 0.12, end - 0.12, 9)
            tally.silence.append(float(np.interp(inner, track.time_s, aperture).mean()))
    tally.jerk.append(float(np.abs(np.diff(aperture, 2)).mean()))
    _correlate(tally, track)


def _correlate(tally: _Tally, track: Track) -> None:
    times = np.arange(0, track.phones[-1].end_s, 0.01)
    reference, painted = openness(track.phones, times), np.interp(times, track.time_s, track.aperture)
    row = []
    for lag in _LAGS:
        late = painted[lag:] if lag >= 0 else painted[:lag]
        truth = reference[: len(reference) - lag] if lag >= 0 else reference[-lag:]
        row.append(np.corrcoef(late, truth)[0, 1] if late.std() > 0 else 0.0)
    tally.correlation.append(np.array(row))
    tally.seconds.append(len(times))


def _sum_up(tally: _Tally) -> Figures:
    def mean(values: Sequence[float] | Sequence[bool]) -> float:
        return float(np.mean(values)) if len(values) else float("nan")

    curve = np.average(np.stack(tally.correlation), axis=0, weights=tally.seconds)
    best = int(np.argmax(curve))
    between = 0.0
    if 0 < best < len(curve) - 1:
        left, top, right = curve[best - 1 : best + 2]
        between = 0.5 * (left - right) / (left - 2 * top + right + 1e-12)
    return Figures(
        closure_hit=mean(tally.hit),
        closure_mid=mean(tally.mid),
        false_closure=mean(tally.false),
        auc_open_vs_bilabial=auc(tally.open, tally.bilabial),
        auc_open_vs_close=auc(tally.wide, tally.close),
        auc_rounding=auc(tally.rounded, tally.spread),
        ap_silence=mean(tally.silence),
        lag_ms=float((_LAGS[best] + between) * 10),
        corr=float(curve[best]),
        corr0=float(curve[len(_LAGS) // 2]),
        jerk=mean(tally.jerk),
    )
