"""What the supervisor does about stages that keep dying: a window set aside, a crash loop said, a leak ended."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import websockets
from hypothesis import given
from hypothesis import strategies as st

from pipeline.audio import WINDOW_SAMPLES
from pipeline.hand import Hand, held
from pipeline.supervision.blame import DEATHS, REMEMBERED_S, Blame
from pipeline.supervision.starving import NEVER, turns_of
from tests.faulty import BROKEN, LAST_WORDS, POISON, crash_loop_config, faulty_config
from tests.running import ROOT, Pipeline, config_with, kill, running, voice, wait_until
from tests.test_pipeline_protocols import ask


class TestHand:
    @given(marks=st.lists(st.text(st.characters(exclude_characters="\n", codec="utf-8"), min_size=1), max_size=8))
    def test_what_was_held_is_read_and_what_was_freed_is_not(
        self, tmp_path_factory: pytest.TempPathFactory, marks: list[str]
    ) -> None:
        path = tmp_path_factory.mktemp("hand") / "hand"
        hand = Hand(path)
        assert held(path) == []
        hand.hold(marks)
        assert held(path) == marks
        hand.free()
        assert held(path) == []

    def test_a_stage_that_never_came_so_far_held_nothing(self, tmp_path: Path) -> None:
        assert held(tmp_path / "none") == []


class TestBlame:
    def test_the_second_death_is_not_chance(self) -> None:
        now = 0.0
        blame = Blame(lambda: now)
        assert blame.note(["a", "b"]) == []
        now += REMEMBERED_S / 2
        assert blame.note(["b"]) == ["b"]

    def test_deaths_long_ago_are_forgotten(self) -> None:
        now = 0.0
        blame = Blame(lambda: now)
        for _ in range(3 * DEATHS):
            assert blame.note(["a"]) == []
            now += REMEMBERED_S + 1


@contextlib.contextmanager
def keeping_busy(cpu: int, first: str = "") -> Iterator[int]:
    """A process that never leaves `cpu`; its pid. It does what `first` says before it begins."""
    program = f"import os\nos.sched_setaffinity(0, {{{cpu}}})\n{first}\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", program]) as busy:
        try:
            yield busy.pid
        finally:
            busy.kill()


class TestStarving:
    CPU = max(os.sched_getaffinity(0))

    def test_what_waits_for_the_processor_is_told_from_what_has_it(self) -> None:
        with keeping_busy(self.CPU) as having, keeping_busy(self.CPU, "os.nice(19)") as waiting:
            before, had = turns_of(waiting), turns_of(having)
            wait_until(lambda: turns_of(waiting).waited_s > before.waited_s + 0.5)
            now = turns_of(waiting)
            assert now.runnable
            assert now.had_s(before, 0.5) < 0.25
            assert turns_of(having).had_s(had, 0.5) > 0.25, "who runs and says nothing hangs"
        assert turns_of(waiting) == NEVER, "it has ended"

    def test_what_sleeps_does_not_wait(self) -> None:
        with subprocess.Popen(["sleep", "60"]) as sleeping:
            os.kill(sleeping.pid, signal.SIGSTOP)
            before = turns_of(sleeping.pid)
            time.sleep(0.5)
            assert turns_of(sleeping.pid).had_s(before, 0.5) > 0.25
            sleeping.kill()

    def test_a_stage_that_gets_no_processor_is_not_restarted(self, tmp_path: Path) -> None:
        try:  # whoever has this policy runs whenever it wants to; the others are left a twentieth of each second
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        except PermissionError:
            pytest.skip("needs root")
        changes = {
            "heartbeat_ms = 200": "heartbeat_ms = 50",
            "heartbeat_timeout_ms = 1200": "heartbeat_timeout_ms = 250",
        }
        config = config_with(tmp_path, **changes)
        with running(tmp_path / "log.txt", "--config", str(config)) as pipeline:
            mel = pipeline.pid_of("mel")
            for thread in psutil.Process(mel).threads():
                os.sched_setaffinity(thread.id, {self.CPU})
            before = turns_of(mel).waited_s
            with keeping_busy(self.CPU, "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))"):
                wait_until(lambda: pipeline.pid_of("mel") != mel or turns_of(mel).waited_s > before + 2)
            assert pipeline.pid_of("mel") == mel
            assert "gave no heartbeat" not in (tmp_path / "log.txt").read_text()


async def asked(connection: websockets.ClientConnection, window: Any) -> dict[str, Any]:
    await connection.send(ask(window.tobytes()))
    return dict(json.loads(await asyncio.wait_for(connection.recv(), 30)))


def restarts(pipeline: Pipeline) -> int:
    return int(pipeline.health()["stages"]["mel.0"]["restarts"])


def has_restarted(pipeline: Pipeline, times: int) -> bool:
    return restarts(pipeline) == times


async def test_a_window_that_kills_its_stage_twice_is_set_aside(tmp_path: Path) -> None:
    healthy = voice(WINDOW_SAMPLES)
    poisoned = voice(WINDOW_SAMPLES)
    poisoned[-1] = np.float32(POISON)
    log = tmp_path / "log.txt"
    with running(log, "--config", str(faulty_config(tmp_path))) as pipeline:
        for death in (1, 2):
            async with websockets.connect(pipeline.ws, max_size=None) as connection:  # who asks does not matter
                answer = await asked(connection, poisoned)
                assert answer["error"] == "timeout"
            await asyncio.to_thread(wait_until, partial(has_restarted, pipeline, death))
            await asyncio.to_thread(wait_until, lambda: pipeline.health()["ready"])
        async with websockets.connect(pipeline.ws, max_size=None) as connection:
            while (answer := await asked(connection, poisoned))["error"] == "unavailable":
                pass  # the stage before it has not found it again yet
            for _ in range(5):
                answer = await asked(connection, poisoned)
                assert answer["error"] == "internal"
                assert "set aside" in answer["message"]
            assert (await asked(connection, healthy))["success"]
        assert restarts(pipeline) == 2
    assert "window set aside" in log.read_text()


async def test_a_crash_loop_is_said_and_ends_when_its_cause_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    monkeypatch.setenv(BROKEN, str(broken))
    with running(tmp_path / "log.txt", "--config", str(crash_loop_config(tmp_path))) as pipeline:
        broken.touch()
        kill(pipeline.pid_of("mel"))
        await asyncio.to_thread(wait_until, lambda: pipeline.health()["stages"]["mel.0"]["state"] == "failing")
        health = pipeline.health()
        assert health["status"] == 503
        assert health["down"] == ["mel.0"]
        assert LAST_WORDS in health["stages"]["mel.0"]["reason"]
        async with websockets.connect(pipeline.ws, max_size=None) as connection:
            assert (await asked(connection, voice()))["error"] in ("unavailable", "timeout")
            await connection.send('{"action": "stats", "enabled": true}')
            told = json.loads(await asyncio.wait_for(connection.recv(), 30))
            assert LAST_WORDS in told["failing"]["mel"]
            broken.unlink()
            await asyncio.to_thread(wait_until, lambda: pipeline.health()["ready"])
            while (told := json.loads(await asyncio.wait_for(connection.recv(), 30)))["failing"]:
                pass
        assert "reason" not in pipeline.health()["stages"]["mel.0"]


def test_a_stage_that_outgrows_its_bound_comes_back(tmp_path: Path) -> None:
    config = faulty_config(tmp_path, **{r'module = "tests.faulty"': 'module = "tests.faulty"\nmax_rss_mb = 20'})
    log = tmp_path / "log.txt"
    with running(log, "--config", str(config)) as pipeline:
        wait_until(lambda: restarts(pipeline) >= 1)
    assert "outgrew its bound" in log.read_text()


def test_stages_outlive_the_forkserver_and_come_back_without_it(tmp_path: Path) -> None:
    with running(tmp_path / "log.txt") as pipeline:
        (server,) = (each for each in pipeline.processes() if each.cmdline()[0].startswith("lipwire forkserver"))
        kill(server.pid)
        before = {name: stage["pid"] for name, stage in pipeline.health()["stages"].items()}
        pid = pipeline.pid_of("mel")
        kill(pid)
        pipeline.wait_ready(pid)
        after = {name: stage["pid"] for name, stage in pipeline.health()["stages"].items()}
    assert {name for name in before if before[name] != after[name]} == {"mel.0"}


def test_a_stage_that_cannot_be_imported_is_said_at_start(tmp_path: Path) -> None:
    (tmp_path / "nonsense.py").write_text("import a_module_that_nobody_has\n")
    config = tmp_path / "nonsense.toml"
    config.write_text((ROOT / "supervisor.toml").read_text().replace('"stages.mel"', '"nonsense"'))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-m", "pipeline.run", "--port", "0", "--config", str(config)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode != 0
    assert done.stdout == ""
    assert "a_module_that_nobody_has" in done.stderr


def test_health_tells_what_each_process_holds(pipeline: Pipeline) -> None:
    def known() -> bool:
        return all(stage["rss_mb"] > 0 for stage in pipeline.health()["stages"].values())

    wait_until(known)
    for stage in pipeline.health()["stages"].values():
        assert stage["descriptors"] > 0
        assert stage["threads"] > 0
