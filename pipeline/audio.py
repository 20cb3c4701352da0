"""The fixed quantities of the audio path. They are the contract's, and nothing else may restate them."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE_HZ: Final = 24_000
CHUNK_MS: Final = 40
FRAME_RATE_HZ: Final = 25
CHUNK_SAMPLES: Final = SAMPLE_RATE_HZ * CHUNK_MS // 1000  # 960
CHUNK_BYTES_FLOAT32: Final = CHUNK_SAMPLES * 4  # 3,840
CHUNK_BYTES_INT16: Final = CHUNK_SAMPLES * 2  # 1,920
WINDOW_CHUNKS: Final = 16
WINDOW_SAMPLES: Final = WINDOW_CHUNKS * CHUNK_SAMPLES  # 15,360 = 640 ms
HISTORY_CHUNKS: Final = 500  # 20 s a session
LIVE_FRAME_IDS: Final = HISTORY_CHUNKS  # live frame ids cycle 0..499

Samples = NDArray[np.float32]
"""Mono audio, float32, nominally within [-1, 1]."""

Pcm16 = NDArray[np.int16]
"""Mono audio as most sound cards and synthesised voices give it."""

ChunkSamples = Samples | Pcm16
"""[960]: 40 ms, in either of the formats that a live stream may have."""

INT16_FULL_SCALE: Final = 32_768.0


class InvalidSamplesError(ValueError):
    """Samples that no microphone gives: not a number, or infinite."""


def samples_from_float32(raw: bytes | memoryview) -> Samples:
    """Read little-endian float32 samples; a view, not a copy, unless what is louder than full scale is clipped.

    Raises:
        InvalidSamplesError: a sample is NaN or infinite.
    """
    samples = np.frombuffer(raw, dtype="<f4")
    peak = np.abs(samples).max(initial=0)  # NaN, where one is
    if peak <= 1:
        return samples
    if not np.isfinite(peak):
        raise InvalidSamplesError("the audio holds NaN or infinite samples; send finite float32 in [-1, 1]")
    clipped: Samples = np.clip(samples, -1, 1)
    return clipped


def samples_from_int16(raw: bytes | memoryview) -> Samples:
    """Read little-endian int16 samples and scale them to [-1, 1)."""
    samples: Samples = np.frombuffer(raw, dtype="<i2").astype(np.float32) / np.float32(INT16_FULL_SCALE)
    return samples


def int16_from_samples(samples: Samples) -> bytes:
    """Write samples as little-endian int16; what is louder than full scale is clipped."""
    scaled: Samples = np.clip(np.rint(samples * INT16_FULL_SCALE), -INT16_FULL_SCALE, INT16_FULL_SCALE - 1)
    return scaled.astype("<i2").tobytes()


def samples_of_chunk(pcm: bytes) -> Samples:
    """[960] of a live chunk as it was sent: int16 or float32, told apart by its length.

    Raises:
        InvalidSamplesError: a sample is NaN or infinite.
    """
    return samples_from_int16(pcm) if len(pcm) == CHUNK_BYTES_INT16 else samples_from_float32(pcm)


def int16_of_chunk(pcm: bytes) -> bytes:
    """The same as int16. Raises as samples_of_chunk."""
    return pcm if len(pcm) == CHUNK_BYTES_INT16 else int16_from_samples(samples_from_float32(pcm))
