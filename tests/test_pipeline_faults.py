"""Faults with real processes: whatever dies comes back, and nothing is left behind."""

import asyncio
import json
import shutil
import signal
import socket
from pathlib import Path

import pytest
import websockets

from models.speaker import SPEAKERS_DIR
from pipeline.audio import CHUNK_SAMPLES
from tests.running import ROOT, Pipeline, alive, instance_folders_of, kill, running, start, voice, wait_until
from tests.test_pipeline_protocols import WINDOW, as_int16, ask, pack

STAGES = ("ingest", "mel", "infer", "publish")


async def frames_flow(connection: websockets.ClientConnection, wanted: int) -> None:
    """Send chunks at their pace until `wanted` frames have come."""
    chunk = as_int16(voice(CHUNK_SAMPLES))
    received = 0
    for number in range(2000):
        await connection.send(pack(0x03, number % 500, chunk))
        try:
            async with asyncio.timeout(0.04):
                while True:
                    received += isinstance(await connection.recv(), bytes)
        except TimeoutError:
            pass
        if received >= wanted:
            return
    pytest.fail(f"{received} of {wanted} frames came")


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
@pytest.mark.parametrize("stage", STAGES)
async def test_a_stage_comes_back_and_its_clients_stay(pipeline: Pipeline, stage: str, fault: signal.Signals) -> None:
    import psutil

    async with websockets.connect(pipeline.ws, max_size=None) as connection:
        await connection.send('{"action": "start_stream", "version": 1}')
        await connection.recv()
        await frames_flow(connection, 5)
        pid = pipeline.pid_of(stage)
        psutil.Process(pid).send_signal(fault)
        await asyncio.to_thread(wait_until, lambda: not alive(pid))
        await asyncio.to_thread(pipeline.wait_ready, pid)
        await frames_flow(connection, 5)


async def test_a_session_that_leaves_with_chunks_under_way_leaves_nothing(pipeline: Pipeline) -> None:
    (folder,) = instance_folders_of(pipeline.popen.pid)
    before = set(folder.glob("session.*"))
    chunk = as_int16(voice(CHUNK_SAMPLES))
    for _ in range(20):
        async with websockets.connect(pipeline.ws, max_size=None) as connection:
            await connection.send('{"action": "start_stream", "version": 1}')
            await connection.recv()
            for number in range(12):  # more at once than ingest takes one by one
                await connection.send(pack(0x03, number, chunk))
    await asyncio.to_thread(wait_until, lambda: set(folder.glob("session.*")) <= before)


async def test_a_request_is_answered_by_its_deadline_whatever_died(pipeline: Pipeline) -> None:
    async with websockets.connect(pipeline.ws, max_size=None) as connection:
        pid = pipeline.pid_of("infer")
        kill(pid)
        await connection.send(ask(WINDOW.tobytes(), frame_id=4))
        answer = json.loads(await asyncio.wait_for(connection.recv(), 30))
        assert answer["frame_id"] == 4
        assert answer["success"] or answer["error"] in {"timeout", "unavailable"}
    await asyncio.to_thread(pipeline.wait_ready, pid)


def test_the_edge_comes_back_on_the_same_port(pipeline: Pipeline) -> None:
    pid = pipeline.pid_of("edge")
    kill(pid)
    wait_until(lambda: not alive(pid))
    pipeline.wait_ready(pid)
    assert pipeline.health()["stages"]["edge.0"]["restarts"] >= 1


async def test_sigterm_tells_clients_and_leaves_nothing(tmp_path: Path) -> None:
    with running(tmp_path / "log.txt") as pipeline:
        processes = pipeline.processes()
        assert len(processes) >= 5
        folders = instance_folders_of(pipeline.popen.pid)
        assert len(folders) == 1
        async with websockets.connect(pipeline.ws) as connection:
            pipeline.popen.send_signal(signal.SIGTERM)
            await asyncio.wait_for(connection.wait_closed(), 30)
            assert connection.close_code == 1001
        pipeline.popen.wait(20)
        assert pipeline.popen.returncode == 0
        assert not any(process.is_running() for process in processes)
        assert not folders[0].exists()


def test_a_supervisor_killed_with_9_takes_its_stages_along_and_the_next_start_cleans(tmp_path: Path) -> None:
    with running(tmp_path / "first.txt") as first:
        processes = first.processes()
        folders = instance_folders_of(first.popen.pid)
        kill(first.popen.pid)
        wait_until(lambda: not any(alive(process.pid) for process in processes))
        assert folders[0].exists()
        with running(tmp_path / "second.txt") as second:
            assert not folders[0].exists()
            assert second.health()["ready"]


def test_a_port_in_use_is_said_and_nothing_starts() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        popen = start("--port", str(port))
        out, err = popen.communicate(timeout=60)
    assert popen.returncode != 0
    assert out == ""
    assert f"127.0.0.1:{port}" in err
    assert "--port" in err


def test_an_unknown_speaker_is_said_at_start() -> None:
    popen = start("--speaker", "nobody")
    _, err = popen.communicate(timeout=90)
    assert popen.returncode != 0
    assert "there is no speaker 'nobody'" in err
    assert "default" in err


@pytest.mark.parametrize("damage", ["missing", "changed"])
def test_a_damaged_speaker_is_said_at_start(tmp_path: Path, damage: str) -> None:
    shutil.copytree(SPEAKERS_DIR / "default", tmp_path / "speakers" / "default")
    painter = tmp_path / "speakers" / "default" / "painter.onnx"
    painter.unlink() if damage == "missing" else painter.write_bytes(painter.read_bytes()[:-1] + b"x")
    config = tmp_path / "supervisor.toml"
    text = (ROOT / "supervisor.toml").read_text()
    config.write_text(text.replace("[pipeline]", f'[pipeline]\nspeakers_dir = "{tmp_path / "speakers"}"', 1))
    popen = start("--config", str(config))
    _, err = popen.communicate(timeout=90)
    assert popen.returncode != 0
    assert "painter.onnx" in err
    assert "install" in err


def test_an_unknown_key_is_refused_with_file_and_key(tmp_path: Path) -> None:
    config = tmp_path / "mine.toml"
    config.write_text((ROOT / "supervisor.toml").read_text().replace("slots = 128", "slotz = 128", 1))
    popen = start("--config", str(config))
    _, err = popen.communicate(timeout=60)
    assert popen.returncode != 0
    assert "mine.toml" in err
    assert "slotz" in err


def test_two_instances_side_by_side(pipeline: Pipeline, tmp_path: Path) -> None:
    with running(tmp_path / "log.txt") as other:
        assert other.address != pipeline.address
        assert other.health()["ready"]
    assert pipeline.health()["ready"]
