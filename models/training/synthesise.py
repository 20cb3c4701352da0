"""Speech for those who have no recordings: sentences of this repository, read by the synthesisers of Debian.

    python -m models.train --work WORK --synthesise 20

makes 20 minutes in LibriSpeech's layout, which the ``speech`` stage then aligns like anybody's. ``espeak-ng`` is one
formant synthesiser with many timbres, ``flite`` four recorded people; pitch and tempo of each differ by speaker. A
network trained on these alone hears people worse than one trained on people (docs/training.md has the figures).
"""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
import soundfile
import structlog
from numpy.random import Generator

from models.training.speech import read_audio

log = structlog.get_logger(__name__)

SENTENCES: Final = Path(__file__).with_name("sentences.txt")
"""A sentence a line, in words that pocketsphinx's dictionary has; written for this project."""
SPEAKERS: Final = 48
_RATE: Final = 16_000
_ESPEAK: Final = ("m1", "m2", "m3", "m4", "m5", "m6", "m7", "m8", "f1", "f2", "f3", "f4", "f5")
_FLITE: Final = ("slt", "awb", "rms", "kal16")
_PAUSE_S: Final = (0.2, 0.7)
"""Of silence before, between and after the two sentences of an utterance: the mouth must learn to rest."""
_HISS: Final = 1e-4
"""A synthesiser's pauses are digital silence, which no microphone delivers."""


@dataclass(frozen=True, slots=True)
class Voice:
    """One speaker: a synthesiser's voice, its pitch and its tempo."""

    engine: str
    timbre: str
    pitch: float
    """0 low .. 1 high, within what the engine does without strain."""
    tempo: float
    """0 slow .. 1 quick."""


def _espeak(voice: Voice, text: str, out: Path) -> list[str]:
    pitch, words_per_minute = round(25 + 50 * voice.pitch), round(125 + 65 * voice.tempo)
    command = ["espeak-ng", "-v", f"en-us+{voice.timbre}", "-p", str(pitch), "-s", str(words_per_minute)]
    return [*command, "-w", str(out), text]


def _flite(voice: Voice, text: str, out: Path) -> list[str]:
    base_hz = 165 if voice.timbre == "slt" else 100
    features = (f"int_f0_target_mean={base_hz * (0.85 + 0.4 * voice.pitch):.0f}",)
    stretch = f"duration_stretch={1.25 - 0.4 * voice.tempo:.2f}"
    options = [word for each in (*features, stretch) for word in ("--setf", each)]
    return ["flite", "-voice", voice.timbre, *options, "-t", text, "-o", str(out)]


ENGINES: Final[Mapping[str, Callable[[Voice, str, Path], list[str]]]] = MappingProxyType(
    {"espeak-ng": _espeak, "flite": _flite}
)


def voices(rng: Generator, engines: tuple[str, ...]) -> list[Voice]:
    """``SPEAKERS`` of them, as many of each engine."""
    timbres = {"espeak-ng": _ESPEAK, "flite": _FLITE}
    made = []
    for number in range(SPEAKERS):
        engine = engines[number % len(engines)]
        own = timbres[engine]
        timbre = own[number // len(engines) % len(own)]
        made.append(Voice(engine, timbre, float(rng.random()), float(rng.random())))
    return made


def installed() -> tuple[str, ...]:
    """The synthesisers that this machine has.

    Raises FileNotFoundError, saying what to install, where there is none.
    """
    found = tuple(engine for engine in ENGINES if shutil.which(engine))
    if not found:
        msg = f"no synthesiser is installed; type: apt-get install {' '.join(ENGINES)}"
        raise FileNotFoundError(msg)
    return found


def synthesise(folder: Path, minutes: float, seed: int, progress: Callable[[float], object] = lambda _s: None) -> int:
    """Make about ``minutes`` of speech in ``folder``, LibriSpeech's layout; how many utterances there are.

    What is there already is not made again; the same seed and the same synthesisers give the same samples.
    ``progress`` is told the seconds made so far.
    """
    rng = np.random.default_rng([seed, 0x5A])
    sentences = SENTENCES.read_text(encoding="utf-8").split("\n")[:-1]
    cast = voices(rng, installed())
    texts: dict[str, list[str]] = {}
    seconds, count = 0.0, 0
    while seconds < minutes * 60:
        number = count % len(cast)
        speaker = f"tts{number:02d}"
        pair = [sentences[int(each)] for each in rng.choice(len(sentences), 2, replace=False)]
        pauses = rng.uniform(*_PAUSE_S, 3)
        name = f"{speaker}-1-{count // len(cast):04d}"
        path = folder / speaker / "1" / f"{name}.flac"
        if not path.exists():
            _read_aloud(cast[number], pair, pauses.tolist(), path)
        seconds += soundfile.info(path).duration
        texts.setdefault(speaker, []).append(f"{name} {' '.join(pair).upper()}\n")
        count += 1
        progress(seconds)
    for speaker, lines in texts.items():
        (folder / speaker / "1" / f"{speaker}-1.trans.txt").write_text("".join(lines), encoding="utf-8")
    return count


def _read_aloud(voice: Voice, sentences: list[str], pauses_s: list[float], path: Path) -> None:
    parts = [np.zeros(round(pauses_s[0] * _RATE), np.float32)]
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "voice.wav"
        for sentence, pause_s in zip(sentences, pauses_s[1:], strict=True):
            subprocess.run(ENGINES[voice.engine](voice, sentence, out), check=True, capture_output=True)
            parts += [read_audio(out, _RATE), np.zeros(round(pause_s * _RATE), np.float32)]
    sound = np.concatenate(parts)
    hiss = np.random.default_rng(len(sound)).standard_normal(len(sound)) * _HISS
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    soundfile.write(partial, np.clip(sound + hiss, -1, 1), _RATE, subtype="PCM_16", format="FLAC")
    partial.replace(path)
