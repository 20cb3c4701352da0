"""Phones with their times -> what the mouth does: the target that the articulator network learns.

Each phone has a target and a dominance for every channel; neighbours are blended by their dominance, which
falls off exponentially with the distance in time, further ahead than behind (Cohen & Massaro 1993,
"Modeling coarticulation in synthetic visual speech"). On that blend three things are imposed that a viewer
never forgives when they are missing:

- /p b m/ shut the lips: aperture 0 and press 1 over the middle of the closure, however short it is;
- /f v/ put the lower lip on the upper teeth;
- a pause of at least ``PAUSE_S`` comes to the closed rest of :data:`models.articulation.REST`.

Where the numbers come from
    Must-reach rules (p b m, f v, jaw nearly shut in s z sh ch jh; uw ow w sh ch jh start early and end late;
    t d n l k g ng leave the lips alone; hh takes the vowel's shape): JALI, Edwards et al. 2016. Jaw
    heights, s z sh lowest, then t d, n, l, k, and vowels by their height: Keating, Lindblom & Lubker 1994.
    Rounding spreads furthest ahead: Bell-Berti & Harris 1979; Perkell & Matthies 1992. The values are
    phonetic textbook ones scaled by eye to this project's rig, not measured on faces.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.articulation import CHANNELS

PAUSE_S: Final = 0.15
"""A silence at least this long (s) comes to rest; shorter ones are bridged by their neighbours."""

OPEN_VOWELS: Final = frozenset({"aa", "ae", "ah", "ao", "aw", "ay"})
CLOSE_VOWELS: Final = frozenset({"iy", "ih", "uw", "uh"})
BILABIALS: Final = frozenset({"p", "b", "m"})
LABIODENTALS: Final = frozenset({"f", "v"})


class Phone(NamedTuple):
    """One phone of an alignment."""

    start_s: float
    end_s: float
    name: str
    """ARPAbet, lower case, without stress; ``sil`` is silence."""


@dataclass(frozen=True, slots=True)
class _Shape:
    target: NDArray[np.float64]
    dominance: NDArray[np.float64]


# Six targets, then six dominances, in the order jaw aperture width rounding tuck tongue. Press follows from
# the closures.
_TABLE: Final = """
aa  .85 .90  .00 .05 0 0    .8 .8 .4 .5 .5 .2
ae  .75 .85  .35 .00 0 0    .8 .8 .6 .6 .5 .2
ah  .45 .50  .05 .00 0 0    .5 .6 .3 .4 .5 .2
ao  .65 .70 -.35 .55 0 0    .8 .8 .6 .7 .5 .2
eh  .50 .58  .30 .00 0 0    .7 .7 .6 .6 .5 .2
er  .32 .34 -.20 .35 0 .2   .6 .6 .5 .6 .5 .3
ih  .28 .34  .35 .00 0 0    .6 .7 .6 .6 .5 .2
iy  .18 .28  .60 .00 0 0    .7 .8 .8 .8 .5 .2
uh  .28 .30 -.35 .55 0 0    .6 .7 .6 .7 .5 .2
uw  .18 .20 -.70 .95 0 0    .8 .9 .9 1. .5 .2
p   .12 .00  .00 .00 0 0    .6 .5 .2 .15 .6 .1
b   .12 .00  .00 .00 0 0    .6 .5 .2 .15 .6 .1
m   .12 .00  .00 .00 0 0    .6 .5 .2 .15 .6 .1
f   .15 .13  .10 .00 1. 0   .6 .9 .3 .3 1. .1
v   .15 .13  .10 .00 1. 0   .6 .9 .3 .3 1. .1
th  .22 .25  .10 .00 0 1.   .6 .5 .3 .3 .6 1.
dh  .22 .25  .10 .00 0 .9   .5 .4 .3 .3 .6 1.
t   .18 .25  .10 .00 0 .6   .5 .4 .2 .15 .5 .7
d   .18 .25  .10 .00 0 .6   .5 .4 .2 .15 .5 .7
dx  .22 .27  .10 .00 0 .5   .3 .3 .2 .15 .5 .5
n   .20 .27  .10 .00 0 .6   .4 .4 .2 .15 .5 .7
l   .30 .33  .10 .00 0 .8   .4 .4 .2 .15 .5 .8
s   .06 .21  .30 .00 0 .3   .9 .6 .5 .4 .6 .5
z   .06 .21  .30 .00 0 .3   .9 .6 .5 .4 .6 .5
sh  .08 .26 -.35 .55 0 .2   .9 .6 .7 .8 .6 .4
zh  .08 .26 -.35 .55 0 .2   .9 .6 .7 .8 .6 .4
ch  .08 .25 -.35 .55 0 .3   .9 .6 .7 .8 .6 .5
jh  .08 .25 -.35 .55 0 .3   .9 .6 .7 .8 .6 .5
k   .26 .30  .05 .00 0 0    .3 .35 .15 .1 .5 .3
g   .26 .30  .05 .00 0 0    .3 .35 .15 .1 .5 .3
ng  .26 .30  .05 .00 0 0    .3 .35 .15 .1 .5 .3
hh  .35 .40  .05 .00 0 0    .1 .15 .05 .05 .3 .1
r   .22 .27 -.30 .50 0 .2   .5 .5 .6 .7 .5 .3
w   .14 .12 -.80 1.0 0 0    .7 .9 .9 1. .5 .2
y   .18 .26  .50 .00 0 0    .5 .6 .6 .6 .5 .2
sil .00 .00  .00 .00 0 0    .6 .6 .4 .4 .4 .3
"""

_DIPHTHONGS: Final = {
    "ay": ("aa", "ih"),
    "aw": ("aa", "uw"),
    "ey": ("eh", "iy"),
    "ow": ("ao", "uw"),
    "oy": ("ao", "iy"),
}
_DIPHTHONG_SPLIT: Final = 0.55
"""The first vowel's share of a diphthong's length."""

_ALIASES: Final = {
    "ax": "ah", "axr": "er", "ix": "ih", "ux": "uw", "el": "l", "em": "m", "en": "n",
    "q": "sil", "pau": "sil", "sp": "sil", "spn": "sil", "nsn": "sil", "<sil>": "sil", "": "sil",
}  # fmt: skip

_BLENDED: Final = ("jaw", "aperture", "width", "rounding", "tuck", "tongue")
_AHEAD_S: Final = np.array([0.090, 0.070, 0.120, 0.130, 0.060, 0.050]) / 2.2
_BEHIND_S: Final = np.array([0.100, 0.070, 0.100, 0.110, 0.060, 0.060]) / 2.2
"""Time constants (s) of the dominance before and after a phone, per blended channel; tongues are fast."""

_MUST_REACH: Final = 0.9
_REACH_S: Final = 0.45
"""Beyond this distance (s) a phone has no influence worth computing."""

_SHUT_HALF_S: Final = 0.028
"""A bilabial stays shut at least this long (s) to each side of its middle: a frame every 40 ms cannot miss
it."""
_SHUT_RAMP_S: Final = 0.055
_REST_RAMP_S: Final = 0.11


def _shapes() -> dict[str, _Shape]:
    shapes = {}
    for line in _TABLE.strip().splitlines():
        name, *numbers = line.split()
        values = np.array([float(number) for number in numbers])
        shapes[name] = _Shape(values[:6], values[6:])
    return shapes


_SHAPES: Final = _shapes()


def normalise(name: str) -> str:
    """An alignment's label -> ARPAbet, lower case, no stress digit, as the table has it (diphthongs stay)."""
    bare = name.lower().rstrip("012")
    bare = _ALIASES.get(bare, bare)
    return bare if bare in _SHAPES or bare in _DIPHTHONGS else "ah"


def _simple(phones: Sequence[Phone]) -> list[Phone]:
    """Every diphthong as its two vowels, every label as the table has it, neighbouring silences joined."""
    simple: list[Phone] = []
    for start, end, label in phones:
        name = normalise(label)
        if name in _DIPHTHONGS:
            first, second = _DIPHTHONGS[name]
            middle = start + _DIPHTHONG_SPLIT * (end - start)
            simple += [Phone(start, middle, first), Phone(middle, end, second)]
        elif name == "sil" and simple and simple[-1].name == "sil":
            simple[-1] = Phone(simple[-1].start_s, end, "sil")
        else:
            simple.append(Phone(start, end, name))
    return simple


def _core(phone: Phone) -> tuple[float, float]:
    """The stretch (s) over which a phone's dominance is full."""
    start, end, name = phone
    length = end - start
    if name in LABIODENTALS:
        return start + 0.005, end - min(0.02, 0.3 * length)
    if name == "sil":
        edge = min(0.12, 0.35 * length)
        return start + edge, end - edge
    return start + 0.25 * length, end - 0.25 * length


def _plateau(times: NDArray[np.float64], start: float, end: float, ramp: float) -> NDArray[np.float64]:
    """1 from ``start`` to ``end``, falling to 0 over ``ramp`` seconds outside, by half a cosine."""
    outside = np.maximum(np.maximum(start - times, times - end), 0.0)
    eased: NDArray[np.float64] = 0.5 + 0.5 * np.cos(np.pi * np.minimum(outside / ramp, 1.0))
    return eased


def _blend(phones: Sequence[Phone], times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cohen & Massaro's F(t) = sum D_s T_s / sum D_s; [T, 6] in the order of ``_BLENDED``."""
    weighted = np.zeros((len(times), len(_BLENDED)))
    total = np.full_like(weighted, 1e-9)
    for phone in phones:
        near = (times > phone.start_s - _REACH_S) & (times < phone.end_s + _REACH_S)
        if not near.any():
            continue
        shape = _SHAPES[phone.name]
        low, high = _core(phone)
        t = times[near, None]
        distance = np.maximum(low - t, 0) / _AHEAD_S + np.maximum(t - high, 0) / _BEHIND_S
        dominance = shape.dominance * np.exp(-distance) * (1 + 3 * (shape.dominance >= _MUST_REACH))
        weighted[near] += dominance * shape.target
        total[near] += dominance
    return weighted / total


def closure(phones: Sequence[Phone], times: ArrayLike) -> NDArray[np.float32]:
    """How far /p b m/ shut the lips at each of ``times`` (s); [T] float32, 1 is shut."""
    t = np.asarray(times, np.float64)
    shut = np.zeros(len(t))
    for phone in _simple(phones):
        if phone.name in BILABIALS:
            middle = 0.5 * (phone.start_s + phone.end_s)
            half = max(_SHUT_HALF_S, 0.5 * (phone.end_s - phone.start_s) - 0.015)
            np.maximum(shut, _plateau(t, middle - half, middle + half, _SHUT_RAMP_S), out=shut)
    return shut.astype(np.float32)


def rest(phones: Sequence[Phone], times: ArrayLike) -> NDArray[np.float32]:
    """How far the mouth has come to rest at ``times`` (s); [T] float32, 1 in pauses, before and after
    speech."""
    t = np.asarray(times, np.float64)
    simple = _simple(phones)
    if not simple:
        return np.ones(len(t), np.float32)
    pauses = [phone for phone in simple if phone.name == "sil" and phone.end_s - phone.start_s >= PAUSE_S]
    spans = [(phone.start_s, phone.end_s) for phone in pauses]
    first, last = simple[0], simple[-1]
    spans.append((-np.inf, first.end_s if first.name == "sil" else first.start_s))
    spans.append((last.start_s if last.name == "sil" else last.end_s, np.inf))
    still = np.zeros(len(t))
    for start, end in spans:
        # The ramps lie inside the pause: lips are late to fall and early to rise.
        ramp = min(_REST_RAMP_S, 0.4 * (end - start))
        np.maximum(still, _plateau(t, start + ramp, end - 0.6 * ramp, ramp), out=still)
    return still.astype(np.float32)


def articulate(phones: Sequence[Phone], times: ArrayLike) -> NDArray[np.float32]:
    """What the mouth does at each of ``times``.

    Parameters
    ----------
    phones
        In order of time, not overlapping; what lies before the first and after the last is silence.
    times
        [T], seconds on the phones' clock; any order, any spacing.

    Returns
    -------
    [T, 7] float32 in the order of :data:`models.articulation.CHANNELS`, each within its channel's range.

    Examples
    --------
    >>> track = articulate([Phone(0.2, 0.3, "b"), Phone(0.3, 0.5, "aa")], [0.0, 0.25, 0.42])
    >>> [f"{aperture:.1f}" for aperture in track[:, 1]]  # rest, shut, open
    ['0.0', '0.0', '0.9']
    """
    t = np.asarray(times, np.float64)
    simple = _simple(phones)
    if not simple:
        return np.zeros((len(t), len(CHANNELS)), np.float32)
    blended = dict(zip(_BLENDED, _blend(simple, t).T, strict=True))
    shut = closure(simple, t).astype(np.float64)
    blended["press"] = shut
    blended["aperture"] = blended["aperture"] * (1 - shut)
    track = np.stack([blended[channel] for channel in CHANNELS], axis=1)
    track *= 1 - rest(simple, t).astype(np.float64)[:, None]
    return track.astype(np.float32)
