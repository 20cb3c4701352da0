"""Loaded speakers: the least recently used makes room, nobody who is in use does, nobody waits for a load."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import websockets
from hypothesis import given
from hypothesis import strategies as st

from models.install import install
from models.speaker import SPEAKERS_DIR
from pipeline.audio import CHUNK_SAMPLES
from stages.loading import IN_USE_S, Loaded
from tests.running import config_with, running, voice
from tests.test_pipeline_protocols import as_int16, pack, unpack_live


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_least_recently_used_makes_room() -> None:
    clock = Clock()
    loaded: Loaded[str] = Loaded(100, clock)
    for name in ("ann", "bob", "cleo"):
        assert loaded.put(name, name, 30) == []
    clock.now = 10.0
    assert loaded.get("ann") == "ann"
    clock.now = 20.0
    assert loaded.put("dan", "dan", 60) == ["bob", "cleo"]
    assert loaded.names == ["ann", "dan"]
    assert loaded.get("bob") is None


def test_who_is_in_use_stays() -> None:
    clock = Clock()
    loaded: Loaded[str] = Loaded(100, clock)
    loaded.put("ann", "ann", 80)
    clock.now = IN_USE_S / 2
    with pytest.raises(MemoryError, match="bob needs"):
        loaded.put("bob", "bob", 80_000_000)
    assert loaded.names == ["ann"]


def test_one_alone_is_always_loaded() -> None:
    loaded: Loaded[str] = Loaded(1)
    loaded.put("ann", "ann", 1_000)
    assert loaded.get("ann") == "ann"


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 60), st.floats(0, 5)), max_size=40))
def test_the_bound_holds_while_more_than_one_is_loaded(rows: list[tuple[str, int, float]]) -> None:
    clock = Clock()
    loaded: Loaded[int] = Loaded(100, clock)
    weights: dict[str, int] = {}
    for name, weight, later in rows:
        clock.now += later
        if loaded.get(name) is not None:
            continue
        try:
            for left in loaded.put(name, weight, weight):
                del weights[left]
        except MemoryError:
            assert name not in loaded.names
        else:
            weights[name] = weight
        assert set(loaded.names) == set(weights)
        assert sum(weights.values()) <= 100 or len(weights) == 1


def speakers(folder: Path, *names: str) -> Path:
    for name in names:
        shutil.copytree(SPEAKERS_DIR / name, folder / name)
    return folder


async def speak_until(socket: websockets.ClientConnection, speaker: str, chunks: int) -> list[str]:
    """Who painted each of the next frames, until `chunks` of them are by `speaker`."""
    seen: list[str] = []
    for number in range(2000):
        await socket.send(pack(0x03, number % 500, as_int16(voice(CHUNK_SAMPLES))))
        while True:
            answer = await socket.recv()
            if isinstance(answer, bytes):
                break
            assert json.loads(answer)["success"], answer
        meta, _ = unpack_live(answer)
        seen.append(meta["speaker"])
        if seen.count(speaker) == chunks:
            return seen
    pytest.fail(f"{speaker} never spoke")


async def lossless(socket: websockets.ClientConnection) -> None:
    await socket.send(json.dumps({"action": "start_stream", "version": 1, "pace": "lossless"}))
    assert json.loads(await socket.recv())["success"]


async def test_one_installed_meanwhile_speaks_and_until_then_the_old_one_does(tmp_path: Path) -> None:
    folder = speakers(tmp_path / "speakers", "default")
    config = config_with(tmp_path, **{r"\[pipeline\]": f'[pipeline]\nspeakers_dir = "{folder}"'})
    with running(tmp_path / "log.txt", "--config", str(config)) as pipeline:
        install(SPEAKERS_DIR / "amara", folder)
        async with websockets.connect(pipeline.ws, max_size=None) as socket:
            await lossless(socket)
            assert await speak_until(socket, "default", 3) == ["default"] * 3
            await socket.send(json.dumps({"action": "switch_model", "speaker": "amara"}))
            seen = await speak_until(socket, "amara", 5)
            assert seen == sorted(seen, reverse=True)  # default, ..., amara, ...: a frame for every chunk


async def test_no_room_is_said_and_the_old_one_speaks_on(tmp_path: Path) -> None:
    folder = speakers(tmp_path / "speakers", "default", "amara")
    settings = {r"\[pipeline\]": f'[pipeline]\nspeakers_dir = "{folder}"', r"speakers_mb = \d+": "speakers_mb = 1"}
    with running(tmp_path / "log.txt", "--config", str(config_with(tmp_path, **settings))) as pipeline:
        async with websockets.connect(pipeline.ws, max_size=None) as socket:
            await lossless(socket)
            await speak_until(socket, "default", 3)
            assert (await refused_switch(socket, "amara"))["error"] == "overloaded"
            await speak_until(socket, "default", 3)


async def test_a_damaged_speaker_is_said_and_the_old_one_speaks_on(tmp_path: Path) -> None:
    folder = speakers(tmp_path / "speakers", "default", "amara")
    (folder / "amara" / "painter.onnx").write_bytes(b"no network")
    config = config_with(tmp_path, **{r"\[pipeline\]": f'[pipeline]\nspeakers_dir = "{folder}"'})
    with running(tmp_path / "log.txt", "--config", str(config)) as pipeline:
        async with websockets.connect(pipeline.ws, max_size=None) as socket:
            await lossless(socket)
            failure = await refused_switch(socket, "amara")
            assert failure["error"] == "unknown_speaker"
            assert "painter.onnx" in failure["message"]
            await speak_until(socket, "default", 3)


async def refused_switch(socket: websockets.ClientConnection, speaker: str) -> dict[str, Any]:
    """What is said while the old speaker speaks on."""
    await socket.send(json.dumps({"action": "switch_model", "speaker": speaker}))
    for number in range(2000):
        await socket.send(pack(0x03, number % 500, as_int16(voice(CHUNK_SAMPLES))))
        answer = await socket.recv()
        if isinstance(answer, str):
            return dict(json.loads(answer))
        assert unpack_live(answer)[0]["speaker"] == "default"
    pytest.fail("the switch was never answered")
