"""Speech with phone times: what the articulator network learns from.

Two layouts are read. *Aligned*: one folder with ``NAME.flac`` (or ``.wav``) beside ``NAME.phones.tsv``
(start s, end s, ARPAbet phone). *LibriSpeech*: ``SPEAKER/CHAPTER/SPEAKER-CHAPTER-NUMBER.flac`` beside
``SPEAKER-CHAPTER.trans.txt``, at any depth, which :mod:`models.training.align` gives its phone times.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from models.frontend import SAMPLE_RATE
from models.training.articulate import Phone, normalise

SUFFIXES: Final = (".flac", ".wav")


@dataclass(frozen=True, slots=True)
class Utterance:
    """One recording of one person, with the times of its phones."""

    name: str
    audio: Path
    phones: tuple[Phone, ...]

    @property
    def speaker(self) -> str:
        """Who speaks: the name up to the first ``-`` or ``_``."""
        return speaker_of(self.name)

    def samples(self) -> NDArray[np.float32]:
        """[samples] float32, 24 kHz mono."""
        return read_audio(self.audio)


def speaker_of(name: str) -> str:
    """``1034-121119-0000`` -> ``1034``; ``austen_0880`` -> ``austen``."""
    return name.replace("_", "-").split("-")[0]


def read_audio(path: Path, rate: int = SAMPLE_RATE) -> NDArray[np.float32]:
    """Any file that libsndfile reads -> [samples] float32 mono at ``rate`` Hz."""
    samples, source_rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = samples.mean(axis=1)
    resampled: NDArray[np.float32] = soxr.resample(mono, source_rate, rate).astype(np.float32)
    return resampled


def read_phones(path: Path) -> tuple[Phone, ...]:
    """``NAME.phones.tsv`` -> phones; a header and comments are skipped."""
    phones = []
    for line in path.read_text(encoding="utf-8").splitlines():
        fields = line.split("\t")
        try:
            phones.append(Phone(float(fields[0]), float(fields[1]), normalise(fields[2])))
        except (ValueError, IndexError):
            continue
    return tuple(phones)


def write_phones(path: Path, phones: Iterable[Phone]) -> None:
    """The counterpart of :func:`read_phones`."""
    lines = (f"{phone.start_s:.3f}\t{phone.end_s:.3f}\t{phone.name}\n" for phone in phones)
    path.write_text("".join(lines), encoding="utf-8")


def aligned(folder: Path) -> list[Utterance]:
    """Every recording of a folder that has its phone times beside it, in the order of names."""
    utterances = []
    for times in sorted(folder.glob("*.phones.tsv")):
        name = times.name.removesuffix(".phones.tsv")
        audio = next((each for suffix in SUFFIXES if (each := folder / f"{name}{suffix}").exists()), None)
        phones = read_phones(times)
        if audio is not None and phones:
            utterances.append(Utterance(name, audio, phones))
    return utterances


def transcripts(folder: Path) -> list[tuple[Path, str]]:
    """Every recording of a folder in LibriSpeech's layout with its text, in the order of names."""
    found = []
    for table in sorted(folder.rglob("*.trans.txt")):
        for line in table.read_text(encoding="utf-8").splitlines():
            name, _, text = line.partition(" ")
            audio = table.with_name(f"{name}.flac")
            if text and audio.exists():
                found.append((audio, text.strip()))
    return found


def split(utterances: Sequence[Utterance], share: float = 0.1) -> tuple[list[Utterance], list[Utterance]]:
    """(to train on, held out): whole speakers, chosen by their names alone, so that the split never moves."""
    held_out = {each.speaker for each in utterances if zlib.crc32(each.speaker.encode()) % 1_000 < round(1_000 * share)}
    train = [each for each in utterances if each.speaker not in held_out]
    return train, [each for each in utterances if each.speaker in held_out]
