"""Sound processing: WebRTC's audio processing module, chunk by chunk, as the livekit package brings it.

    far end --\\
    microphone -> high-pass -> echo cancellation -> noise suppression -> gain normalisation -> history

Each step is switched on by the session that wants it. All work on 10 ms at a time and look into no future; what their
filters delay the sound by is stated in `delay_ms` and counted into the stream's lookahead.
"""

import importlib
import importlib.util
from collections import deque
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from pipeline.audio import CHUNK_SAMPLES, SAMPLE_RATE_HZ, Samples, int16_from_samples, samples_from_int16
from pipeline.protocol.requests import Processing

if TYPE_CHECKING:
    from livekit import rtc

PACKAGE: Final = "livekit"
MISSING: Final = "sound processing needs the package livekit: pip install 'lipwire[sound]'"
_PIECE_SAMPLES: Final = SAMPLE_RATE_HZ // 100
"""10 ms, the only length that the module takes."""
_FAR_END_PIECES: Final = 50
"""500 ms of far-end sound that may wait for the microphone's; what is older is of no use."""
_DELAY_MS: Final = 1.3
"""Of the module with any step: it works at a rate of its own."""
_NOISE_DELAY_MS: Final = 6.0
_ECHO_DELAY_MS: Final = 8.0
"""Both take the sound apart into frequency bands and put it together again."""


def is_available() -> bool:
    """Whether the package is installed; nothing is imported."""
    return importlib.util.find_spec(PACKAGE) is not None


def delay_ms(steps: Collection[Processing]) -> int:
    """By how much the processed sound is late, to the nearest millisecond.

    Measured; tests/test_hearing.py measures every combination again.
    """
    if not steps:
        return 0
    late_ms = _DELAY_MS
    late_ms += _NOISE_DELAY_MS if Processing.NOISE in steps else 0
    late_ms += _ECHO_DELAY_MS if Processing.ECHO in steps else 0
    return round(late_ms)


class Processor:
    """The steps that one session has asked for, with what they remember of it.

    Raises:
        ImportError: the package is not installed.
    """

    def __init__(self, steps: Collection[Processing]) -> None:
        # Not above: it starts threads of its own, in the one process that needs them and once a session wants it.
        self._rtc = importlib.import_module("livekit.rtc")
        self._module = self._rtc.AudioProcessingModule(
            high_pass_filter=Processing.HIGH_PASS in steps,
            echo_cancellation=Processing.ECHO in steps,
            noise_suppression=Processing.NOISE in steps,
            auto_gain_control=Processing.GAIN in steps,
        )
        self._cancels = Processing.ECHO in steps
        self._far_end: deque[bytes] = deque(maxlen=_FAR_END_PIECES)

    def hear_far_end(self, samples: Samples) -> None:
        """The next 40 ms [960] of what the machine plays; before the microphone's chunk that may hold its echo."""
        self._far_end.extend(_pieces(samples))

    def __call__(self, samples: Samples) -> Samples:
        """The next 40 ms [960] of the microphone -> as many, processed and `delay_ms` late."""
        processed = bytearray()
        for piece in _pieces(samples):
            if self._cancels:
                # One for one, in turns: the canceller learns the echo's delay from how far the two are apart.
                played = self._far_end.popleft() if self._far_end else bytes(len(piece))
                self._module.process_reverse_stream(self._frame(played))
            frame = self._frame(piece)
            self._module.process_stream(frame)
            processed += frame.data.cast("b")
        return samples_from_int16(bytes(processed))

    def _frame(self, piece: bytes) -> "rtc.AudioFrame":
        frame: rtc.AudioFrame = self._rtc.AudioFrame(piece, SAMPLE_RATE_HZ, 1, _PIECE_SAMPLES)
        return frame


def _pieces(samples: Samples) -> list[bytes]:
    """[960] -> four times 10 ms of int16."""
    raw = int16_from_samples(samples)
    size = len(raw) * _PIECE_SAMPLES // CHUNK_SAMPLES
    return [raw[start : start + size] for start in range(0, len(raw), size)]
