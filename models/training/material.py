"""Copies of the speech, each differently degraded, and the windows that are cut from them.

A copy holds every utterance once, retimed and degraded by its own random chain, and besides them a sixth of
its length in sounds that are not speech, through which the mouth rests. Its chains follow from the seed and
the copy's number alone, so that a second run gives the same data.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from models.articulation import CHANNELS
from models.frontend import HOP, SAMPLE_RATE, FrontEnd
from models.training import augment, sounds
from models.training.articulate import BILABIALS, Phone, articulate, closure, rest
from models.training.speech import Utterance

STRIDE: Final = 5 * HOP
"""A window every 42 ms. A multiple of the hop, so that neighbours share frames, and no multiple of the
chunk."""

_TO_L: Final = "sil aa ae ah ao aw ay b ch d dh dx eh er ey f g hh ih iy jh k l "
_FROM_M: Final = "m n ng ow oy p r s sh t th uh uw v w y z zh"
PHONES: Final = tuple((_TO_L + _FROM_M).split())
"""The classes of the auxiliary task."""

SOFT_S: Final = 0.025
"""What is learnt is the mouth's movement, softened by about this (s): as even, but less nervous."""
_FINE_S: Final = 0.005

_NON_SPEECH_SHARE: Final = 0.18


class Passage(NamedTuple):
    """A stretch of sound and what its speaker's mouth does meanwhile."""

    samples: NDArray[np.float32]
    phones: tuple[Phone, ...]
    """Empty where nobody speaks."""


@dataclass(frozen=True, slots=True)
class Targets:
    """What is to be learnt for N windows."""

    articulation: NDArray[np.float32]
    """[N, 7]"""
    shut: NDArray[np.float32]
    """[N]: how far /p b m/ shut the lips."""
    rest: NDArray[np.float32]
    """[N]: how far the mouth has come to rest."""
    phone: NDArray[np.int64]
    """[N]: index in ``PHONES`` of what sounds at the target's moment."""


def copy_of(utterances: Sequence[Utterance], seed: int, copy: int) -> list[Passage]:
    """The passages of one copy. Copy 0 is as recorded, but for its level; the others are retimed and
    degraded."""
    voices = [each.samples() for each in utterances]
    passages = []
    total = 0
    for index, (utterance, voice) in enumerate(zip(utterances, voices, strict=True)):
        rng = np.random.default_rng([seed, copy, index])
        passage = Passage(voice, utterance.phones)
        if copy:
            passage = _variant(rng, passage, [voices[other] for other in rng.integers(0, len(voices), 8)])
        total += len(passage.samples)
        passages.append(passage)
    rng = np.random.default_rng([seed, copy, len(voices)])
    while total > 0:
        passage = _non_speech(rng, voices)
        total -= round(len(passage.samples) / _NON_SPEECH_SHARE)
        passages.append(passage)
    return passages


def _variant(rng: Generator, passage: Passage, others: Sequence[NDArray[np.float32]]) -> Passage:
    sound, phones = augment.retime(passage.samples, passage.phones, float(np.exp(rng.uniform(-0.15, 0.15))))
    lead, tail = (int(rng.uniform(-0.3, 1.3) * SAMPLE_RATE) for _ in range(2))
    lead, tail = max(lead, 0), max(tail, 0)
    moved = tuple(Phone(p.start_s + lead / SAMPLE_RATE, p.end_s + lead / SAMPLE_RATE, p.name) for p in phones)
    hiss = 10 ** (-rng.uniform(60, 90) / 20) * rng.standard_normal(lead + len(sound) + tail)
    sound = np.pad(sound, (lead, tail)) + hiss.astype(np.float32)
    return Passage(augment.degrade(rng, sound, others), moved)


_QUIET_KINDS: Final = (*sounds.NON_SPEECH, "music", "music", "babble")
"""Babble seldom: speech under babble is still speech, and nothing but its level would tell the two apart, which is the
microphone's gain."""


def _non_speech(rng: Generator, voices: Sequence[NDArray[np.float32]]) -> Passage:
    kind = str(rng.choice(_QUIET_KINDS))
    samples = int(rng.uniform(3, 12) * SAMPLE_RATE)
    if kind == "babble":
        sound = augment.babble(rng, voices, samples, int(rng.integers(8, 15)))
    else:
        sound = sounds.NON_SPEECH[kind](rng, samples)
    if rng.random() < 0.3:
        sound = sound + rng.uniform(0.02, 1) * sounds.pink(rng, len(sound))
    if rng.random() < 0.3:
        sound = augment.equalise(rng, sound)
    if rng.random() < 0.15:
        sound = augment.room(rng, sound)
    gain = 10 ** (-rng.uniform(10, 60) / 20) / max(augment.rms(sound), 1e-3)
    sound = (sound * gain).astype(np.float32)
    if rng.random() < 0.1:
        sound = augment.opus(sound, 16_000)
    return Passage(np.clip(sound, -1, 1), ())


def ends(passage: Passage, index: int) -> NDArray[np.int64]:
    """Where the windows of the ``index``-th passage end (samples); the first is staggered from passage to
    passage."""
    return np.arange(HOP * (1 + index % 5), len(passage.samples) + STRIDE, STRIDE, dtype=np.int64)


def windows(passages: Sequence[Passage], front_end: FrontEnd) -> NDArray[np.float16]:
    """[N, 32, 16]: the network's input at every window of every passage."""
    parts = [front_end.over(each.samples, ends(each, index)) for index, each in enumerate(passages)]
    return np.concatenate(parts).astype(np.float16)


def targets(passages: Sequence[Passage], lookahead_ms: float) -> Targets:
    """What the mouth does ``lookahead_ms`` before the end of every window of every passage."""
    curves, classes = [], []
    for index, passage in enumerate(passages):
        times = ends(passage, index) / SAMPLE_RATE - lookahead_ms / 1_000
        curves.append(_softened(passage.phones, times))
        classes.append(_classes(passage.phones, times))
    curve = np.concatenate(curves)
    mouth, shut, still = np.split(curve, [len(CHANNELS), len(CHANNELS) + 1], axis=1)
    return Targets(np.ascontiguousarray(mouth), shut[:, 0].copy(), still[:, 0].copy(), np.concatenate(classes))


def _softened(phones: Sequence[Phone], times: NDArray[np.float64]) -> NDArray[np.float32]:
    """[T, 9]: the channels, the closure and the rest, each a mean over moments around ``times``."""
    if not phones:
        quiet = np.zeros((len(times), len(CHANNELS) + 2), np.float32)
        quiet[:, -1] = 1
        return quiet
    reach = round(SOFT_S / _FINE_S)
    fine = np.arange(times[0] - SOFT_S - _FINE_S, times[-1] + SOFT_S + 2 * _FINE_S, _FINE_S)
    curve = np.column_stack([articulate(phones, fine), closure(phones, fine), rest(phones, fine)])
    soft = 0.25 * curve[: -2 * reach] + 0.5 * curve[reach:-reach] + 0.25 * curve[2 * reach :]
    at = fine[reach:-reach]
    return np.stack([np.interp(times, at, column) for column in soft.T], axis=1).astype(np.float32)


def _classes(phones: Sequence[Phone], times: NDArray[np.float64]) -> NDArray[np.int64]:
    classes = np.zeros(len(times), np.int64)
    for phone in phones:
        classes[(times >= phone.start_s) & (times < phone.end_s)] = PHONES.index(phone.name)
    return classes


def save(path: Path, passages: Sequence[Passage]) -> None:
    """A copy as one file: 16-bit samples and the phones' times; written whole or not at all."""
    rows = [(i, p.start_s, p.end_s, PHONES.index(p.name)) for i, each in enumerate(passages) for p in each.phones]
    table = np.array(rows, np.float64).reshape(-1, 4)
    partial = path.with_suffix(".partial.npz")
    np.savez(
        partial,
        samples=np.concatenate([np.round(each.samples * 32_767).astype(np.int16) for each in passages]),
        lengths=np.array([len(each.samples) for each in passages]),
        phones=table,
    )
    partial.replace(path)


def load(path: Path) -> list[Passage]:
    """The counterpart of :func:`save`."""
    with np.load(path, allow_pickle=False) as stored:
        lengths, table = stored["lengths"], stored["phones"]
        samples = stored["samples"].astype(np.float32) / np.float32(32_767)
    edges = np.concatenate([[0], np.cumsum(lengths)])
    passages = []
    for index in range(len(lengths)):
        rows = table[table[:, 0] == index]
        phones = tuple(Phone(float(row[1]), float(row[2]), PHONES[int(row[3])]) for row in rows)
        passages.append(Passage(samples[edges[index] : edges[index + 1]], phones))
    return passages


def bilabial(classes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the phone classes are /p b m/."""
    return np.isin(classes, [PHONES.index(name) for name in BILABIALS])
