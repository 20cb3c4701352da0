"""One stage process as its supervisor holds it: started, watched, stopped, started again.

starting --Ready--> ready --exit or silence--> waiting --backoff over--> starting

After `crash_loop` failures in a row it is failing instead of waiting: said so, with its last words, and tried again at
a slow pace, as what it lacks (a file, memory, a device) may come back.
"""

import subprocess
import sys
import threading
import time
from collections import deque
from enum import StrEnum
from typing import IO, Final

import psutil
import structlog

from pipeline.config import ProcessConfig
from pipeline.instance import Instance
from pipeline.messages import StageState, Vitals
from pipeline.supervision.forkserver import Forked, Forkserver
from pipeline.supervision.gpu import Gpus
from pipeline.supervision.starving import NEVER, turns_of

_LAST_LINES: Final = 20
_WORDS_LINES: Final = 3  # of them in a report: a traceback's end names the cause
_MB: Final = 1_048_576

log = structlog.get_logger()


class State(StrEnum):
    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"
    FAILING = "failing"
    STOPPED = "stopped"


class Child:
    """A replica of a process, through all its restarts."""

    def __init__(
        self, name: str, replica: int, config: ProcessConfig, instance: Instance, forkserver: Forkserver
    ) -> None:
        self.name = name
        self.replica = replica
        self.config = config
        self.state = State.STOPPED
        self.restarts = 0
        self.note = ""
        self.reason = ""
        self.vitals = Vitals()
        self._aside: list[str] = []
        self.last_lines: deque[str] = deque(maxlen=_LAST_LINES)
        self._instance = instance
        self._forkserver = forkserver
        self._failures = 0
        self._since = 0.0
        self._heard = 0.0
        self._excused_s = 0.0
        self._turns = NEVER
        self._start_at = 0.0
        self._process: Forked | None = None
        self._watch: psutil.Process | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def start(self) -> None:
        """Raises ForkserverError."""
        arguments = ["--instance", str(self._instance.folder), "--replica", str(self.replica)]
        arguments += [word for mark in self._aside for word in ("--aside", mark)]
        self._aside = []
        self._process = self._forkserver.fork(self.config.module, arguments)
        threading.Thread(target=self._relay_log, args=(self._process.stderr,), daemon=True).start()
        self._enter(State.STARTING)

    def _relay_log(self, log: IO[str]) -> None:
        with log:
            for line in log:
                self.last_lines.append(line.rstrip())
                sys.stderr.write(line)
                sys.stderr.flush()

    def _enter(self, state: State) -> None:
        self.state = state
        self._since = time.monotonic()
        self._hear()

    def _hear(self) -> None:
        self._heard = time.monotonic()
        self._excused_s = 0.0
        self._turns = turns_of(self.pid)

    def heard(self, pid: int, note: str | None) -> None:
        """A report arrived; one from a predecessor's pid is old news. `note` comes with Ready alone."""
        if pid != self.pid:
            return
        self._hear()
        if note is not None:
            self.note, self.reason = note, ""
            self._enter(State.READY)

    def has_exited(self) -> int | None:
        """Its exit status, if it ran until just now."""
        if self._process is None or self.state in (State.WAITING, State.FAILING, State.STOPPED):
            return None
        return self._process.poll()

    def excuse(self, seconds: float) -> None:
        """The supervisor itself did not run for so long: nobody could be heard."""
        self._excused_s += seconds

    def is_silent(self, longer_than_s: float) -> bool:
        """Whether it was not heard for so long, although it had the processor, or did not want it."""
        silent_s = time.monotonic() - self._heard - self._excused_s
        return silent_s > longer_than_s and turns_of(self.pid).had_s(self._turns, silent_s) > longer_than_s

    def restart_later(self, reason: str, aside: list[str]) -> None:
        """Back off, longer with each failure in a row; then set windows of these marks aside."""
        restart = self.config.restart
        self._aside = aside
        healthy = self.state is State.READY and time.monotonic() - self._since > restart.forgiven_after_s
        self._failures = 0 if healthy else self._failures + 1
        backoff_ms = min(restart.backoff_ms * 2 ** max(0, self._failures - 1), restart.backoff_max_ms)
        self._start_at = time.monotonic() + backoff_ms / 1000
        self.restarts += 1
        self.reason = reason
        if self._failures >= restart.crash_loop:
            self._start_at = time.monotonic() + restart.retry_s
            self.reason = f"{reason}; {self._failures} times in a row. Its last words: {self.last_words()}"
            self._enter(State.FAILING)
            log.error("crash loop", stage=self.name, replica=self.replica, retry_s=restart.retry_s, why=self.reason)
            return
        self._enter(State.WAITING)
        log.warning("will restart", stage=self.name, replica=self.replica, backoff_ms=backoff_ms)

    def last_words(self) -> str:
        """The end of what it logged."""
        return " | ".join(list(self.last_lines)[-_WORDS_LINES:]) or "none"

    def is_due(self) -> bool:
        """It waits no longer: it is to be started again."""
        return self.state in (State.WAITING, State.FAILING) and time.monotonic() >= self._start_at

    def terminate(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def stop(self, within_s: float) -> None:
        """SIGTERM, and SIGKILL for what has not ended `within_s`."""
        self.terminate()
        if self._process:
            try:
                self._process.wait(within_s)
            except subprocess.TimeoutExpired:
                log.warning("killed, as it did not drain in time", stage=self.name)
                self.kill()
        self.state = State.STOPPED

    def describe(self) -> StageState:
        return StageState(
            process=self.name,
            replica=self.replica,
            pid=self.pid,
            state=self.state.value,
            restarts=self.restarts,
            note=self.note,
            reason=self.reason,
            vitals=self.vitals,
        )

    def _watched(self, pid: int) -> psutil.Process:
        """The same object as long as it is the same process: its processor time is told since the last look."""
        if self._watch is None or self._watch.pid != pid:
            self._watch = psutil.Process(pid)
            self._watch.cpu_percent()
        return self._watch

    def check(self, gpus: Gpus) -> None:
        """Look at its memory, descriptors and threads; what has outgrown its bound is asked to end, and comes back."""
        if self.state is not State.READY or self._process is None:
            return
        try:
            process = self._watched(self._process.pid)
            with process.oneshot():
                rss_mb = process.memory_info().rss / _MB
                self.vitals = Vitals(
                    rss_mb=round(rss_mb, 1),
                    descriptors=process.num_fds(),
                    threads=process.num_threads(),
                    gpu_mb=gpus.memory_mb(process.pid),
                    cpu_percent=round(process.cpu_percent(), 1),
                )
        except psutil.Error:
            return  # it has just ended; the supervisor sees that for itself
        for kind, held_mb, bound_mb in (
            ("memory", rss_mb, self.config.max_rss_mb),
            ("GPU memory", self.vitals.gpu_mb, self.config.max_gpu_mb),
        ):
            if bound_mb and held_mb > bound_mb:
                log.error("outgrew its bound", stage=self.name, of=kind, held_mb=round(held_mb), bound_mb=bound_mb)
                self.terminate()
