"""The Python client, against a server that behaves, fails, or goes away as each test says."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection, serve

from pipeline.audio import CHUNK_SAMPLES, WINDOW_SAMPLES, Samples, samples_from_int16
from pipeline.client import LOSSLESS_IN_FLIGHT, BaseFrame, LipSync, LiveFrame, ServerError, ServerGoneError
from pipeline.protocol import binary, live
from pipeline.protocol.binary import BinaryType
from pipeline.protocol.errors import ErrorCode
from pipeline.protocol.live import BaseMeta
from pipeline.protocol.requests import Pace, ReplyForm, View
from tests.running import Pipeline, voice

Script = Callable[[ServerConnection], Coroutine[Any, Any, None]]
STARTED = {
    "action": "stream_started",
    "success": True,
    "session": "s",
    "speaker": "fake",
    "lookahead_ms": 40,
    "width": 2,
    "height": 2,
    "base_frames": 1,
    "a_key_of_a_later_version": 1,
}


def chunks(count: int) -> list[Samples]:
    return [np.full(CHUNK_SAMPLES, k / 100, np.float32) for k in range(count)]


def frame(chunk: int, kind: BinaryType = BinaryType.LIVE_FRAME) -> bytes:
    meta = live.FrameMeta(chunk=chunk, audio_ms=chunk * 40, server_ms=1, level=0.5, base=0, speaker="fake")
    return binary.encode(kind, chunk, live.image_head(meta), b"jpeg")


def failure(code: str, chunk: int | None = None) -> str:
    return json.dumps({"success": False, "frame_id": 0, "error": code, "message": "do this", "chunk": chunk})


async def collect(frames: AsyncIterator[LiveFrame]) -> list[int]:
    return [frame.meta.chunk async for frame in frames]


@contextlib.asynccontextmanager
async def server(script: Script) -> AsyncIterator[str]:
    """Answers start_stream, then follows `script`; gives its address."""

    async def converse(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(json.dumps(STARTED))
        await script(socket)
        await socket.wait_closed()

    async with serve(converse, "127.0.0.1", 0) as serving:
        yield f"ws://127.0.0.1:{serving.sockets[0].getsockname()[1]}/ws"


async def test_frames_come_in_order_and_few_chunks_are_in_flight() -> None:
    in_flight, most = 0, 0

    async def script(socket: ServerConnection) -> None:
        nonlocal in_flight, most
        pending: asyncio.Queue[int] = asyncio.Queue()

        async def paint() -> None:
            nonlocal in_flight
            while True:
                chunk = await pending.get()
                await asyncio.sleep(0.003)
                in_flight -= 1
                await socket.send(frame(chunk))

        painter = asyncio.create_task(paint())
        number = 0
        async for message in socket:
            assert isinstance(message, bytes)
            assert len(binary.decode(message).payload) == 1920, "int16: half the bytes"
            in_flight += 1
            most = max(most, in_flight)
            pending.put_nowait(number)
            number += 1
        painter.cancel()

    async with server(script) as url, LipSync(url, pace=Pace.LOSSLESS) as face:
        assert face.started is not None
        assert face.started.lookahead_ms == 40
        frames = [frame async for frame in face.stream(chunks(30))]
    assert [frame.meta.chunk for frame in frames] == list(range(30))
    assert frames[0].image == b"jpeg"
    assert 2 <= most <= LOSSLESS_IN_FLIGHT


async def test_a_live_iterable_is_sent_at_25_a_second_and_gaps_do_not_hold_it_up() -> None:
    async def script(socket: ServerConnection) -> None:
        for number in range(6):
            await socket.recv()
            if number not in (2, 5):  # not even the last one has its frame
                await socket.send(frame(number))

    async with server(script) as url, LipSync(url) as face:
        began = asyncio.get_running_loop().time()
        seen = [frame.meta.chunk async for frame in face.stream(chunks(6))]
    assert seen == [0, 1, 3, 4]
    assert asyncio.get_running_loop().time() - began >= 5 * 0.04


async def test_an_async_source_may_take_its_time_and_its_error_is_the_callers() -> None:
    async def source() -> AsyncIterator[Samples]:
        for samples in chunks(2):
            await asyncio.sleep(0.05)
            yield samples
        raise OSError("the microphone is gone")

    async def script(socket: ServerConnection) -> None:
        for number in range(2):
            await socket.recv()
            await socket.send(frame(number))

    async with server(script) as url, LipSync(url) as face:
        frames = face.stream(source())
        assert (await anext(frames)).meta.chunk == 0
        with pytest.raises(OSError, match="microphone"):
            await collect(frames)


async def test_a_lossless_chunk_without_frame_is_an_error_that_names_it() -> None:
    async def script(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(frame(0))
        await socket.send(failure("timeout", chunk=1))

    async with server(script) as url, LipSync(url, pace=Pace.LOSSLESS) as face:
        with pytest.raises(ServerError, match="do this") as error:
            await collect(face.stream(chunks(5)))
    assert (error.value.code, error.value.chunk) == (ErrorCode.TIMEOUT, 1)


async def test_a_code_of_a_later_version_is_no_problem() -> None:
    async def script(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(failure("phase_of_the_moon"))

    async with server(script) as url, LipSync(url) as face:
        with pytest.raises(ServerError) as error:
            await face.request(np.zeros(WINDOW_SAMPLES, np.float32))
    assert error.value.code == "phase_of_the_moon"


async def test_the_connections_end_is_said_with_its_reason() -> None:
    async def script(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.close(1001, "the server is shutting down")

    async with server(script) as url, LipSync(url, pace=Pace.LOSSLESS) as face:
        with pytest.raises(ServerGoneError, match="1001: the server is shutting down"):
            await collect(face.stream(chunks(50)))
        with pytest.raises(ServerGoneError):
            await face.request(np.zeros(WINDOW_SAMPLES, np.float32))


async def test_nobody_there() -> None:
    with pytest.raises(ServerGoneError, match="ws://127"):
        await LipSync("ws://127.0.0.1:9/ws").__aenter__()


async def test_a_refusal_at_the_start() -> None:
    async def converse(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(failure("unknown_speaker"))

    async with serve(converse, "127.0.0.1", 0) as serving:
        with pytest.raises(ServerError, match="do this"):
            await LipSync(f"ws://127.0.0.1:{serving.sockets[0].getsockname()[1]}").__aenter__()


async def test_rubbish_from_the_server_is_an_error_and_not_the_end() -> None:
    async def script(socket: ServerConnection) -> None:
        await socket.send(b"rubbish")
        await socket.send('{"action": "stats", "success": true, "stages": []}')  # nobody waits for it
        await socket.send(frame(7))

    async with server(script) as url, LipSync(url) as face:
        with pytest.raises(Exception, match="17 bytes"):
            await face.receive()
        seen = await face.receive()
        assert isinstance(seen, LiveFrame)
        assert seen.meta.chunk == 7


async def test_a_slow_reader_gets_the_newest_frames_and_every_base() -> None:
    async def script(socket: ServerConnection) -> None:
        head = live.image_head(BaseMeta(speaker="fake", base=3))
        await socket.send(binary.encode(BinaryType.BASE_FRAME, 3, head, b"base"))
        for number in range(100):
            await socket.send(frame(number, BinaryType.MOUTH_PATCH))
        await socket.close()

    seen: list[int] = []
    async with server(script) as url, LipSync(url, view=View.PATCH) as face:
        while face.skipped < 84:  # noqa: ASYNC110 - what is waited for is what a caller can see
            await asyncio.sleep(0.01)
        assert await face.receive() == BaseFrame("fake", 3, b"base")
        with contextlib.suppress(ServerGoneError):
            while isinstance(one := await face.receive(), LiveFrame):
                seen.append(one.meta.chunk)
    assert seen == list(range(84, 100))


async def test_requests_of_both_forms_beside_a_stream() -> None:
    async def script(socket: ServerConnection) -> None:
        assert isinstance(await socket.recv(), bytes)
        await socket.send(frame(0))
        await socket.send(binary.encode(BinaryType.FRAME_RESPONSE, 4, b"binary"))
        question = json.loads(await socket.recv())
        assert len(question["audio_data"]) == 81_920
        answer = {"success": True, "frame_id": question["frame_id"], "frame_data": base64.b64encode(b"json").decode()}
        await socket.send(
            json.dumps(answer | {"processing_time": 3.5, "inference_count": 2, "articulation": {"jaw": 1}})
        )

    window = np.zeros(WINDOW_SAMPLES, np.float32)
    async with server(script) as url, LipSync(url) as face:
        first = await face.request(window, 4)
        second = await face.request(window, 5, form=ReplyForm.JSON)
        seen = await face.receive()
    assert (first.frame_id, first.image, first.processing_ms) == (4, b"binary", None)
    assert (second.frame_id, second.image, second.processing_ms, second.inferences) == (5, b"json", 3.5, 2)
    assert second.articulation == {"jaw": 1}
    assert isinstance(seen, LiveFrame)


async def test_wrong_lengths_are_the_callers_fault() -> None:
    async def script(socket: ServerConnection) -> None:
        pass

    async with server(script) as url, LipSync(url) as face:
        with pytest.raises(ValueError, match="960"):
            await face.send_chunk(np.zeros(100, np.float32))
        with pytest.raises(ValueError, match="15360"):
            await face.request(np.zeros(100, np.float32))


async def test_int16_goes_as_it_is_and_other_integers_are_refused() -> None:
    heard: list[bytes] = []

    async def script(socket: ServerConnection) -> None:
        async for message in socket:
            assert isinstance(message, bytes)
            heard.append(bytes(binary.decode(message).payload))

    (samples,) = np.random.default_rng(1).integers(-32_768, 32_768, (1, CHUNK_SAMPLES)).astype("<i2")
    async with server(script) as url, LipSync(url) as face:
        await face.send_chunk(samples)
        await face.send_chunk(samples_from_int16(samples.tobytes()))
        with pytest.raises(ValueError, match="int32"):
            await face.send_chunk(samples.astype(np.int32))
    assert heard == [samples.tobytes()] * 2


async def test_it_and_the_real_pipeline_understand_each_other(pipeline: Pipeline) -> None:
    sound = voice(12 * CHUNK_SAMPLES).reshape(12, CHUNK_SAMPLES)
    async with LipSync(pipeline.ws, pace=Pace.LOSSLESS) as face:
        frames = [frame async for frame in face.stream(sound)]
        assert [frame.meta.chunk for frame in frames] == list(range(12))
        for form in ReplyForm:
            answer = await face.request(voice(), 3, form=form)
            assert answer.frame_id == 3
            assert answer.image.startswith(b"\xff\xd8")
        with pytest.raises(ServerError) as error:
            await face.switch("nobody")
        assert error.value.code is ErrorCode.UNKNOWN_SPEAKER
        stopped = await face.stop()
        assert (stopped.chunks, stopped.frames, stopped.dropped) == (12, 12, 0)
