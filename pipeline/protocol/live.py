"""What the live stream adds: audio chunks in, frames with their place in the sound out.

The payload of LIVE_FRAME, MOUTH_PATCH (FrameMeta) and BASE_FRAME (BaseMeta) is
`uint16 n | n bytes of JSON | encoded image`.
"""

import struct
from typing import Final, TypeVar

import msgspec

from pipeline.audio import CHUNK_BYTES_FLOAT32, CHUNK_BYTES_INT16, InvalidSamplesError, samples_from_float32
from pipeline.protocol.binary import BinaryMessage, BinaryType
from pipeline.protocol.errors import ErrorCode, ProtocolError
from pipeline.protocol.requests import (
    WINDOW_BYTES_FLOAT32,
    AudioChunk,
    FarEndChunk,
    Processing,
    ReplyForm,
    VoiceActivity,
    WindowRequest,
)

_META_LENGTH: Final = struct.Struct("<H")
_Meta = TypeVar("_Meta", bound=msgspec.Struct)


class FrameMeta(msgspec.Struct, omit_defaults=True, kw_only=True):
    """What a live frame says about itself.

    Attributes:
        chunk: which chunk of the stream caused it, counted from 0.
        audio_ms: the moment of the sound that the mouth shows, from the stream's start: chunk end minus
            lookahead.
        server_ms: from the chunk's arrival at the edge to the frame's departure.
        dropped: chunks of this stream so far that got no frame, whatever the cause.
        level: the contract's audio level of the newest chunk, 0..1.
        silent: nothing was inferred; the mouth rests or is on its way to rest.
        base: which base frame lies under the mouth.
        box: x, y, width, height of the image within the frame, where it is a patch.
        articulation: value by channel name.
        speaker: whose face it is.
    """

    chunk: int
    audio_ms: float
    server_ms: float
    level: float
    base: int
    speaker: str
    dropped: int = 0
    silent: bool = False
    box: tuple[int, int, int, int] | None = None
    articulation: dict[str, float] = {}


class BaseMeta(msgspec.Struct, kw_only=True):
    """What a base frame says about itself: whose it is, and which; a patch names both."""

    speaker: str
    base: int


class StreamStarted(msgspec.Struct, kw_only=True):
    """The answer to start_stream and to watch."""

    session: str
    speaker: str
    lookahead_ms: int
    width: int
    height: int
    base_frames: int
    action: str = "stream_started"
    success: bool = True
    version: int = 1
    sample_rate: int = 24_000
    chunk_samples: int = 960
    channels: tuple[str, ...] = ()
    processing: tuple[Processing, ...] = ()
    voice_activity: VoiceActivity = VoiceActivity.LEVEL


class StreamStopped(msgspec.Struct, kw_only=True):
    """The answer to stop_stream, and the notice that a watched stream ended."""

    session: str
    chunks: int
    frames: int
    dropped: int
    action: str = "stream_stopped"
    success: bool = True


class SpeakerInfo(msgspec.Struct, kw_only=True):
    """One installed speaker."""

    name: str
    title: str
    width: int
    height: int
    lookahead_ms: int


class Models(msgspec.Struct, kw_only=True):
    """The answer to list_models."""

    models: list[SpeakerInfo]
    default: str
    action: str = "models"
    success: bool = True


class ModelSwitched(msgspec.Struct, kw_only=True):
    """The answer to switch_model: frames from now on name the new speaker."""

    speaker: str
    lookahead_ms: int
    width: int
    height: int
    base_frames: int
    action: str = "model_switched"
    success: bool = True


class StageStats(msgspec.Struct, kw_only=True):
    """One stage in the last second; times in ms. ``drops`` are since the stage started, by cause."""

    stage: str
    frames: int
    queue_p50: float
    service_p50: float
    age_p50: float
    age_p99: float
    drops: dict[str, int]
    note: str = ""


class Tuning(msgspec.Struct, frozen=True, kw_only=True):
    """How much is asked of the machine: 0 is everything; ``means`` says it for people."""

    level: int = 0
    frames_per_s: float = 25.0
    means: str = ""


class Stats(msgspec.Struct, kw_only=True):
    """Sent once a second to whoever asked with `stats`. ``failing``: stages in a crash loop, each with its reason."""

    stages: list[StageStats]
    failing: dict[str, str] = {}
    tuning: Tuning = Tuning()
    action: str = "stats"
    success: bool = True


def decode_binary(message: BinaryMessage, *, streaming: bool) -> WindowRequest | AudioChunk | FarEndChunk:
    """Read a client's binary message.

    Raises:
        ProtocolError: INVALID_TYPE, INVALID_LENGTH, INVALID_SAMPLES, or NOT_NEGOTIATED for a chunk before
            start_stream.
    """
    kind, frame_id, payload = message
    try:
        if kind is BinaryType.AUDIO_REQUEST:
            if len(payload) != WINDOW_BYTES_FLOAT32:
                raise _length_error(len(payload), f"{WINDOW_BYTES_FLOAT32} (15,360 float32 samples)", frame_id)
            return WindowRequest(frame_id, samples_from_float32(payload), ReplyForm.BINARY)
        if kind in (BinaryType.AUDIO_CHUNK, BinaryType.FAR_END):
            if not streaming:
                raise ProtocolError(ErrorCode.NOT_NEGOTIATED, "send start_stream before audio chunks", frame_id)
            pcm = _chunk_pcm(payload, frame_id)
            return AudioChunk(pcm, frame_id) if kind is BinaryType.AUDIO_CHUNK else FarEndChunk(pcm)
    except InvalidSamplesError as error:
        raise ProtocolError(ErrorCode.INVALID_SAMPLES, str(error), frame_id) from None
    raise ProtocolError(
        ErrorCode.INVALID_TYPE, f"type 0x{kind:02x} is the server's; clients send 0x01, 0x03 and 0x08", frame_id
    )


def _chunk_pcm(payload: memoryview, frame_id: int) -> bytes:
    if len(payload) == CHUNK_BYTES_FLOAT32:
        samples_from_float32(payload)  # for what it raises: any int16 will do, not any float32
    if len(payload) in (CHUNK_BYTES_INT16, CHUNK_BYTES_FLOAT32):
        return bytes(payload)
    lengths = f"{CHUNK_BYTES_INT16} (960 int16 samples) and {CHUNK_BYTES_FLOAT32} (960 float32 samples)"
    raise _length_error(len(payload), lengths, frame_id)


def _length_error(length: int, accepted: str, frame_id: int) -> ProtocolError:
    return ProtocolError(ErrorCode.INVALID_LENGTH, f"the payload has {length} bytes; accepted are {accepted}", frame_id)


def image_head(meta: FrameMeta | BaseMeta) -> bytes:
    """What stands before the image in the payload of LIVE_FRAME, MOUTH_PATCH and BASE_FRAME."""
    text = msgspec.json.encode(meta)
    return _META_LENGTH.pack(len(text)) + text


def decode_frame_payload(payload: memoryview) -> tuple[FrameMeta, memoryview]:
    """Take the payload of LIVE_FRAME or MOUTH_PATCH apart, as clients do.

    Raises:
        ProtocolError: INVALID_LENGTH or INVALID_JSON.
    """
    return _decode_image(payload, FrameMeta)


def decode_base_payload(payload: memoryview) -> tuple[BaseMeta, memoryview]:
    """Take the payload of BASE_FRAME apart, as clients do.

    Raises:
        ProtocolError: INVALID_LENGTH or INVALID_JSON.
    """
    return _decode_image(payload, BaseMeta)


def _decode_image(payload: memoryview, kind: type[_Meta]) -> tuple[_Meta, memoryview]:
    if len(payload) < _META_LENGTH.size:
        raise ProtocolError(ErrorCode.INVALID_LENGTH, "the payload of a live image has at least two bytes")
    (length,) = _META_LENGTH.unpack_from(payload)
    start = _META_LENGTH.size + length
    if len(payload) < start:
        raise ProtocolError(ErrorCode.INVALID_LENGTH, f"the payload ends within its {length} bytes of JSON")
    try:
        meta = msgspec.json.decode(payload[_META_LENGTH.size : start], type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(ErrorCode.INVALID_JSON, f"the image's description: {error}") from None
    return meta, payload[start:]
