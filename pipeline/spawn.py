"""A pipeline of one's own, started for a while: by render, the benchmark and the tests."""

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pipeline.instance import Instance, living_instances

_STOP_S: Final = 20.0
"""Draining takes five; beyond this it is stuck."""


class SpawnError(Exception):
    """It did not start; the text has its own words."""


@dataclass(frozen=True, slots=True)
class Spawned:
    """A pipeline that is ready."""

    url: str
    """Of its WebSocket."""
    instance: Instance
    ready_s: float
    """From the start of the process to its line on stdout."""


@contextlib.contextmanager
def spawned(*options: str) -> Iterator[Spawned]:
    """Start `python -m pipeline.run` on a free port with these options; stop it in the end.

    Raises:
        SpawnError: it does not start.
    """
    command = [sys.executable, "-m", "pipeline.run", "--port", "0", *options]
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            ready_s = time.monotonic() - began
            if not line.startswith("ready http"):
                log.seek(0)
                raise SpawnError(f"the pipeline did not start:\n{log.read()}")
            url = line.split()[1].replace("http", "ws", 1) + "/ws"
            yield Spawned(url, _instance_of(process.pid), ready_s)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()


def _instance_of(supervisor_pid: int) -> Instance:
    return next(each for each in living_instances() if each.read_config().supervisor_pid == supervisor_pid)
