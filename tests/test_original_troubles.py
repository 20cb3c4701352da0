"""The troubles that the original system names, each mended for good: what it says of them is quoted."""

import base64
import json
from typing import Any

import numpy as np
import psutil
import pytest
import websockets

from pipeline.audio import CHUNK_SAMPLES
from pipeline.level import LevelMeter, level_of_window
from tests.running import Pipeline, voice
from tests.test_pipeline_protocols import WINDOW, as_int16, ask, one, pack, unpack_live

OTHER = voice(seed=1)[::-1].copy()
MEGABYTE = 1_048_576


async def answer_to(pipeline: Pipeline, samples: bytes, frame_id: int) -> dict[str, Any]:
    answer: dict[str, Any] = await one(pipeline, ask(samples, frame_id=frame_id))
    assert answer["success"], answer
    return answer


@pytest.mark.parametrize("frame_id", [0, 1, 9, 499, 100_000])
async def test_the_windows_tensor_is_used_whole_whatever_its_frame_id(pipeline: Pipeline, frame_id: int) -> None:
    """ "incorrectly slicing audio tensors by `frame_id`, causing empty tensors and 'input of size 0' errors" """
    first = await answer_to(pipeline, WINDOW.tobytes(), 0)
    assert (await answer_to(pipeline, WINDOW.tobytes(), frame_id))["articulation"] == first["articulation"]


async def test_one_frame_id_shows_every_sound(pipeline: Pipeline) -> None:
    """ "All frames were labeled `frame_id=0` [...], causing client-side caching that prevented visual updates" """
    pictures = [(await answer_to(pipeline, sound.tobytes(), 0))["frame_data"] for sound in (WINDOW, OTHER, WINDOW)]
    assert pictures[0] != pictures[1]
    assert pictures[0] == pictures[2]
    assert base64.b64decode(pictures[1]).startswith(b"\xff\xd8")


async def test_a_request_and_a_stream_measure_one_level(pipeline: Pipeline) -> None:
    """ "Audio level calculations differed between microphone test and real-time processing" """
    meter = LevelMeter()
    async with websockets.connect(pipeline.ws, max_size=None) as socket:
        await socket.send(json.dumps({"action": "start_stream", "version": 1, "pace": "lossless"}))
        await socket.recv()
        heard = np.zeros(0, np.float32)
        for number in range(16):
            chunk = WINDOW[number * CHUNK_SAMPLES : (number + 1) * CHUNK_SAMPLES]
            rounded = np.round(chunk * 32767).astype(np.int16)
            await socket.send(pack(0x03, number, as_int16(chunk)))
            meta, _ = unpack_live(await socket.recv())  # type: ignore[arg-type]
            heard = np.concatenate([heard, rounded.astype(np.float32) / 32768])
            expected = meter(np.pad(heard, (2048, 0))[-2048:])
            assert meta["level"] == pytest.approx(expected, abs=2e-3)
    assert level_of_window(WINDOW) > 0.01


async def test_inference_does_not_grow(pipeline: Pipeline) -> None:
    """ "Inference times increase over time. Cause: Memory leaks or GPU context issues" """
    process = psutil.Process(pipeline.pid_of("infer"))
    held = []
    async with websockets.connect(pipeline.ws, max_size=None) as socket:
        for _ in range(3):
            for frame_id in range(100):
                await socket.send(ask(WINDOW.tobytes(), frame_id=frame_id))
                await socket.recv()
            held.append((process.memory_info().rss, process.num_fds(), process.num_threads()))
    assert held[2][0] - held[1][0] < MEGABYTE
    assert held[2][1:] == held[1][1:]
