"""Starts stage processes by forking one that has imported everything already.

    supervisor --Unix socket: what to run, where its stderr goes--> forkserver --fork--> (gone) --fork--> stage

Imports are most of a stage's start (numpy, ONNX Runtime, OpenCV: 1.2 s of processor time) and much of its memory. Here
they are made once and shared: a stage that died is back four times sooner. The stage is forked twice, and its first
parent ends at once: so it becomes the supervisor's own child (PR_SET_CHILD_SUBREAPER), which waits for it, and dies
with it. The forkserver itself has one thread, no sockets of ZeroMQ, and nothing of any session.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Final

from setproctitle import setproctitle

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_REQUEST_BYTES: Final = 65_536
_REPLY_S: Final = 60.0  # it may still be importing, on a machine that has much else to do
_ADOPTION_S: Final = 5.0
_POLL_S: Final = 0.002
_ONE_THREAD: Final = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
"""Of the numeric libraries, read when they are imported: stages run side by side, each on one core."""


class ForkserverError(Exception):
    """It is gone, or cannot import a stage; the log has its last words."""


class Forked:
    """A stage process, as its supervisor holds it: what is used of subprocess.Popen."""

    def __init__(self, pid: int, stderr: IO[str]) -> None:
        self.pid = pid
        self.stderr = stderr
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Its exit status, negative for a signal; None while it runs."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # not adopted yet: its first parent has still to end
                return None
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        end = time.monotonic() + (timeout if timeout is not None else float("inf"))
        while (status := self.poll()) is None:
            if time.monotonic() >= end:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            time.sleep(_POLL_S)
        return status

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Forkserver:
    """The supervisor's side. Started again when it has gone.

    ``modules`` are imported before anything is forked.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self._modules = list(dict.fromkeys(modules))
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def start(self) -> None:
        """Begin to import; does not wait for it."""
        self.stop()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", "pipeline.supervision.forkserver", str(theirs.fileno()), *self._modules]
        # Modules are found where the supervisor finds them, and nowhere before: `python -m` would look into the working
        # folder first, where somebody's own `models` may be.
        found = {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(folder or str(Path.cwd()) for folder in sys.path)}
        self._process = subprocess.Popen(
            command, env={**os.environ, **_ONE_THREAD, **found}, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL
        )
        theirs.close()
        ours.settimeout(_REPLY_S)
        self._socket = ours

    def fork(self, module: str, arguments: Sequence[str]) -> Forked:
        """Run a module as ``python -m`` would.

        Raises:
            ForkserverError: it could not be done.
        """
        if self._process is None or self._process.poll() is not None:
            self.start()
        assert self._socket is not None
        reading, writing = os.pipe()
        try:
            request = json.dumps({"module": module, "arguments": list(arguments), "supervisor": os.getpid()})
            socket.send_fds(self._socket, [request.encode()], [writing])
            reply = self._socket.recv(_REQUEST_BYTES)
        except OSError as error:
            os.close(reading)
            raise ForkserverError(f"the forkserver does not answer: {error}") from error
        finally:
            os.close(writing)
        if not reply:
            os.close(reading)
            self.stop()
            raise ForkserverError("the forkserver has ended; its last lines in the log say why")
        return Forked(int(reply), os.fdopen(reading, "r", errors="replace"))

    def stop(self) -> None:
        """End it; what it has forked runs on."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _serve(requests: socket.socket) -> None:
    while True:
        raw, descriptors, _, _ = socket.recv_fds(requests, _REQUEST_BYTES, 1)
        if not raw:
            return
        (stderr,) = descriptors
        pid = _fork_twice(json.loads(raw), stderr, requests)
        os.close(stderr)
        requests.send(str(pid).encode())


def _fork_twice(request: dict[str, Any], stderr: int, requests: socket.socket) -> int:
    """The pid of the stage."""
    reading, writing = os.pipe()
    first = os.fork()
    if not first:
        stage = os.fork()
        if stage:
            os.write(writing, str(stage).encode())
            os._exit(0)
        os.close(reading)
        os.close(writing)
        requests.close()
        _become(request, stderr)
    os.close(writing)
    os.waitpid(first, 0)
    with os.fdopen(reading) as told:
        return int(told.read())


def _become(request: dict[str, Any], stderr: int) -> None:
    """Be the stage; does not return."""
    os.dup2(stderr, 2)
    os.close(stderr)
    status = 1
    try:
        _wait_for_adoption(request["supervisor"])
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = [request["module"], *request["arguments"]]
        sys.modules.pop(request["module"], None)  # it is run now, not imported; what it imports is there
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
        status = 0
    except SystemExit as end:
        status = _status_of(end)
    except BaseException:  # noqa: BLE001 - the end of a process: what the interpreter itself would do
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _status_of(end: SystemExit) -> int:
    """As the interpreter takes it: a text is said, and is a failure."""
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    sys.stderr.write(f"{end.code}\n")
    return 1


def _wait_for_adoption(supervisor: int) -> None:
    """Until the first parent has ended and the supervisor is the parent: the stage is to die with it."""
    end = time.monotonic() + _ADOPTION_S
    while os.getppid() != supervisor and time.monotonic() < end:
        time.sleep(_POLL_S)


def main() -> None:
    """The forkserver's own process: `python -m pipeline.supervision.forkserver SOCKET MODULE ...`."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
    setproctitle("lipwire forkserver")
    descriptor, *modules = sys.argv[1:]
    requests = socket.socket(fileno=int(descriptor))
    for module in modules:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # what is shared stays shared: the collector would write into every page
    _serve(requests)


if __name__ == "__main__":
    main()
