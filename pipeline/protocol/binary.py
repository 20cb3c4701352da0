"""The packed binary framing of the contract, little endian.

    offset  size  field
    0       4     magic = 0x12345678
    4       1     type
    5       4     frame_id
    9       4     length of the payload in bytes
    13      n     payload
    13+n    4     CRC32 of the payload (zlib's, as in PNG)

One WebSocket message carries exactly one of these.
"""

import struct
import zlib
from enum import IntEnum
from typing import Final, NamedTuple

from pipeline.protocol.errors import ErrorCode, ProtocolError

MAGIC: Final = 0x12345678
_HEADER: Final = struct.Struct("<IBII")
_CRC: Final = struct.Struct("<I")
OVERHEAD_BYTES: Final = _HEADER.size + _CRC.size
MAX_FRAME_ID: Final = 0xFFFF_FFFF


class BinaryType(IntEnum):
    """0x01 and 0x02 are the contract's; from 0x03 up only whoever negotiated sees them."""

    AUDIO_REQUEST = 0x01
    FRAME_RESPONSE = 0x02
    AUDIO_CHUNK = 0x03
    LIVE_FRAME = 0x04
    MOUTH_PATCH = 0x05
    BASE_FRAME = 0x06
    SOUND = 0x07
    FAR_END = 0x08


class BinaryMessage(NamedTuple):
    """One decoded message; `payload` is a view into what was received."""

    type: BinaryType
    frame_id: int
    payload: memoryview


def encode(kind: BinaryType, frame_id: int, *payload: bytes | memoryview) -> bytes:
    """Frame a payload given in one or several pieces."""
    crc = 0
    length = 0
    for piece in payload:
        crc = zlib.crc32(piece, crc)
        length += memoryview(piece).nbytes
    return b"".join((_HEADER.pack(MAGIC, kind, frame_id, length), *payload, _CRC.pack(crc)))


def type_of(message: bytes) -> int | None:
    """The type that a message claims, before anything of it is checked; None where it is too short to have one."""
    return message[4] if len(message) > 4 else None


def decode(message: bytes) -> BinaryMessage:
    """Take one message apart.

    Raises:
        ProtocolError: INVALID_LENGTH, INVALID_MAGIC, INVALID_TYPE or INVALID_CRC, naming what was found.
    """
    if len(message) < OVERHEAD_BYTES:
        raise ProtocolError(
            ErrorCode.INVALID_LENGTH,
            f"a binary message has at least {OVERHEAD_BYTES} bytes, this one has {len(message)}",
        )
    magic, kind, frame_id, length = _HEADER.unpack_from(message)
    if magic != MAGIC:
        raise ProtocolError(ErrorCode.INVALID_MAGIC, f"the magic number is 0x{MAGIC:08x}, not 0x{magic:08x}")
    if length != len(message) - OVERHEAD_BYTES:
        raise ProtocolError(
            ErrorCode.INVALID_LENGTH,
            f"the header says {length} payload bytes, the message holds {len(message) - OVERHEAD_BYTES}",
            frame_id,
        )
    if kind not in BinaryType.__members__.values():
        raise ProtocolError(ErrorCode.INVALID_TYPE, f"type 0x{kind:02x} is not known", frame_id)
    payload = memoryview(message)[_HEADER.size : _HEADER.size + length]
    (crc,) = _CRC.unpack_from(message, _HEADER.size + length)
    actual = zlib.crc32(payload)
    if crc != actual:
        raise ProtocolError(
            ErrorCode.INVALID_CRC, f"the CRC32 is 0x{crc:08x}, the payload's is 0x{actual:08x}", frame_id
        )
    return BinaryMessage(BinaryType(kind), frame_id, payload)
