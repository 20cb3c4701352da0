"""To the letter: what the decoders hand on, what each refusal says and of which request. Most of it was written against
mutants of the decoders that the other tests let live (CONTRIBUTING.md)."""

import base64
import json
import struct
import zlib
from typing import Any

import msgspec
import numpy as np
import pytest

from pipeline.audio import CHUNK_SAMPLES, WINDOW_SAMPLES
from pipeline.protocol import binary, jsonform, live
from pipeline.protocol.binary import MAGIC, MAX_FRAME_ID, BinaryType
from pipeline.protocol.errors import ErrorCode, ProtocolError
from pipeline.protocol.live import BaseMeta
from pipeline.protocol.requests import AudioChunk, FarEndChunk, FeatureRequest, ReplyForm, WindowRequest

WINDOW = np.linspace(-1, 1, WINDOW_SAMPLES, dtype="<f4")
WINDOW_INT16 = np.arange(WINDOW_SAMPLES).astype("<i2")
CHUNK = np.arange(CHUNK_SAMPLES).astype("<i2")


def ask(samples: "np.ndarray[Any, Any] | None" = None, **keys: Any) -> str:
    audio = None if samples is None else base64.b64encode(samples.tobytes()).decode()
    return json.dumps({"action": "generate_frame", "frame_id": 7, "audio_data": audio} | keys)


def framed(kind: int, frame_id: int, payload: bytes, *, magic: int = MAGIC, length: int | None = None) -> bytes:
    head = struct.pack("<IBII", magic, kind, frame_id, len(payload) if length is None else length)
    return head + payload + struct.pack("<I", zlib.crc32(payload))


def refused(decode: Any) -> tuple[ErrorCode, str, int]:
    with pytest.raises(ProtocolError) as raised:
        decode()
    return raised.value.code, raised.value.message, raised.value.frame_id


# ---- what is handed on -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame_id", [0, 1, MAX_FRAME_ID])
@pytest.mark.parametrize("samples", [WINDOW, WINDOW_INT16])
def test_a_json_window_comes_whole(frame_id: int, samples: "np.ndarray[Any, Any]") -> None:
    request = jsonform.decode(ask(samples, frame_id=frame_id, speaker="robin"))
    assert isinstance(request, WindowRequest)
    assert (request.frame_id, request.form, request.speaker) == (frame_id, ReplyForm.JSON, "robin")
    wanted = samples if samples.dtype == np.float32 else samples / 32768
    np.testing.assert_allclose(request.samples, wanted, atol=1e-7)


@pytest.mark.parametrize("frame_id", [0, MAX_FRAME_ID])
def test_a_row_is_asked_for_by_speaker_and_number(frame_id: int) -> None:
    request = jsonform.decode(ask(frame_id=frame_id, speaker="robin", use_real_audio=False))
    assert request == FeatureRequest(frame_id, ReplyForm.JSON, "robin")


def test_json_may_come_as_bytes() -> None:
    assert isinstance(jsonform.decode(ask(WINDOW).encode()), WindowRequest)


def test_a_binary_window_comes_whole() -> None:
    request = live.decode_binary(binary.decode(framed(BinaryType.AUDIO_REQUEST, 9, WINDOW.tobytes())), streaming=False)
    assert isinstance(request, WindowRequest)
    assert (request.frame_id, request.form, request.speaker) == (9, ReplyForm.BINARY, None)
    np.testing.assert_array_equal(request.samples, WINDOW)


def test_a_chunk_and_the_far_end_are_told_apart() -> None:
    near = live.decode_binary(binary.decode(framed(BinaryType.AUDIO_CHUNK, 5, CHUNK.tobytes())), streaming=True)
    far = live.decode_binary(binary.decode(framed(BinaryType.FAR_END, 5, CHUNK.tobytes())), streaming=True)
    assert isinstance(near, AudioChunk)
    assert near.frame_id == 5
    assert isinstance(far, FarEndChunk)
    np.testing.assert_array_equal(near.samples, far.samples)


def test_the_type_of_a_message_is_known_before_it_is_checked() -> None:
    assert binary.type_of(framed(3, 0, b"x")) == 3
    assert binary.type_of(b"1234\x05") == 5
    assert binary.type_of(b"1234") is None
    assert binary.type_of(b"") is None


def test_an_image_is_base64_of_its_bytes() -> None:
    assert base64.b64decode(jsonform.encode_image(memoryview(b"\xff\xd8image"))) == b"\xff\xd8image"


def test_the_image_behind_a_description_may_be_empty() -> None:
    head = live.image_head(BaseMeta(speaker="robin", base=3))
    meta, image = live.decode_base_payload(memoryview(head))
    assert meta == BaseMeta(speaker="robin", base=3)
    assert bytes(image) == b""


# ---- what is refused, in which words, and of which request -----------------------------------------------------------

FLOAT_BYTES, INT_BYTES = 4 * WINDOW_SAMPLES, 2 * WINDOW_SAMPLES
CHUNK_LENGTHS = "1920 (960 int16 samples) and 3840 (960 float32 samples)"
NAN = np.full(WINDOW_SAMPLES, np.nan, "<f4")
NOT_FINITE = "the audio holds NaN or infinite samples; send finite float32 in [-1, 1]"


@pytest.mark.parametrize(
    ("message", "streaming", "code", "said", "frame_id"),
    [
        (b"12", True, "INVALID_LENGTH", "a binary message has at least 17 bytes, this one has 2", 0),
        (
            framed(3, 4, b"", magic=0x87654321),
            True,
            "INVALID_MAGIC",
            f"the magic number is 0x{MAGIC:08x}, not 0x87654321",
            0,
        ),
        (
            framed(3, 4, b"abc", length=5),
            True,
            "INVALID_LENGTH",
            "the header says 5 payload bytes, the message holds 3",
            4,
        ),
        (framed(0x7F, 4, b"abc"), True, "INVALID_TYPE", "type 0x7f is not known", 4),
        (
            framed(3, 4, b"abc")[:-4] + b"\1\2\3\4",
            True,
            "INVALID_CRC",
            f"the CRC32 is 0x04030201, the payload's is 0x{zlib.crc32(b'abc'):08x}",
            4,
        ),
        (
            framed(1, 4, b"abc"),
            True,
            "INVALID_LENGTH",
            f"the payload has 3 bytes; accepted are {FLOAT_BYTES} (15,360 float32 samples)",
            4,
        ),
        (framed(1, 4, NAN.tobytes()), True, "INVALID_SAMPLES", NOT_FINITE, 4),
        (framed(3, 4, CHUNK.tobytes()), False, "NOT_NEGOTIATED", "send start_stream before audio chunks", 4),
        (framed(3, 4, b"abc"), True, "INVALID_LENGTH", f"the payload has 3 bytes; accepted are {CHUNK_LENGTHS}", 4),
        (
            framed(8, 4, NAN[:CHUNK_SAMPLES].tobytes()),
            True,
            "INVALID_SAMPLES",
            NOT_FINITE,
            4,
        ),
        (framed(2, 4, b"abc"), True, "INVALID_TYPE", "type 0x02 is the server's; clients send 0x01, 0x03 and 0x08", 4),
    ],
)
def test_a_binary_message_is_refused(message: bytes, streaming: bool, code: str, said: str, frame_id: int) -> None:
    def decode() -> None:
        live.decode_binary(binary.decode(message), streaming=streaming)

    assert refused(decode) == (ErrorCode[code], said, frame_id)


@pytest.mark.parametrize(
    ("text", "code", "said", "frame_id"),
    [
        (
            ask(np.zeros(3, "<f4")),
            "INVALID_LENGTH",
            f"audio_data decodes to 12 bytes; accepted are {FLOAT_BYTES} (15,360 float32 samples) "
            f"and {INT_BYTES} (15,360 int16 samples)",
            7,
        ),
        (
            ask(None),
            "INVALID_LENGTH",
            f"audio_data decodes to 0 bytes; accepted are {FLOAT_BYTES} (15,360 float32 samples) "
            f"and {INT_BYTES} (15,360 int16 samples)",
            7,
        ),
        (ask(NAN), "INVALID_SAMPLES", NOT_FINITE, 7),
        (
            '{"action": "x", "y": ' + "[" * 100_000,
            "INVALID_JSON",
            "the JSON is nested too deeply; a message is flat",
            0,
        ),
        (ask(frame_id=-1), "INVALID_FRAME_ID", f"frame_id is an integer from 0 to {MAX_FRAME_ID}", 0),
    ],
)
def test_a_json_message_is_refused(text: str, code: str, said: str, frame_id: int) -> None:
    assert refused(lambda: jsonform.decode(text)) == (ErrorCode[code], said, frame_id)


@pytest.mark.parametrize(
    ("sent", "echoed"), [(0, 0), (1, 1), (MAX_FRAME_ID, MAX_FRAME_ID), (MAX_FRAME_ID + 1, 0), (-1, 0)]
)
@pytest.mark.parametrize("wrong", [{"action": "dance" * 20}, {"speaker": 7}])
def test_a_failure_echoes_a_frame_id_that_there_can_be(sent: int, echoed: int, wrong: dict[str, Any]) -> None:
    code, said, frame_id = refused(lambda: jsonform.decode(ask(frame_id=sent, **wrong)))
    assert frame_id == echoed
    if code is ErrorCode.UNKNOWN_ACTION:
        known = "generate_frame, start_stream, stop_stream, watch, switch_model, list_models, stats"
        assert said == f"the action {('dance' * 20)[:40]!r} is not known; known are {known}"
    else:
        assert said.startswith("generate_frame: ")


@pytest.mark.parametrize(
    ("payload", "code", "said"),
    [
        (b"\0", "INVALID_LENGTH", "the payload of a live image has at least two bytes"),
        (b"\x05\0abcd", "INVALID_LENGTH", "the payload ends within its 5 bytes of JSON"),
        (b"\0\0", "INVALID_JSON", "the image's description: "),
        (b"\x02\0{}jpeg", "INVALID_JSON", "the image's description: "),
    ],
)
def test_an_image_without_its_description_is_refused(payload: bytes, code: str, said: str) -> None:
    found, words, _ = refused(lambda: live.decode_base_payload(memoryview(payload)))
    assert found is ErrorCode[code]
    assert words.startswith(said)
    assert said.endswith(": ") is (words != said)


def test_an_answer_is_text() -> None:
    assert msgspec.json.decode(jsonform.encode(live.Tuning(level=2)))["level"] == 2
