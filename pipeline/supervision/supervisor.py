"""Starts the stages, watches them, brings back what died, and leaves nothing behind."""

import http.client
import signal
import sys
import threading
import time
from http import HTTPStatus
from typing import Final

import structlog
import zmq

from pipeline.channels import PROBES_SOCKET, ControlInlet, StatusOutlet
from pipeline.config import Config
from pipeline.hand import held
from pipeline.instance import Instance, InstanceConfig
from pipeline.messages import GpuState, Ready, Status
from pipeline.supervision.blame import Blame
from pipeline.supervision.child import Child, State
from pipeline.supervision.forkserver import Forkserver, ForkserverError
from pipeline.supervision.gpu import Gpus

_MS_PER_S: Final = 1000
_TICK_MS: Final = 50
_PUNCTUAL_S: Final = 2 * _TICK_MS / _MS_PER_S  # from one hearing to the next; what is beyond was our own absence
_STATUS_EVERY_S: Final = 0.5
_CHECK_EVERY_S: Final = 5.0
_ASK_S: Final = 0.5  # less than what a stage may be silent for, as nobody is heard meanwhile
_KILL_AFTER_S: Final = 1.0  # a stage behind the edge has nothing left to drain once the edge has ended

log = structlog.get_logger()


class StartError(Exception):
    """A stage did not come up; the text carries its own last words."""


class Supervisor:
    """All processes of one instance."""

    def __init__(self, instance: Instance, told: InstanceConfig) -> None:
        self._instance = instance
        self._blame = Blame()
        self._check_due = 0.0
        self._gpus = Gpus()
        self._gpu_states: list[GpuState] = []
        self._config: Config = told.config
        self._told = told
        self._context = zmq.Context()
        self._hub = zmq.Context()  # its own, so that ending it ends the hub's thread and nothing else
        self._control = ControlInlet(self._context, instance)
        self._status = StatusOutlet(self._context, instance)
        self._start_probe_hub(instance)
        self._forkserver = Forkserver([process.module for process in self._config.process.values()])
        self._children = {
            (name, replica): Child(name, replica, process, instance, self._forkserver)
            for name, process in self._config.process.items()
            for replica in range(process.replicas)
        }
        self._heard_at = time.monotonic()
        self._announced = False
        self._stopping = False
        self._status_due = 0.0

    def _start_probe_hub(self, instance: Instance) -> None:
        """XSUB to XPUB: stages and listeners come and go, the hub's two addresses stay."""
        inbound, outbound = self._hub.socket(zmq.XSUB), self._hub.socket(zmq.XPUB)
        inbound.bind(instance.endpoint(PROBES_SOCKET + ".in"))
        outbound.bind(instance.endpoint(PROBES_SOCKET))
        inbound.linger = outbound.linger = 0

        def forward() -> None:
            try:
                zmq.proxy(inbound, outbound)
            except zmq.ContextTerminated:
                inbound.close()
                outbound.close()

        threading.Thread(target=forward, daemon=True).start()

    def run(self) -> None:
        """Until SIGTERM or SIGINT.

        Raises:
            StartError: a stage ended, or was not warm in time, before all were ready once.
        """
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        try:
            self._forkserver.start()
            for child in self._children.values():
                self._start(child)
            while not self._stopping:
                self._control.pull.poll(_TICK_MS)
                self._hear()
                self._look_after_children()
                self._announce()
        finally:
            self._stop_all()

    def _stop(self, _signal: int, _frame: object) -> None:
        self._stopping = True

    def _hear(self) -> None:
        """Take the reports that have come. Whom we could not hear, as we did not run ourselves, was not silent."""
        now = time.monotonic()
        absent_s = max(0.0, now - self._heard_at - _PUNCTUAL_S)
        self._heard_at = now
        for child in self._children.values():
            child.excuse(absent_s)
        for report in self._control.take():
            sender = self._children.get((report.process, report.replica))
            if sender:
                sender.heard(report.pid, report.note if isinstance(report, Ready) else None)
                self._status_due = 0.0 if isinstance(report, Ready) else self._status_due

    def _look_after_children(self) -> None:
        pipeline = self._config.pipeline
        for child in self._children.values():
            status = child.has_exited()
            if status is not None:
                # Somebody's SIGKILL says nothing of what was in hand; every other end may be its doing.
                self._ended(child, f"ended with status {status}", its_own=status not in (0, -signal.SIGKILL))
            elif child.state is State.READY and child.is_silent(pipeline.heartbeat_timeout_ms / _MS_PER_S):
                child.kill()
                self._ended(child, f"gave no heartbeat for {pipeline.heartbeat_timeout_ms} ms", its_own=True)
            elif child.state is State.STARTING and child.is_silent(pipeline.ready_timeout_s):
                child.kill()
                self._ended(child, f"was not ready within {pipeline.ready_timeout_s} s", its_own=False)
            if child.is_due():
                self._start(child)
                self._hear()  # it may have taken seconds, if the forkserver had gone: the others beat meanwhile
        if self._announced and time.monotonic() >= self._check_due:  # what ends before that fails the start
            self._check_due = time.monotonic() + _CHECK_EVERY_S
            for child in self._children.values():
                child.check(self._gpus)
            self._gpu_states = self._gpus.states()

    def _start(self, child: Child) -> None:
        try:
            child.start()
        except ForkserverError as error:
            if not self._announced:
                raise StartError(f"stage {child.name} cannot be started: {error}") from None
            log.error("cannot start", stage=child.name, replica=child.replica, reason=str(error))
            child.restart_later(str(error), [])

    def _set_aside(self, child: Child) -> list[str]:
        """The marks of the windows that this death, not the first, was the fault of."""
        aside = self._blame.note(held(self._instance.hand(child.name, child.replica)))
        for mark in aside:
            log.error("window set aside", stage=child.name, mark=mark, reason="in hand at two deaths")
        return aside

    def _ended(self, child: Child, what: str, *, its_own: bool) -> None:
        self._status_due = 0.0
        if not self._announced:
            time.sleep(_TICK_MS / _MS_PER_S)  # let the last words arrive through the pipe
            words = "\n  ".join(child.last_lines)
            raise StartError(f"stage {child.name} {what} before the pipeline was ready:\n  {words}")
        log.error("stage down", stage=child.name, replica=child.replica, reason=what)
        if child.config.restart.policy == "always":
            child.restart_later(what, self._set_aside(child) if its_own else [])
        else:
            child.state = State.STOPPED

    def _announce(self) -> None:
        ready = all(child.state is State.READY for child in self._children.values())
        first_ready = ready and not self._announced
        if first_ready or time.monotonic() >= self._status_due:
            self._status_due = time.monotonic() + _STATUS_EVERY_S
            stages = [child.describe() for child in self._children.values()]
            self._status.send(Status(ready, self._stopping, stages, self._gpu_states))
        if first_ready and self._healthz_is_ready():
            self._announced = True
            sys.stdout.write(f"ready {self._told.access.address}\n")
            sys.stdout.flush()

    def _healthz_is_ready(self) -> bool:
        """Whoever reads the ready line finds it so: the edge hears of it from us, and that takes a moment."""
        try:
            return self._told.access.ask("/healthz", _ASK_S).status == HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False

    def _stop_all(self) -> None:
        """In the order of the audio's path, sources first: the edge drains while those behind it still work."""
        children = list(self._children.values())
        sources = [child for child in children if child.config.receives is None]
        for child in sources:
            child.stop(_KILL_AFTER_S)
        for number, child in enumerate(child for child in children if child not in sources):
            child.stop(self._config.pipeline.drain_s + 1 if number == 0 else _KILL_AFTER_S)
        self._forkserver.stop()
        self._hub.term()
        self._context.destroy(linger=0)
        log.info("stopped")
