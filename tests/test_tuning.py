"""Tuning by itself: when less is asked of the machine, when more again, and that frames come in time for it."""

import asyncio
import contextlib
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import websockets

from pipeline.bench.clients import cut
from pipeline.client import LipSync, LiveFrame
from pipeline.config import TuningConfig
from pipeline.protocol.requests import View
from pipeline.render import read_audio
from stages.tuning import LAST, WORDS, Tuner
from tests.running import ROOT, Pipeline, config_with, running, wait_until

CONFIG = TuningConfig(budget_ms=40, step_s=3, recover_s=10)
LATE_MS, BETWEEN_MS, CALM_MS = 80.0, 30.0, 10.0


def second(tuner: Tuner, age_ms: float, missing: int = 0, frames: int = 100) -> bool:
    for _ in range(frames):
        tuner.left(age_ms)
    tuner.missed(missing)
    return tuner.decide()


def seconds(tuner: Tuner, count: int, age_ms: float, missing: int = 0) -> int:
    """The level after so many of them."""
    for _ in range(count):
        second(tuner, age_ms, missing)
    return tuner.level


def test_three_late_seconds_in_a_row_are_a_step_down() -> None:
    tuner = Tuner(CONFIG)
    assert seconds(tuner, 2, LATE_MS) == 0
    assert seconds(tuner, 1, BETWEEN_MS) == 0
    assert seconds(tuner, 2, LATE_MS) == 0
    assert second(tuner, LATE_MS)
    assert tuner.level == 1


def test_one_frame_in_a_hundred_may_be_missing_and_two_are_late() -> None:
    assert seconds(Tuner(CONFIG), 3, CALM_MS, missing=1) == 0
    assert seconds(Tuner(CONFIG), 3, CALM_MS, missing=2) == 1


def test_one_frame_in_fifty_that_is_old_makes_a_second_late() -> None:
    tuner = Tuner(CONFIG)
    for _ in range(3):
        tuner.left(LATE_MS)
        tuner.left(LATE_MS)
        second(tuner, CALM_MS, frames=98)
    assert tuner.level == 1


def test_it_ends_at_the_last_level_and_each_has_words_and_a_frame_rate() -> None:
    tuner = Tuner(CONFIG)
    rates = [tuner.frame_rate_hz]
    while tuner.level < LAST:
        seconds(tuner, 3, LATE_MS)
        rates.append(tuner.frame_rate_hz)
    assert seconds(tuner, 30, LATE_MS) == LAST
    assert rates == [25, 25, 25, 25, 12.5, 8.3]
    assert len(WORDS) == len(rates)


def test_calm_brings_it_back_and_what_is_neither_holds_it() -> None:
    tuner = Tuner(CONFIG)
    seconds(tuner, 6, LATE_MS)
    assert seconds(tuner, 100, BETWEEN_MS) == 2
    assert seconds(tuner, 9, CALM_MS) == 2
    assert seconds(tuner, 1, CALM_MS) == 1
    assert seconds(tuner, 10, CALM_MS) == 0


def test_nobody_speaking_is_calm() -> None:
    tuner = Tuner(CONFIG)
    seconds(tuner, 3, LATE_MS)
    for _ in range(10):
        tuner.decide()
    assert tuner.level == 0


def test_a_step_up_that_did_not_hold_makes_the_next_wait_twice_as_long() -> None:
    tuner = Tuner(CONFIG)
    seconds(tuner, 6, LATE_MS)
    for wait_s in (10, 20, 40, 80, 160, 160):
        assert seconds(tuner, wait_s - 1, CALM_MS) == 2
        assert seconds(tuner, 1, CALM_MS) == 1
        assert seconds(tuner, 3, LATE_MS) == 2


def test_switched_off_it_stays() -> None:
    assert seconds(Tuner(TuningConfig(enabled=False)), 100, LATE_MS) == 0


# ---- under a load that cannot be held --------------------------------------------------------------------------------

SESSIONS = 3  # of 25 ms a window at one stage (tests/slow.py): 75 ms of work in each 40
STEPS = {r"step_s = 3": "step_s = 1", r"recover_s = 10": "recover_s = 2", '"stages.mel"': '"tests.slow"'}


class Voices:
    """Sessions that speak in real time, and what they get."""

    def __init__(self, pipeline: Pipeline, *views: View) -> None:
        self.faces = [LipSync(pipeline.ws, view=view) for view in views]
        self.frames: list[list[LiveFrame]] = [[] for _ in views]
        self.sent = 0
        self._sent_more = asyncio.Event()

    async def speak(self) -> None:
        speech = cut(read_audio(ROOT / "webclient" / "sample.wav"))
        readers = [
            asyncio.create_task(self._read(face, into)) for face, into in zip(self.faces, self.frames, strict=True)
        ]
        try:
            while True:
                await asyncio.sleep(0.04)
                for face in self.faces:
                    await face.send_chunk(speech[self.sent % len(speech)])
                self.sent += 1
                self._sent_more.set()
        finally:
            for reader in readers:
                reader.cancel()

    async def until_sent(self, count: int) -> None:
        while self.sent < count:
            self._sent_more.clear()
            await self._sent_more.wait()

    async def _read(self, face: LipSync, into: list[LiveFrame]) -> None:
        while True:
            frame = await face.receive()
            if isinstance(frame, LiveFrame):
                into.append(frame)


@contextlib.asynccontextmanager
async def speaking(pipeline: Pipeline, *views: View) -> AsyncIterator[Voices]:
    voices = Voices(pipeline, *views)
    async with contextlib.AsyncExitStack() as stack:
        for face in voices.faces:
            await stack.enter_async_context(face)
        task = asyncio.create_task(voices.speak())
        yield voices
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until_level(pipeline: Pipeline, least: int, most: int) -> None:
    await asyncio.to_thread(wait_until, lambda: least <= pipeline.health()["tuning"] <= most)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    folder = tmp_path_factory.mktemp("slow")
    with running(folder / "log.txt", "--config", str(config_with(folder, **STEPS))) as pipeline:
        yield pipeline


async def test_under_a_load_that_cannot_be_held_every_frame_of_the_stated_rate_comes_and_all_returns_with_calm(
    slow: Pipeline,
) -> None:
    async with speaking(slow, View.FULL, View.FULL, View.AUTO) as voices, websockets.connect(slow.ws) as watcher:
        await watcher.send('{"action": "stats", "enabled": true}')
        await until_level(slow, LAST, LAST)
        while (told := json.loads(await watcher.recv()))["tuning"]["level"] != LAST:
            pass
        assert told["tuning"]["frames_per_s"] == pytest.approx(8.3)
        assert told["tuning"]["means"] == WORDS[LAST]
        await voices.until_sent(voices.sent + 25)  # what was under way at the level before has come
        already = [len(frames) for frames in voices.frames]
        await voices.until_sent(voices.sent + 96)
        for frames, before in zip(voices.frames, already, strict=True):
            settled = [frame.meta.chunk for frame in frames[before + 1 :]]
            assert len(settled) >= 25
            steps = Counter(later - earlier for earlier, later in itertools.pairwise(settled))
            assert not any(step % 3 for step in steps), "every third chunk gets a frame"
            assert steps[3] >= 0.9 * steps.total(), "and nearly all of them: others run on this machine"
            dropped = frames[-1].meta.dropped - frames[before + 1].meta.dropped
            assert dropped <= 0.1 * len(settled), "what was not to come is not missing"
        assert voices.frames[0][-1].meta.box is None
        assert voices.frames[2][-1].meta.box is not None, "who leaves it to the server gets patches"
    await until_level(slow, 0, 0)


async def test_switched_off_it_asks_for_everything_whatever_comes(tmp_path: Path) -> None:
    config = config_with(tmp_path, **STEPS)
    with running(tmp_path / "log.txt", "--no-tuning", "--config", str(config)) as pipeline:
        async with speaking(pipeline, *[View.FULL] * SESSIONS) as voices:
            await voices.until_sent(60)
            assert (await asyncio.to_thread(pipeline.health))["tuning"] == 0
        assert voices.frames[0][-1].meta.dropped > 10, "it was not too much: this test tests nothing"
