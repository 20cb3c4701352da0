"""Every bad message gets the code that docs/protocol.md promises, and no other exception ever leaves the decoders."""

import base64
import contextlib
import json
from array import array
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.audio import CHUNK_SAMPLES, WINDOW_SAMPLES
from pipeline.protocol import binary, jsonform, live
from pipeline.protocol.binary import BinaryType
from pipeline.protocol.errors import ErrorCode, Failure, ProtocolError, encode_failure
from pipeline.protocol.requests import AudioChunk, Pace, StartStream, View, WindowRequest

WINDOW = np.linspace(-1, 1, WINDOW_SAMPLES, dtype="<f4").tobytes()


def ask(**keys: Any) -> str:
    whole = {"action": "generate_frame", "frame_id": 1, "audio_data": base64.b64encode(WINDOW).decode()}
    return json.dumps(whole | keys)


def of(samples: "np.ndarray[Any, Any]") -> str:
    return base64.b64encode(samples.astype("<f4").tobytes()).decode()


def start(**keys: Any) -> str:
    return json.dumps({"action": "start_stream", "version": 1} | keys)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", ErrorCode.INVALID_JSON),
        ('{"action": ', ErrorCode.INVALID_JSON),
        ('{"action": "generate_frame", "frame_id": NaN}', ErrorCode.INVALID_JSON),
        ('{"action": "x", "y": ' + "[" * 100_000, ErrorCode.INVALID_JSON),
        (b'{"action": "\xff"}', ErrorCode.INVALID_JSON),
        ("[]", ErrorCode.INVALID_REQUEST),
        ("7", ErrorCode.INVALID_REQUEST),
        ('{"action": 7}', ErrorCode.INVALID_REQUEST),
        ('{"action": "generate_frame"}', ErrorCode.INVALID_REQUEST),
        (ask(frame_id="1"), ErrorCode.INVALID_REQUEST),
        (ask(frame_id=1.5), ErrorCode.INVALID_REQUEST),
        (ask(use_real_audio="yes"), ErrorCode.INVALID_REQUEST),
        (ask(audio_data=[0.0]), ErrorCode.INVALID_REQUEST),
        (ask(speaker=7), ErrorCode.INVALID_REQUEST),
        (ask(action="GENERATE_FRAME"), ErrorCode.UNKNOWN_ACTION),
        (ask(frame_id=-1), ErrorCode.INVALID_FRAME_ID),
        (ask(frame_id=2**32), ErrorCode.INVALID_FRAME_ID),
        (ask(frame_id=10**30, use_real_audio=False), ErrorCode.INVALID_FRAME_ID),
        (ask(audio_data="####"), ErrorCode.INVALID_BASE64),
        (ask(audio_data="AAA"), ErrorCode.INVALID_BASE64),
        (ask(audio_data="ÄÖÜß"), ErrorCode.INVALID_BASE64),
        (ask(audio_data="data:;base64,AAAA"), ErrorCode.INVALID_BASE64),
        (ask(audio_data=""), ErrorCode.INVALID_LENGTH),
        (ask(audio_data=None), ErrorCode.INVALID_LENGTH),
        (ask(audio_data=base64.b64encode(WINDOW[:-4]).decode()), ErrorCode.INVALID_LENGTH),
        (ask(audio_data=of(np.full(WINDOW_SAMPLES, np.nan))), ErrorCode.INVALID_SAMPLES),
        (ask(audio_data=of(np.full(WINDOW_SAMPLES, -np.inf))), ErrorCode.INVALID_SAMPLES),
        (start(version="1"), ErrorCode.INVALID_REQUEST),
        (start(pace="fast"), ErrorCode.INVALID_REQUEST),
        (start(view="half"), ErrorCode.INVALID_REQUEST),
        (start(silence_threshold=-0.1), ErrorCode.INVALID_REQUEST),
        (start(silence_threshold=1.1), ErrorCode.INVALID_REQUEST),
        (start(name=""), ErrorCode.INVALID_REQUEST),
        (start(name="x" * 65), ErrorCode.INVALID_REQUEST),
        (start(speeker="default"), ErrorCode.INVALID_REQUEST),
        ('{"action": "start_stream"}', ErrorCode.INVALID_REQUEST),
        ('{"action": "switch_model"}', ErrorCode.INVALID_REQUEST),
        ('{"action": "watch", "version": 1}', ErrorCode.INVALID_REQUEST),
        ('{"action": "stats", "enabled": 1}', ErrorCode.INVALID_REQUEST),
    ],
)
def test_bad_json(text: str | bytes, code: ErrorCode) -> None:
    with pytest.raises(ProtocolError) as error:
        jsonform.decode(text)
    assert error.value.code is code
    assert len(error.value.message) > 10
    assert 0 <= error.value.frame_id <= binary.MAX_FRAME_ID


@pytest.mark.parametrize("text", [ask(frame_id=77, audio_data="#"), ask(frame_id=77, action="dance")])
def test_a_failure_names_the_request_that_failed(text: str) -> None:
    with pytest.raises(ProtocolError) as error:
        jsonform.decode(text)
    failure = json.loads(encode_failure(error.value, chunk=3))
    assert (failure["success"], failure["frame_id"], failure["chunk"]) == (False, 77, 3)
    assert set(failure) == set(Failure.__struct_fields__)


def frame(kind: int, payload: bytes, frame_id: int = 5) -> bytes:
    return binary.encode(BinaryType(kind), frame_id, payload)


NAN_CHUNK = np.full(CHUNK_SAMPLES, np.nan, "<f4").tobytes()


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"", ErrorCode.INVALID_LENGTH),
        (b"x" * 16, ErrorCode.INVALID_LENGTH),
        (frame(1, WINDOW)[:-1], ErrorCode.INVALID_LENGTH),
        (frame(1, WINDOW) + b"x", ErrorCode.INVALID_LENGTH),
        (frame(1, WINDOW[:-4]), ErrorCode.INVALID_LENGTH),
        (frame(1, b""), ErrorCode.INVALID_LENGTH),
        (frame(3, b"x" * 1_919), ErrorCode.INVALID_LENGTH),
        (frame(3, WINDOW), ErrorCode.INVALID_LENGTH),
        (frame(1, WINDOW)[::-1], ErrorCode.INVALID_MAGIC),
        (b"\x78\x56\x34\x12\x09" + frame(1, WINDOW)[5:], ErrorCode.INVALID_TYPE),
        (b"\x78\x56\x34\x12\x00" + frame(1, WINDOW)[5:], ErrorCode.INVALID_TYPE),
        (frame(2, b"x"), ErrorCode.INVALID_TYPE),
        (frame(4, b"x"), ErrorCode.INVALID_TYPE),
        (frame(6, b"x"), ErrorCode.INVALID_TYPE),
        (frame(1, WINDOW)[:-1] + b"\x00", ErrorCode.INVALID_CRC),
        (frame(3, NAN_CHUNK), ErrorCode.INVALID_SAMPLES),
        (frame(1, np.full(WINDOW_SAMPLES, np.inf, "<f4").tobytes()), ErrorCode.INVALID_SAMPLES),
    ],
)
def test_bad_binary(message: bytes, code: ErrorCode) -> None:
    with pytest.raises(ProtocolError) as error:
        live.decode_binary(binary.decode(message), streaming=True)
    assert error.value.code is code


@pytest.mark.parametrize("payload", [bytes(1_920), bytes(3_840), b"wrong"])
def test_chunks_need_a_stream(payload: bytes) -> None:
    with pytest.raises(ProtocolError) as error:
        live.decode_binary(binary.decode(frame(3, payload)), streaming=False)
    assert error.value.code is ErrorCode.NOT_NEGOTIATED


@given(st.integers(0, 2**32 - 1), st.sampled_from([np.int16, np.float32]), st.integers(-32_768, 32_767))
def test_a_chunk_is_the_same_in_both_formats(frame_id: int, kind: type[Any], value: int) -> None:
    integers = np.full(CHUNK_SAMPLES, value, "<i2")
    payload = integers.tobytes() if kind is np.int16 else (integers / np.float32(32_768)).astype("<f4").tobytes()
    chunk = live.decode_binary(binary.decode(frame(3, payload, frame_id)), streaming=True)
    assert isinstance(chunk, AudioChunk)
    assert chunk.frame_id == frame_id
    assert (chunk.samples == value / 32_768).all()


@given(
    st.sampled_from([frame(1, WINDOW), frame(3, WINDOW[:1_920]), frame(3, WINDOW[:3_840]), frame(4, b"\2\0{}x")]),
    st.lists(st.tuples(st.integers(0, 70_000), st.integers(1, 255)), min_size=1, max_size=4),
    st.booleans(),
)
def test_changed_bytes_raise_nothing_but_protocol_errors(
    message: bytes, changes: list[tuple[int, int]], streaming: bool
) -> None:
    changed = bytearray(message)
    for at, bits in changes:
        changed[at % min(len(changed), 40) if at % 2 else -1 - at % 40 % len(changed)] ^= bits
    try:
        request = live.decode_binary(binary.decode(bytes(changed)), streaming=streaming)
    except ProtocolError:
        return
    # What still passes differs in its frame_id at most: the CRC is of the payload alone.
    assert isinstance(request, WindowRequest | AudioChunk)
    assert changed[9:] == message[9:]


@given(st.binary(max_size=300))
@example(b'\x07\x00{"\xff":1}')
@example(b"\x02\x00\xff\xff")
@example(b"\x00\xf0" + b"[" * 0xF000)
def test_any_frame_payload_raises_nothing_but_protocol_errors(payload: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        live.decode_frame_payload(memoryview(payload))


@given(
    st.sampled_from([start(), ask(use_real_audio=False, audio_data=""), '{"action": "list_models"}']),
    st.integers(0, 200),
    st.integers(1, 255),
)
def test_json_with_a_changed_byte_raises_nothing_but_protocol_errors(text: str, at: int, bits: int) -> None:
    changed = bytearray(text.encode())
    changed[at % len(changed)] ^= bits
    try:
        jsonform.decode(bytes(changed))
    except ProtocolError as error:
        json.loads(encode_failure(error))


@given(
    st.none() | st.text(max_size=9),
    st.sampled_from(Pace),
    st.sampled_from(View),
    st.none() | st.floats(0, 1),
    st.none() | st.text(min_size=1, max_size=64),
)
def test_start_stream_says_what_was_asked(
    speaker: str | None, pace: Pace, view: View, threshold: float | None, name: str | None
) -> None:
    text = start(speaker=speaker, pace=pace, view=view, silence_threshold=threshold, name=name)
    assert jsonform.decode(text) == StartStream(1, speaker, pace, view, threshold, name)


def test_a_payload_of_any_buffer_is_framed_by_its_bytes() -> None:
    samples = memoryview(array("f", [0, 1, 2, 3]))
    assert bytes(binary.decode(binary.encode(BinaryType.AUDIO_CHUNK, 0, samples)).payload) == samples.tobytes()
