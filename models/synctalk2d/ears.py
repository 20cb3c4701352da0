"""What SyncTalk_2D's audio encoder is shown of a 640 ms window: sixteen pieces of its mel spectrogram, one every 40 ms.

Its own recipe, which is Wav2Lip's: 16 kHz, pre-emphasis 0.97, an amplitude spectrogram of 800 samples every 200, 80
mel bands from 55 to 7,600 Hz (`mel_bank.npy`, from librosa), decibels below 20 dB, -100..0 brought to -4..4. Piece k
begins where video frame k does, 3.2 mel frames apart, and is 16 mel frames long; one that would reach beyond the end is
the last 16, as SyncTalk_2D has it at the end of a recording.
"""

from pathlib import Path
from typing import Final

import numpy as np
import soxr
from numpy.typing import NDArray

from pipeline.audio import CHUNK_MS, SAMPLE_RATE_HZ, WINDOW_CHUNKS, WINDOW_SAMPLES

RATE_HZ: Final = 16_000
N_FFT: Final = 800
HOP: Final = 200
BANDS: Final = 80
STEPS: Final = 16
"""Mel frames of one piece: 200 ms."""
MOMENTS: Final = WINDOW_CHUNKS
PREEMPHASIS: Final = 0.97
MEL_PER_S: Final = RATE_HZ // HOP
VIDEO_PER_S: Final = 1_000 // CHUNK_MS
_QUIETEST: Final = 1e-5
"""Amplitude, -100 dB."""
_REFERENCE_DB: Final = 20.0
_RANGE_DB: Final = 100.0
_MOST: Final = 4.0

_HANN: Final = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(N_FFT) / N_FFT)).astype(np.float32)
_BANK: Final[NDArray[np.float32]] = np.load(Path(__file__).with_name("mel_bank.npy"), allow_pickle=False)

PAINTED: Final = 9
"""The painted video frame among the sixteen moments, counted from 0. SyncTalk_2D shows frame i the features i-8..i+7
of a list that begins with the first one twice: the moments i-9..i+6."""
LOOKAHEAD_MS: Final = (MOMENTS - PAINTED) * CHUNK_MS
"""From the painted frame's time to the end of the window."""


def mel(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N] of 16 kHz -> [1 + N // 200, 80], -4..4."""
    emphasised = samples.astype(np.float32)
    emphasised[1:] -= np.float32(PREEMPHASIS) * samples[:-1]
    padded = np.pad(emphasised, N_FFT // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[::HOP]
    amplitude = np.abs(np.fft.rfft(frames * _HANN, axis=-1)) @ _BANK.T
    decibels = 20 * np.log10(np.maximum(amplitude, _QUIETEST)) - _REFERENCE_DB
    scaled = 2 * _MOST * (decibels + _RANGE_DB) / _RANGE_DB - _MOST
    heard: NDArray[np.float32] = np.clip(scaled, -_MOST, _MOST).astype(np.float32)
    return heard


def pieces(spectrogram: NDArray[np.float32], count: int) -> NDArray[np.float32]:
    """[T, 80] -> [count, 80, 16]: those of the video frames 0..count-1.

    Raises ValueError where T is less than 16.
    """
    if len(spectrogram) < STEPS:
        msg = f"{len(spectrogram)} mel frames are less than the {STEPS} of one piece"
        raise ValueError(msg)
    starts = [min(MEL_PER_S * frame // VIDEO_PER_S, len(spectrogram) - STEPS) for frame in range(count)]
    return np.stack([spectrogram[start : start + STEPS].T for start in starts])


def resampled(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """[N] of 24 kHz -> [N * 2 / 3] of 16 kHz."""
    slower: NDArray[np.float32] = soxr.resample(samples, SAMPLE_RATE_HZ, RATE_HZ)
    return slower


class Ears:
    """The front end `synctalk2d`: (15360,) float32 in [-1, 1] -> (1, 16, 80, 16)."""

    name: Final = "synctalk2d"
    shape: Final = (MOMENTS, BANDS, STEPS)

    def __call__(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        if window.shape != (WINDOW_SAMPLES,):
            msg = f"a window is {WINDOW_SAMPLES} samples of 24 kHz mono, not an array of shape {window.shape}"
            raise ValueError(msg)
        return pieces(mel(resampled(window)), MOMENTS)[None]
