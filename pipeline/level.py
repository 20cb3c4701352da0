"""The contract's one definition of audio level: RMS of the analyser's byte spectrum / 255.

The byte spectrum is the Web Audio AnalyserNode's with its defaults (W3C Web Audio API 1.1, "FFT windowing and
smoothing over time"): Blackman window with alpha 0.16, magnitudes over N, smoothed over successive calls, decibels
mapped from [-100, -30] to [0, 255]. The browser's meter, the live client and this module agree on shared test vectors.
"""

import math
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.audio import CHUNK_SAMPLES, WINDOW_SAMPLES, Samples

FFT_SIZE: Final = 2048
SMOOTHING: Final = 0.8
MIN_DECIBELS: Final = -100.0
MAX_DECIBELS: Final = -30.0
_ALPHA: Final = 0.16
_TURN: Final = 2 * np.pi * np.arange(FFT_SIZE) / FFT_SIZE
_WINDOW: Final = ((1 - _ALPHA) / 2 - 0.5 * np.cos(_TURN) + _ALPHA / 2 * np.cos(2 * _TURN)).astype(np.float32)
_SCALE: Final = 255 / (MAX_DECIBELS - MIN_DECIBELS)


class LevelMeter:
    """One analyser node: call it once per chunk with the newest samples."""

    def __init__(self) -> None:
        self._smoothed: NDArray[np.float32] = np.zeros(FFT_SIZE // 2, np.float32)

    def __call__(self, newest: Samples) -> float:
        """Level 0..1 of the newest 2,048 samples; fewer are taken as preceded by silence."""
        block = np.zeros(FFT_SIZE, np.float32)
        tail = newest[-FFT_SIZE:]
        block[FFT_SIZE - len(tail) :] = tail
        self._smoothed *= np.float32(SMOOTHING)
        self._smoothed += np.float32(1 - SMOOTHING) * _magnitudes(block[None])[0]
        return _level(self._smoothed)


def _magnitudes(blocks: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N, 2048] samples -> [N, 1024]."""
    # Packed: the first bin's real part, then each bin's real and imaginary part, then the last bin's real part.
    parts = cv2.dft(blocks * _WINDOW, flags=cv2.DFT_ROWS | cv2.DFT_SCALE)
    magnitudes = np.empty((len(blocks), FFT_SIZE // 2), np.float32)
    np.abs(parts[:, 0], out=magnitudes[:, 0])
    np.hypot(parts[:, 1:-1:2], parts[:, 2:-1:2], out=magnitudes[:, 1:])
    return magnitudes


def _level(smoothed: NDArray[np.float32]) -> float:
    decibels = 20 * np.log10(np.maximum(smoothed, np.float32(1e-12)))
    octets = np.clip(np.floor(_SCALE * (decibels - MIN_DECIBELS)), 0, 255)
    return math.sqrt(float(octets @ octets) / len(octets)) / 255


_ENDS: Final = np.arange(CHUNK_SAMPLES, WINDOW_SAMPLES + 1, CHUNK_SAMPLES)
_WEIGHTS: Final = ((1 - SMOOTHING) * SMOOTHING ** np.arange(len(_ENDS))[::-1]).astype(np.float32)
"""What is left of each chunk's spectrum in the smoothed one at the end."""


def level_of_window(window: Samples) -> float:
    """The level a live client would show at the end of a whole window [15360], fed to a new meter chunk by chunk."""
    padded = np.concatenate([np.zeros(FFT_SIZE, np.float32), window])
    blocks = np.lib.stride_tricks.sliding_window_view(padded, FFT_SIZE)[_ENDS]
    return _level(_WEIGHTS @ _magnitudes(blocks))
