"""Forced alignment: a recording and its text -> the times of its phones, by pocketsphinx.

Its US English model steps in hundredths of a second. Against human labels its boundaries come 8 ms early
(measured on the speech of this project's brief), which is corrected here.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import structlog
from numpy.typing import NDArray

from models.training.articulate import Phone, normalise
from models.training.speech import read_audio

log = structlog.get_logger(__name__)

RATE: Final = 16_000
FRAME_S: Final = 0.01
BIAS_S: Final = 0.008
"""How much later than pocketsphinx says a boundary really is."""


def words(text: str) -> str:
    """Text as the dictionary has it: lower case, apostrophes kept, everything else a space."""
    return " ".join(re.sub(r"[^a-z' ]+", " ", text.lower()).split())


def align(audio: Path, text: str) -> tuple[Phone, ...] | None:
    """The phones of ``text`` in ``audio``, or None if the text does not fit the sound or has words nobody
    knows."""
    sound = read_audio(audio, RATE)
    return align_samples(sound, text)


def align_samples(sound: NDArray[np.float32], text: str) -> tuple[Phone, ...] | None:
    """As :func:`align`, for [samples] float32 at 16 kHz."""
    decoder = _decoder()
    spoken = " ".join(word for word in words(text).split() if decoder.lookup_word(word))
    if len(spoken.split()) < len(words(text).split()):
        return None
    pcm = (np.clip(sound, -1, 1) * 32_767).astype(np.int16).tobytes()
    try:
        decoder.set_align_text(spoken)
        _decode(decoder, pcm)
        if decoder.hyp() is None:
            return None
        decoder.set_alignment()
        _decode(decoder, pcm)
    except RuntimeError:
        log.warning("align", problem="the text does not fit the sound", text=text[:60])
        return None
    phones = [
        Phone(start * FRAME_S + BIAS_S * (start > 0), (start + length) * FRAME_S + BIAS_S, normalise(label))
        for word in decoder.get_alignment()
        for start, length, label in ((each.start, each.duration, each.name) for each in word)
    ]
    return tuple(phones) or None


@cache
def _decoder() -> Any:
    """Loads its models once, in two seconds."""
    from pocketsphinx import Decoder

    return Decoder(lm=None, samprate=RATE, loglevel="FATAL")


def _decode(decoder: Any, pcm: bytes) -> None:
    decoder.start_utt()
    decoder.process_raw(pcm, full_utt=True)
    decoder.end_utt()
