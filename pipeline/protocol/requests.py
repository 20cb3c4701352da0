"""What a client can ask for: every message that the edge accepts becomes one of these types.

Requests are answered one for one; chunks of a live stream each become a window and a frame.
"""

from enum import StrEnum
from typing import Annotated, Final

import msgspec

from pipeline.audio import WINDOW_SAMPLES, Samples, samples_of_chunk

PROTOCOL_VERSION: Final = 1
WINDOW_BYTES_FLOAT32: Final = WINDOW_SAMPLES * 4  # 61,440
WINDOW_BYTES_INT16: Final = WINDOW_SAMPLES * 2  # 30,720


Level = Annotated[float, msgspec.Meta(ge=0, le=1)]
SessionName = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class ReplyForm(StrEnum):
    """How a request's answer is written: as its question was."""

    JSON = "json"
    BINARY = "binary"


class WindowRequest(msgspec.Struct, frozen=True):
    """One frame for one window of real audio, which is used whole."""

    frame_id: int
    samples: Samples  # (15360,)
    form: ReplyForm
    speaker: str | None = None


class FeatureRequest(msgspec.Struct, frozen=True):
    """One frame for row `frame_id` of the speaker's own precomputed features."""

    frame_id: int
    form: ReplyForm
    speaker: str | None = None


class _ChunkOfSound(msgspec.Struct, frozen=True):
    """40 ms, as the client sent them (pipeline.audio.samples_of_chunk), looked at."""

    pcm: bytes

    @property
    def samples(self) -> Samples:
        """[960]"""
        return samples_of_chunk(self.pcm)


class AudioChunk(_ChunkOfSound, frozen=True):
    """The next 40 ms of a live stream. `frame_id` picks the base frame."""

    frame_id: int


class FarEndChunk(_ChunkOfSound, frozen=True):
    """The next 40 ms of what the listener's own loudspeaker plays: the echo that its microphone will hear."""


class Pace(StrEnum):
    """What happens to a window that is still waiting when a newer one comes."""

    LIVE = "live"  # it is dropped: the newest wins
    LOSSLESS = "lossless"  # it is painted too: for rendering files, the client waits instead


class View(StrEnum):
    """What a live frame carries."""

    FULL = "full"  # the whole frame
    PATCH = "patch"  # the mouth only; base frames are sent once each and cached by the client
    AUTO = "auto"  # whole frames, or patches where the machine has too much to do


class Processing(StrEnum):
    """What can be done to a stream's sound before the network hears it, in the order in which it is done."""

    HIGH_PASS = "high_pass"  # noqa: S105 - a filter; takes away rumble and direct current
    ECHO = "echo"  # takes away what the far end says: sounds that the client sends as such
    NOISE = "noise"  # takes away steady noise
    GAIN = "gain"  # brings quiet people to the level of others


class VoiceActivity(StrEnum):
    """How silence is told from a voice."""

    NEURAL = "neural"  # by a network that knows voices; what is below the threshold is silence all the same
    LEVEL = "level"  # by the threshold alone, as the original does


class Hearing(msgspec.Struct, frozen=True, array_like=True):
    """How one session's sound is listened to."""

    silence_threshold: float
    processing: tuple[Processing, ...] = ()
    voice_activity: VoiceActivity = VoiceActivity.NEURAL


class StartStream(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="action", tag="start_stream"):
    """Opens the live stream on this connection."""

    version: int
    speaker: str | None = None
    pace: Pace = Pace.LIVE
    view: View = View.FULL
    silence_threshold: Level | None = None
    name: SessionName | None = None
    processing: tuple[Processing, ...] | None = None
    voice_activity: VoiceActivity | None = None


class StopStream(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="action", tag="stop_stream"):
    """Ends the live stream; the connection stays open for requests."""


class WatchSession(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="action", tag="watch"):
    """Receive another session's frames, found by the name it was started with."""

    version: int
    name: SessionName
    view: View = View.FULL
    sound: bool = False


class SwitchModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="action", tag="switch_model"):
    """Let another speaker speak from the next window on."""

    speaker: str


class ListModels(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="action", tag="list_models"):
    """Ask which speakers are installed."""


class SubscribeStats(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="action", tag="stats"):
    """Receive the pipeline's per-stage latency once a second."""

    enabled: bool = True


Control = StartStream | StopStream | WatchSession | SwitchModel | ListModels | SubscribeStats
Request = WindowRequest | FeatureRequest | AudioChunk | FarEndChunk | Control
