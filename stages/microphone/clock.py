"""Two clocks: the device's, which paces its samples, and the pipeline's, by which 25 chunks are due every second.

A crystal is off by up to some 100 parts per million: in an hour a stream would be late, or early, by a third of a
second. So the ratio of the resampler follows the device. Every second the loop compares the samples that came out with
those that were due (`lag`), and turns the ratio by KP * lag + KI * (sum of lag): a loop of second order, critically
damped, with a natural frequency of 0.02 rad/s. Slow on purpose: a sound server delivers in bursts of 20 ms and more,
and its jitter must not become a wobble of the pitch. It settles within five minutes; until then the stream is
at most 10 ms off for a device that is 300 ppm wrong, and no sample is ever dropped or repeated.
"""

from typing import Final

import numpy as np
import soxr
from numpy.typing import NDArray

from pipeline.audio import CHUNK_SAMPLES, SAMPLE_RATE_HZ, Samples

NATURAL_RAD_PER_S: Final = 0.02
_KP: Final = 2 * NATURAL_RAD_PER_S / SAMPLE_RATE_HZ
"""Of the ratio for each sample of lag: critical damping."""
_KI: Final = NATURAL_RAD_PER_S**2 / SAMPLE_RATE_HZ
"""Of the ratio for each sample of lag and second."""
MOST_OFF: Final = 1_000e-6
"""Of the ratio: no crystal that works is off by more. Beyond it the device lies about its rate."""
_EVERY_S: Final = 1.0
_SETTLES_S: Final = 2.0
"""At the start, in which the lag is only measured: the first blocks come in bursts, and the resampler keeps some back.
What they are off by is no drift, and stays."""


class Drift:
    """How much faster than it says the device is, learnt from when its samples come."""

    def __init__(self, began_s: float) -> None:
        self._began_s = began_s
        self._next_s = began_s + _SETTLES_S
        self._lags: list[float] = []
        self._usual_lag: float | None = None
        self._learnt = 0.0
        self.ratio = 1.0

    @property
    def ppm(self) -> float:
        """What the loop has learnt, without what it does about the moment's lag; parts per million."""
        return 1e6 * self._learnt

    def note(self, now_s: float, made: int) -> float:
        """``made`` samples at 24 kHz have come out by ``now_s``; returns the ratio for the next ones."""
        self._lags.append(made - (now_s - self._began_s) * SAMPLE_RATE_HZ)
        if now_s >= self._next_s:
            measured = float(np.mean(self._lags))
            self._lags.clear()
            self._next_s += _EVERY_S
            if self._usual_lag is None:
                self._usual_lag = measured
            lag = measured - self._usual_lag
            self._learnt = float(np.clip(self._learnt + _KI * _EVERY_S * lag, -MOST_OFF, MOST_OFF))
            self.ratio = 1 + float(np.clip(self._learnt + _KP * lag, -MOST_OFF, MOST_OFF))
        return self.ratio


class Chunker:
    """A device's blocks, at any rate, in; chunks of exactly 960 samples at 24 kHz, 25 a second of the pipeline's clock,
    out.

    Args:
        rate_hz: what the device says its rate is.
        began_s: the pipeline's clock when its first block begins.
    """

    def __init__(self, rate_hz: float, began_s: float) -> None:
        self._rate_hz = rate_hz
        self._resampler = soxr.ResampleStream(rate_hz * (1 + 2 * MOST_OFF), SAMPLE_RATE_HZ, 1, dtype="float32", vr=True)
        self._resampler.set_io_ratio(rate_hz, SAMPLE_RATE_HZ, 0)
        self.drift = Drift(began_s)
        self._made = 0
        self._left: NDArray[np.float32] = np.zeros(0, np.float32)

    def add(self, block: NDArray[np.float32], now_s: float) -> list[Samples]:
        """The next samples [frames], whole at ``now_s``; returns the chunks that they complete."""
        came_out = self._resampler.resample_chunk(np.ascontiguousarray(block, np.float32))
        self._made += len(came_out)
        ratio = self.drift.note(now_s, self._made)
        # Turned over the length of a block: no step is heard.
        self._resampler.set_io_ratio(self._rate_hz * ratio, SAMPLE_RATE_HZ, max(1, len(came_out)))
        self._left = np.concatenate([self._left, came_out])
        whole = len(self._left) // CHUNK_SAMPLES
        chunks = list(np.clip(self._left[: whole * CHUNK_SAMPLES], -1, 1).reshape(whole, CHUNK_SAMPLES))
        self._left = self._left[whole * CHUNK_SAMPLES :]
        return chunks
