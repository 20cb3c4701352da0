"""A real pipeline for tests: real processes, sockets and rings, on a free port."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from pipeline.audio import SAMPLE_RATE_HZ, WINDOW_SAMPLES, Samples

START_S = 90  # a loaded CI machine imports slowly; nothing here measures speed
ROOT = Path(__file__).resolve().parent.parent


def voice(samples: int = WINDOW_SAMPLES, seed: int = 0) -> Samples:
    """Something loud and voiced: a buzz with two formant-like bumps."""
    rng = np.random.default_rng(seed)
    t = np.arange(samples) / SAMPLE_RATE_HZ
    buzz = sum(np.sin(2 * np.pi * 120 * k * t) / k for k in range(1, 30))
    return (0.2 * buzz + 0.01 * rng.normal(size=samples)).astype(np.float32)


class Pipeline:
    """A started `python -m pipeline.run`."""

    def __init__(self, popen: "subprocess.Popen[str]", address: str) -> None:
        self.popen = popen
        self.address = address
        self.ws = address.replace("http", "ws", 1) + "/ws"

    def health(self) -> dict[str, Any]:
        try:
            with urllib.request.urlopen(self.address + "/healthz", timeout=5) as response:
                return dict(json.load(response), status=response.status)
        except urllib.error.HTTPError as error:
            return dict(json.load(error), status=error.code)

    def pid_of(self, stage: str) -> int:
        return int(self.health()["stages"][f"{stage}.0"]["pid"])

    def processes(self) -> list[psutil.Process]:
        return psutil.Process(self.popen.pid).children(recursive=True)

    def wait_ready(self, but_not_pid: int = 0) -> None:
        """Until all stages are ready, none of them with `but_not_pid`."""

        def ready() -> bool:
            try:
                health = self.health()
            except OSError:
                return False
            return health["ready"] and all(stage["pid"] != but_not_pid for stage in health["stages"].values())

        wait_until(ready)


def wait_until(condition: Callable[[], bool], within_s: float = START_S) -> None:
    """Poll; fails the test when it never comes true."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return int(trial.getsockname()[1])


def config_with(folder: Path, **changes: str) -> Path:
    """supervisor.toml in ``folder``; `changes` are regular expressions with what they become."""
    text = (ROOT / "supervisor.toml").read_text()
    for pattern, becomes in changes.items():
        text, count = re.subn(pattern, becomes, text, count=1)
        assert count, pattern
    path = folder / "supervisor.toml"
    path.write_text(text)
    return path


def start(*arguments: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "pipeline.run", "--port", "0", *arguments]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextlib.contextmanager
def running(
    log: Path,
    *arguments: str,
    environment: dict[str, str] | None = None,
    program: Sequence[str] = (sys.executable, "-m", "pipeline.run"),
    cwd: Path = ROOT,
) -> Iterator[Pipeline]:
    """Start, wait for the ready line, stop; the log of all stages goes to `log`."""
    command = [*program, "--port", "0", *arguments]
    with log.open("w") as stderr:
        popen = subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment)
        try:
            assert popen.stdout is not None
            line = popen.stdout.readline()
            assert line.startswith("ready http"), log.read_text()
            yield Pipeline(popen, line.split()[1])
        finally:
            popen.send_signal(signal.SIGTERM)
            popen.wait(20)


def instance_folders_of(pid: int) -> list[Path]:
    """What the instance of supervisor `pid` has in shared memory."""
    found = []
    for folder in Path("/dev/shm").glob("lipwire-*"):
        with contextlib.suppress(OSError, ValueError):
            if json.loads((folder / "config.json").read_text())["supervisor_pid"] == pid:
                found.append(folder)
    return found


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
