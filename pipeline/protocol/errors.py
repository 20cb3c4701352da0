"""Errors that clients see: a short stable code to program against, a message that says what to do."""

from enum import StrEnum
from typing import Final

import msgspec


class ErrorCode(StrEnum):
    """Stable: a code may be added, never renamed. `docs/protocol.md` explains each."""

    INVALID_JSON = "invalid_json"
    INVALID_REQUEST = "invalid_request"
    UNKNOWN_ACTION = "unknown_action"
    INVALID_BASE64 = "invalid_base64"
    INVALID_LENGTH = "invalid_length"
    INVALID_SAMPLES = "invalid_samples"
    INVALID_MAGIC = "invalid_magic"
    INVALID_TYPE = "invalid_type"
    INVALID_CRC = "invalid_crc"
    INVALID_FRAME_ID = "invalid_frame_id"
    NOT_NEGOTIATED = "not_negotiated"
    UNSUPPORTED_VERSION = "unsupported_version"
    UNKNOWN_SPEAKER = "unknown_speaker"
    UNKNOWN_SESSION = "unknown_session"
    TIMEOUT = "timeout"
    OVERLOADED = "overloaded"
    UNAVAILABLE = "unavailable"
    TOO_MANY_SESSIONS = "too_many_sessions"
    RATE_LIMITED = "rate_limited"
    INTERNAL = "internal"


LATE: Final = "no frame within the deadline; the server is busy or restarts a stage"
"""The message of a TIMEOUT, whoever notices it first."""


class ProtocolError(Exception):
    """A message that cannot be honoured.

    Attributes:
        code: what went wrong, for programs.
        message: what to do about it, for people.
        frame_id: of the request that failed, 0 where it is not known.
    """

    def __init__(self, code: ErrorCode, message: str, frame_id: int = 0) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.frame_id = frame_id


class Failure(msgspec.Struct, kw_only=True):
    """The JSON answer to what failed, in every mode of the protocol."""

    frame_id: int
    error: str
    message: str
    success: bool = False
    chunk: int | None = None


def encode_failure(error: ProtocolError, chunk: int | None = None) -> str:
    """The text message that tells a client of `error`."""
    failure = Failure(frame_id=error.frame_id, error=error.code.value, message=error.message, chunk=chunk)
    return msgspec.json.encode(failure).decode()
