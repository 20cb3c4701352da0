"""Clients written from docs/protocol.md alone: what they send comes back as frames, or as errors that help."""

import asyncio
import base64
import json
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import simplejpeg
import websockets

from pipeline.audio import CHUNK_SAMPLES
from tests.running import Pipeline, voice

MAGIC = 0x12345678
WINDOW = voice()


def pack(kind: int, frame_id: int, payload: bytes, magic: int = MAGIC, crc: int | None = None) -> bytes:
    checksum = zlib.crc32(payload) if crc is None else crc
    return b"".join((struct.pack("<IBII", magic, kind, frame_id, len(payload)), payload, struct.pack("<I", checksum)))


def ask(samples: bytes, frame_id: int = 0, **more: Any) -> str:
    audio = base64.b64encode(samples).decode()
    request = {"action": "generate_frame", "frame_id": frame_id, "audio_data": audio, "use_real_audio": True}
    return json.dumps(request | more)


def as_int16(samples: "np.ndarray[Any, Any]") -> bytes:
    return bytes((np.clip(samples, -1, 1) * 32767).astype("<i2").data)


def unpack_live(message: bytes) -> tuple[dict[str, Any], bytes]:
    (length,) = struct.unpack_from("<H", message, 13)
    return json.loads(message[15 : 15 + length]), message[15 + length : -4]


async def one(pipeline: Pipeline, message: str | bytes, path: str = "/ws") -> Any:
    async with websockets.connect(pipeline.address.replace("http", "ws", 1) + path, max_size=None) as socket:
        await socket.send(message)
        answer = await asyncio.wait_for(socket.recv(), 30)
        return json.loads(answer) if isinstance(answer, str) else answer


@pytest.mark.parametrize("path", ["/", "/ws"])
@pytest.mark.parametrize("samples", [WINDOW.tobytes(), as_int16(WINDOW)], ids=["81,920 chars", "40,960 chars"])
async def test_the_originals_json_needs_no_handshake(pipeline: Pipeline, samples: bytes, path: str) -> None:
    answer = await one(pipeline, ask(samples, frame_id=7), path)
    assert answer["success"] is True
    assert answer["frame_id"] == 7
    assert answer["processing_time"] > 0
    assert isinstance(answer["inference_count"], int)
    assert simplejpeg.decode_jpeg(base64.b64decode(answer["frame_data"])).shape == (512, 512, 3)


async def test_a_binary_request_gets_a_frame_response(pipeline: Pipeline) -> None:
    answer = await one(pipeline, pack(0x01, 9, WINDOW.tobytes()))
    magic, kind, frame_id, length = struct.unpack_from("<IBII", answer)
    assert (magic, kind, frame_id, length) == (MAGIC, 0x02, 9, len(answer) - 17)
    assert struct.unpack("<I", answer[-4:])[0] == zlib.crc32(answer[13:-4])
    assert simplejpeg.decode_jpeg(answer[13:-4]).shape == (512, 512, 3)


@pytest.mark.parametrize(
    ("message", "code", "names"),
    [
        ("{", "invalid_json", "JSON"),
        ('{"frame_id": 1}', "invalid_request", "action"),
        ('{"action": "dance"}', "unknown_action", "generate_frame"),
        ('{"action": "generate_frame", "audio_data": ""}', "invalid_request", "frame_id"),
        ('{"action": "generate_frame", "frame_id": -1}', "invalid_frame_id", "frame_id"),
        ('{"action": "generate_frame", "frame_id": 1, "audio_data": "###"}', "invalid_base64", "base64"),
        (ask(b"1234"), "invalid_length", "61440"),
        (ask(np.full(15360, np.nan, "<f4").tobytes()), "invalid_samples", "NaN"),
        (ask(np.full(15360, np.inf, "<f4").tobytes()), "invalid_samples", "infinite"),
        (ask(WINDOW.tobytes(), speaker="nobody"), "unknown_speaker", "default"),
        ('{"action": "start_stream", "version": 99}', "unsupported_version", "1"),
        ('{"action": "start_stream", "version": 1, "colour": 3}', "invalid_request", "colour"),
        ('{"action": "watch", "version": 1, "name": "nobody"}', "unknown_session", "nobody"),
        (pack(0x01, 5, b"1234"), "invalid_length", "61440"),
        (pack(0x01, 5, WINDOW.tobytes(), magic=7), "invalid_magic", "12345678"),
        (pack(0x01, 5, WINDOW.tobytes(), crc=1), "invalid_crc", "CRC32"),
        (pack(0x77, 5, b"x"), "invalid_type", "0x77"),
        (pack(0x02, 5, b"x"), "invalid_type", "0x01"),
        (pack(0x03, 5, bytes(1920)), "not_negotiated", "start_stream"),
        (b"abc", "invalid_length", "17"),
    ],
)
async def test_bad_input_is_named_and_the_connection_lives_on(
    pipeline: Pipeline, message: str | bytes, code: str, names: str
) -> None:
    async with websockets.connect(pipeline.ws, max_size=None) as socket:
        await socket.send(message)
        failure = json.loads(await asyncio.wait_for(socket.recv(), 30))
        assert failure["success"] is False
        assert failure["error"] == code
        assert names in failure["message"]
        await socket.send(ask(WINDOW.tobytes(), frame_id=3))
        assert json.loads(await asyncio.wait_for(socket.recv(), 30))["frame_id"] == 3


async def test_a_message_over_the_limit_closes_that_connection_alone(pipeline: Pipeline) -> None:
    async with websockets.connect(pipeline.ws) as neighbour, websockets.connect(pipeline.ws) as socket:
        await socket.send(b"x" * 300_000)
        await asyncio.wait_for(socket.wait_closed(), 30)
        assert socket.close_code == 1009
        await neighbour.send(ask(WINDOW.tobytes()))
        assert json.loads(await asyncio.wait_for(neighbour.recv(), 30))["success"]


async def test_precomputed_features_outside_their_range_are_refused(pipeline: Pipeline) -> None:
    request = {"action": "generate_frame", "frame_id": 100_000, "audio_data": "", "use_real_audio": False}
    failure = await one(pipeline, json.dumps(request))
    assert failure["error"] == "invalid_frame_id"


async def stream(socket: websockets.ClientConnection, samples: "np.ndarray[Any, Any]", pause_s: float) -> None:
    for number, start in enumerate(range(0, len(samples), CHUNK_SAMPLES)):
        chunk = samples[start : start + CHUNK_SAMPLES]
        await socket.send(pack(0x03, number % 500, as_int16(chunk)))
        await asyncio.sleep(pause_s)


async def test_every_chunk_of_a_lossless_stream_gets_its_frame_in_order(pipeline: Pipeline) -> None:
    chunks = 30
    async with websockets.connect(pipeline.ws, max_size=None) as socket:
        await socket.send(json.dumps({"action": "start_stream", "version": 1, "pace": "lossless"}))
        started = json.loads(await socket.recv())
        assert started["lookahead_ms"] <= 40
        sender = asyncio.create_task(stream(socket, voice(chunks * CHUNK_SAMPLES), 0.03))
        metas = [unpack_live(await asyncio.wait_for(socket.recv(), 30))[0] for _ in range(chunks)]  # type: ignore[arg-type]
        await sender
        await socket.send('{"action": "stop_stream"}')
        stopped = json.loads(await asyncio.wait_for(socket.recv(), 30))
    assert [meta["chunk"] for meta in metas] == list(range(chunks))
    assert [meta["audio_ms"] for meta in metas] == [40.0 * (k + 1) - started["lookahead_ms"] for k in range(chunks)]
    assert (stopped["chunks"], stopped["frames"], stopped["dropped"]) == (chunks, chunks, 0)


async def test_a_live_stream_of_a_minute_misses_under_one_percent(pipeline: Pipeline) -> None:
    chunks, chunk_s = 60 * 25, 0.04
    samples = voice(chunks * CHUNK_SAMPLES)
    received: set[int] = set()
    async with websockets.connect(pipeline.ws, max_size=None) as socket:
        await socket.send(json.dumps({"action": "start_stream", "version": 1}))
        await socket.recv()

        async def receive() -> None:
            while len(received) < chunks:
                message = await socket.recv()
                assert isinstance(message, bytes), message
                received.add(unpack_live(message)[0]["chunk"])

        receiver = asyncio.create_task(receive())
        began = asyncio.get_running_loop().time()
        for number, start in enumerate(range(0, len(samples), CHUNK_SAMPLES)):
            await asyncio.sleep(max(0.0, began + number * chunk_s - asyncio.get_running_loop().time()))
            await socket.send(pack(0x03, number % 500, as_int16(samples[start : start + CHUNK_SAMPLES])))
        await asyncio.wait([receiver], timeout=1)
        receiver.cancel()
    assert len(received) > 0.99 * chunks


async def test_silence_brings_the_mouth_to_rest_without_inference(pipeline: Pipeline) -> None:
    spoken, silent = 10, 40
    samples = np.concatenate([voice(spoken * CHUNK_SAMPLES), np.zeros(silent * CHUNK_SAMPLES, np.float32)])
    async with websockets.connect(pipeline.ws, max_size=None) as socket:
        await socket.send(json.dumps({"action": "start_stream", "version": 1, "pace": "lossless"}))
        await socket.recv()
        sender = asyncio.create_task(stream(socket, samples, 0.03))
        metas = [
            unpack_live(await asyncio.wait_for(socket.recv(), 30))[0]  # type: ignore[arg-type]
            for _ in range(spoken + silent)
        ]
        await sender
    assert metas[-1]["silent"] is True
    assert metas[-1]["level"] < 0.01
    assert all(value == 0 for value in metas[-1]["articulation"].values())
    assert not metas[spoken - 1].get("silent", False)


async def test_patches_over_base_frames_are_the_full_frames(pipeline: Pipeline) -> None:
    chunks = 12
    async with (
        websockets.connect(pipeline.ws, max_size=None) as speaking,
        websockets.connect(pipeline.ws, max_size=None) as watching,
    ):
        start = {"action": "start_stream", "version": 1, "pace": "lossless", "view": "full", "name": "booth"}
        await speaking.send(json.dumps(start))
        await speaking.recv()
        await watching.send(json.dumps({"action": "watch", "version": 1, "name": "booth", "view": "patch"}))
        await watching.recv()
        sender = asyncio.create_task(stream(speaking, voice(chunks * CHUNK_SAMPLES), 0.03))
        bases: dict[tuple[str, int], Any] = {}
        patched: dict[int, Any] = {}
        while len(patched) < chunks:
            message = await asyncio.wait_for(watching.recv(), 30)
            assert isinstance(message, bytes)
            if message[4] == 0x06:
                base, image = unpack_live(message)
                bases[base["speaker"], base["base"]] = simplejpeg.decode_jpeg(image)
            else:
                meta, image = unpack_live(message)
                x, y, width, height = meta["box"]
                frame = bases[meta["speaker"], meta["base"]].copy()
                frame[y : y + height, x : x + width] = simplejpeg.decode_jpeg(image)
                patched[meta["chunk"]] = frame
        for _ in range(chunks):
            meta, image = unpack_live(await asyncio.wait_for(speaking.recv(), 30))  # type: ignore[arg-type]
            difference = patched[meta["chunk"]].astype(int) - simplejpeg.decode_jpeg(image)
            assert np.abs(difference).mean() < 2.5  # of 255: both are JPEG, of quality 85 and 92
        await sender


async def test_one_speaker_after_another_in_one_stream(pipeline: Pipeline) -> None:
    models = await one(pipeline, '{"action": "list_models"}')
    names = [model["name"] for model in models["models"]]
    assert models["default"] in names
    async with websockets.connect(pipeline.ws, max_size=None) as socket:
        await socket.send(json.dumps({"action": "start_stream", "version": 1, "pace": "lossless"}))
        await socket.recv()
        for name in names:
            await socket.send(json.dumps({"action": "switch_model", "speaker": name}))
            assert json.loads(await socket.recv())["speaker"] == name
            await socket.send(pack(0x03, 0, as_int16(voice(CHUNK_SAMPLES))))
            meta, _ = unpack_live(await asyncio.wait_for(socket.recv(), 30))  # type: ignore[arg-type]
            assert meta["speaker"] == name


async def test_stats_arrive_for_every_stage(pipeline: Pipeline) -> None:
    async with websockets.connect(pipeline.ws) as socket:
        await socket.send('{"action": "stats"}')
        stats = json.loads(await asyncio.wait_for(socket.recv(), 30))
    assert [stage["stage"] for stage in stats["stages"]] == ["edge", "ingest", "mel", "infer", "publish"]


def test_a_foreign_page_may_not_connect(pipeline: Pipeline) -> None:
    async def connect() -> None:
        async with websockets.connect(pipeline.ws, origin=websockets.Origin("http://evil.example")):
            pass

    with pytest.raises(websockets.InvalidStatus) as refused:
        asyncio.run(connect())
    assert refused.value.response.status_code == 403
