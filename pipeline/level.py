"""The contract's one definition of audio level: RMS of the analyser's byte spectrum / 255.

The byte spectrum is the Web Audio AnalyserNode's with its defaults (W3C Web Audio API 1.1, "FFT windowing and
smoothing over time"): Blackman window with alpha 0.16, magnitudes over N, smoothed over successive calls, decibels
mapped from [-100, -30] to [0, 255]. The browser's meter, the live client and this module agree on shared test vectors.
"""

from typing import Final

import numpy as np
import scipy.fft
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
        spectrum = np.abs(scipy.fft.rfft(block * _WINDOW))[: FFT_SIZE // 2] / FFT_SIZE
        self._smoothed = np.float32(SMOOTHING) * self._smoothed + np.float32(1 - SMOOTHING) * spectrum
        decibels = 20 * np.log10(np.maximum(self._smoothed, np.float32(1e-12)))
        octets = np.clip(np.floor(_SCALE * (decibels - MIN_DECIBELS)), 0, 255)
        return float(np.sqrt(np.mean(octets * octets)) / 255)


def level_of_window(window: Samples) -> float:
    """The level a live client would show at the end of a whole window [15360], fed to a new meter chunk by chunk."""
    meter = LevelMeter()
    level = 0.0
    for end in range(CHUNK_SAMPLES, WINDOW_SAMPLES + 1, CHUNK_SAMPLES):
        level = meter(window[:end])
    return level
