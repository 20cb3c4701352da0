"""Recorded traffic and what a mutator makes of it: for the fuzzers."""

import base64
import json
import random
import struct
import zlib
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from pipeline.audio import CHUNK_SAMPLES, WINDOW_SAMPLES
from pipeline.protocol import binary
from pipeline.protocol.binary import BinaryType

Message = str | bytes
_HEADER: Final = 13
SHORT: Final = 1_000
_EXTREMES: Final[tuple[Any, ...]] = (
    0,
    -1,
    2**31,
    2**32,
    2**63,
    2**64,
    1e308,
    float("nan"),
    "",
    "\x00",
    [],
    {},
    None,
    True,
    "a" * 1_000,
)


def recorded() -> list[Message]:
    """One valid message of every kind that a client sends; the long ones cheap to paint: silence."""
    window = np.zeros(WINDOW_SAMPLES, "<f4").tobytes()
    chunk = np.zeros(CHUNK_SAMPLES, "<i2").tobytes()
    questions: list[dict[str, Any]] = [
        {"action": "generate_frame", "frame_id": 1, "audio_data": base64.b64encode(window).decode()},
        {"action": "generate_frame", "frame_id": 1, "use_real_audio": False},
        {
            "action": "start_stream",
            "version": 1,
            "pace": "live",
            "view": "patch",
            "silence_threshold": 0.01,
            "name": "n",
            "processing": ["echo"],
            "voice_activity": "level",
        },
        {"action": "stop_stream"},
        {"action": "watch", "version": 1, "name": "n", "view": "full"},
        {"action": "switch_model", "speaker": "amara"},
        {"action": "list_models"},
        {"action": "stats", "enabled": False},
    ]
    return [
        *(json.dumps(question) for question in questions),
        binary.encode(BinaryType.AUDIO_REQUEST, 3, window),
        binary.encode(BinaryType.AUDIO_CHUNK, 3, chunk),
        binary.encode(BinaryType.FAR_END, 3, chunk),
    ]


def mutated(rng: random.Random, messages: list[Message]) -> Message:
    """One message, changed somewhere."""
    # Sound seldom: what stays valid in spite of everything is painted, and load is another test's matter.
    (message,) = rng.choices(messages, [1 if len(each) > SHORT else 10 for each in messages])
    return _text(rng, message) if isinstance(message, str) else _binary(rng, message)


def _text(rng: random.Random, text: str) -> Message:
    kind = rng.randrange(5)
    if kind == 0:
        return text[: rng.randrange(len(text) + 1)]
    if kind == 1:
        place = rng.randrange(len(text))
        return text[:place] + chr(rng.randrange(1, 0xD800)) + text[place + 1 :]
    if kind == 2:  # as bytes: a text in a binary message
        return text.encode()[: rng.randrange(1, 4_096)]
    table = json.loads(text)
    key = rng.choice([*table, f"k{rng.randrange(99)}"])
    if kind == 3:
        table[key] = rng.choice(_EXTREMES)
    else:
        table.pop(key, None)
    return json.dumps(table)


def _binary(rng: random.Random, message: bytes) -> bytes:
    return rng.choice(_BINARY)(rng, message)


def _flip(rng: random.Random, message: bytes) -> bytes:
    changed = bytearray(message)
    for _ in range(rng.randrange(1, 9)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _cut(rng: random.Random, message: bytes) -> bytes:
    return message[: rng.randrange(len(message))]


def _lengthen(rng: random.Random, message: bytes) -> bytes:
    return message + rng.randbytes(rng.randrange(1, 64))


def _header(rng: random.Random, message: bytes) -> bytes:
    """Another type, id or length, before a payload whose checksum is right."""
    magic, kind, frame_id, length = struct.unpack_from("<IBII", message)
    field = rng.randrange(3)
    header = struct.pack(
        "<IBII",
        magic,
        rng.randrange(256) if field == 0 else kind,
        rng.getrandbits(32) if field == 1 else frame_id,
        rng.getrandbits(32) if field == 2 else length,
    )
    return header + message[_HEADER:]


def _payload(rng: random.Random, message: bytes) -> bytes:
    """Any bytes, framed as they should be."""
    payload = rng.randbytes(rng.choice((0, 1, 2, 3, 63, 1_919, 1_920, 1_921, 3_840, 4_096)))
    head = message[:9] + struct.pack("<I", len(payload))
    return head + payload + struct.pack("<I", zlib.crc32(payload))


def _floats(rng: random.Random, _message: bytes) -> bytes:
    """A chunk of float32 with what no microphone delivers."""
    samples = np.zeros(CHUNK_SAMPLES, "<f4")
    samples[rng.randrange(CHUNK_SAMPLES)] = rng.choice((np.nan, np.inf, -np.inf, 1e30, 1e-45))
    return binary.encode(BinaryType.AUDIO_CHUNK, 1, samples.tobytes())


_BINARY: Final[tuple[Callable[[random.Random, bytes], bytes], ...]] = (
    _flip,
    _cut,
    _lengthen,
    _header,
    _payload,
    _floats,
)
