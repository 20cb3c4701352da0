"""The original's JSON messages, and the JSON controls of the live stream."""

import base64
import binascii
from typing import Any, Final

import msgspec

from pipeline.audio import InvalidSamplesError, samples_from_float32, samples_from_int16
from pipeline.protocol.binary import MAX_FRAME_ID
from pipeline.protocol.errors import ErrorCode, ProtocolError
from pipeline.protocol.requests import (
    WINDOW_BYTES_FLOAT32,
    WINDOW_BYTES_INT16,
    Control,
    FeatureRequest,
    ListModels,
    ReplyForm,
    StartStream,
    StopStream,
    SubscribeStats,
    SwitchModel,
    WatchSession,
    WindowRequest,
)


class _Action(msgspec.Struct):
    action: str
    frame_id: int = 0


class _GenerateFrame(msgspec.Struct):
    """Keys that are not listed are ignored, as the original's clients may send more."""

    frame_id: int
    audio_data: str | None = ""
    use_real_audio: bool = True
    speaker: str | None = None


class FrameResponse(msgspec.Struct, kw_only=True):
    """The original's answer, and what this project adds to it after `inference_count`."""

    frame_id: int
    frame_data: str
    processing_time: float
    inference_count: int
    success: bool = True
    speaker: str = ""
    lookahead_ms: int = 0
    articulation: dict[str, float] = {}


GENERATE_FRAME: Final = "generate_frame"
_CONTROLS: Final[dict[str, type[Any]]] = {
    "start_stream": StartStream,
    "stop_stream": StopStream,
    "watch": WatchSession,
    "switch_model": SwitchModel,
    "list_models": ListModels,
    "stats": SubscribeStats,
}


def decode(text: str | bytes) -> WindowRequest | FeatureRequest | Control:
    """Read one JSON message.

    Raises:
        ProtocolError: INVALID_JSON, UNKNOWN_ACTION, INVALID_REQUEST, INVALID_FRAME_ID, INVALID_BASE64,
            INVALID_LENGTH or INVALID_SAMPLES.
    """
    try:
        text = text if isinstance(text, str) else text.decode()
        head = msgspec.json.decode(text, type=_Action)
    except msgspec.ValidationError as error:
        raise ProtocolError(
            ErrorCode.INVALID_REQUEST,
            f"{error}; a message is an object with an 'action' and, if any, an integer 'frame_id'",
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ProtocolError(ErrorCode.INVALID_JSON, f"the text is not JSON: {error}") from None
    except RecursionError:
        raise ProtocolError(ErrorCode.INVALID_JSON, "the JSON is nested too deeply; a message is flat") from None
    if head.action == GENERATE_FRAME:
        return _decode_generate_frame(text, head.frame_id)
    if head.action not in _CONTROLS:
        known = ", ".join((GENERATE_FRAME, *_CONTROLS))
        raise ProtocolError(
            ErrorCode.UNKNOWN_ACTION,
            f"the action {head.action[:40]!r} is not known; known are {known}",
            _echo(head.frame_id),
        )
    try:
        control: Control = msgspec.json.decode(text, type=_CONTROLS[head.action])
    except msgspec.ValidationError as error:
        raise ProtocolError(ErrorCode.INVALID_REQUEST, f"{head.action}: {error}") from None
    return control


def _decode_generate_frame(text: str, frame_id: int) -> WindowRequest | FeatureRequest:
    try:
        request = msgspec.json.decode(text, type=_GenerateFrame)
    except msgspec.ValidationError as error:
        raise ProtocolError(ErrorCode.INVALID_REQUEST, f"{GENERATE_FRAME}: {error}", _echo(frame_id)) from None
    if not 0 <= request.frame_id <= MAX_FRAME_ID:
        raise ProtocolError(ErrorCode.INVALID_FRAME_ID, f"frame_id is an integer from 0 to {MAX_FRAME_ID}")
    if not request.use_real_audio:
        return FeatureRequest(request.frame_id, ReplyForm.JSON, request.speaker)
    try:
        raw = base64.b64decode(request.audio_data or "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProtocolError(ErrorCode.INVALID_BASE64, f"audio_data is not base64: {error}", frame_id) from None
    if len(raw) == WINDOW_BYTES_INT16:
        return WindowRequest(frame_id, samples_from_int16(raw), ReplyForm.JSON, request.speaker)
    if len(raw) != WINDOW_BYTES_FLOAT32:
        raise ProtocolError(
            ErrorCode.INVALID_LENGTH,
            f"audio_data decodes to {len(raw)} bytes; accepted are {WINDOW_BYTES_FLOAT32} "
            f"(15,360 float32 samples) and {WINDOW_BYTES_INT16} (15,360 int16 samples)",
            frame_id,
        )
    try:
        return WindowRequest(frame_id, samples_from_float32(raw), ReplyForm.JSON, request.speaker)
    except InvalidSamplesError as error:
        raise ProtocolError(ErrorCode.INVALID_SAMPLES, str(error), frame_id) from None


def _echo(frame_id: int) -> int:
    """What a failure says of the request's frame_id: 0 where no frame can have it."""
    return frame_id if 0 <= frame_id <= MAX_FRAME_ID else 0


def encode(answer: msgspec.Struct) -> str:
    """Any answer of this protocol as the text message it travels in."""
    return msgspec.json.encode(answer).decode()


def encode_image(image: bytes | memoryview) -> str:
    """An encoded image as the base64 of `frame_data`."""
    return base64.b64encode(image).decode("ascii")
