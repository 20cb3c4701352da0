"""What every stage process does, so that a stage's own file holds its work only.

    receive everything that waits -> drop what is stale -> work -> send -> publish a probe -> beat

A stage dies with its supervisor (PR_SET_PDEATHSIG), drains on SIGTERM, and reports itself ready only once it is warm.
One failed window is answered with an error and logged; the loop goes on.
"""

import abc
import argparse
import contextlib
import ctypes
import gc
import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final, TypeVar

import msgspec
import structlog
import zmq
from setproctitle import setproctitle

from pipeline import probes
from pipeline.channels import ControlOutlet, Inlet, Outlet, ProbeOutlet
from pipeline.hand import Hand
from pipeline.instance import Instance
from pipeline.logs import configure_logs
from pipeline.messages import Chunk, Close, Failed, FarEnd, Heartbeat, Message, Ready, Route, encode
from pipeline.protocol.errors import LATE, ErrorCode
from pipeline.ring import OverwrittenError, RingReader, RingWriter, SlotRef
from pipeline.supervision.blame import ASIDE_S, LIVE_ASIDE_S

_PR_SET_PDEATHSIG: Final = 1
_NS_PER_MS: Final = 1_000_000
_BETWEEN_MS: Final = 5
"""Of rest between two pieces of what a stage prepares while it is idle: at most half a core, for the first seconds."""
REPLIES: Final = "frames"  # the socket on which the edge learns what became of a window

log = structlog.get_logger()

_Made = TypeVar("_Made")


class StageError(Exception):
    """A window that cannot be worked on, for a reason its client can act on."""

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class StageContext:
    """A stage's hands: its outlets, rings, probes and beats."""

    def __init__(self, process: str, instance: Instance, replica: int, aside: frozenset[str] = frozenset()) -> None:
        told = instance.read_config()
        self.process = process
        self.instance = instance
        self.replica = replica
        self.access = told.access
        self.supervisor_pid = told.supervisor_pid
        self.config = told.config
        self.zmq = zmq.Context()
        own = self.config.process[process]
        self._inlet = Inlet(self.zmq, instance, self.config, own.receives, replica) if own.receives else None
        self.outlets = {socket: Outlet(self.zmq, instance, self.config, socket) for socket in own.sends}
        self.probes = ProbeOutlet(self.zmq, instance, process)
        self._control = ControlOutlet(self.zmq, instance)
        self._readers: dict[str, RingReader] = {}
        self.hand = Hand(instance.hand(process, replica))
        self._aside = aside
        self._ready_at = 0.0
        self.drops: Counter[str] = Counter()
        self.stopping = False
        self._beat_every_ns = self.config.pipeline.heartbeat_ms * _NS_PER_MS  # and publishes its probes
        self._next_beat_ns = 0
        self._left_ns = 0

    @property
    def inlet(self) -> Inlet:
        """What other stages send here; a source has none."""
        assert self._inlet is not None, f"process.{self.process} receives nothing"
        return self._inlet

    def writer(self, ring: str) -> RingWriter:
        """Take over this replica's ring `ring`."""
        return RingWriter(self.instance.ring(ring, self.replica))

    def read(self, slot: SlotRef) -> bytes:
        """Copy what a header points at. Raises as `use`."""
        return self.use(slot, bytes)

    def use(self, slot: SlotRef, make: Callable[[memoryview], _Made]) -> _Made:
        """What `make` makes of what a header points at; see RingReader.use.

        Raises:
            StageError: it was overwritten, as this stage came too late.
        """
        reader = self._readers.get(slot.ring)
        if reader is None:
            reader = self._readers[slot.ring] = RingReader(self.instance.ring_by_ref(slot.ring))
        try:
            return reader.use(slot, make)
        except OverwrittenError as error:
            self.drops["overwritten"] += 1
            raise StageError(ErrorCode.OVERLOADED, f"the machine is too busy: {error}") from error

    def send(self, socket: str, message: Message) -> None:
        """Pass a header on; where that is not possible, whoever waits for it is told."""
        self._left_ns = time.monotonic_ns()  # before: the receiver may well run before this process does again
        if self.outlets[socket].send(message):
            return
        self.drops[f"{socket}_full"] += 1
        if socket != REPLIES:
            receiver, _ = self.config.receiver_of(socket)
            self.fail(message.route, ErrorCode.UNAVAILABLE, f"the {receiver} stage is restarting; try again")

    def pass_on(self, notice: Close) -> None:
        """Let all stages further on know as well."""
        for socket, outlet in self.outlets.items():
            if socket != REPLIES:
                outlet.send_to_all(notice)

    def come_again(self, messages: Iterable[Message]) -> None:
        """Let these arrive once more, after what waits already; to be called from any thread."""
        with self.zmq.socket(zmq.PUSH) as push:
            push.connect(self.inlet.endpoint)
            for message in messages:
                push.send(encode(message))

    def fail(self, route: Route, code: ErrorCode, message: str) -> None:
        """Tell the edge that this window gets no frame. A stage that only listens in has nothing to tell: it counts."""
        if REPLIES in self.outlets:
            self.send(REPLIES, Failed(route, code.value, message))
        else:
            self.drops["missed"] += 1

    def is_aside(self, route: Route) -> bool:
        """Whether this stage has just died of such windows twice: they are not taken in hand again so soon."""
        if route.mark not in self._aside:
            return False
        patience_s = LIVE_ASIDE_S if route.of_stream else ASIDE_S
        return time.monotonic() < self._ready_at + patience_s

    def probe(self, routes: Iterable[Route], started_ns: int) -> None:
        """Note what these windows, worked on together from `started_ns` until the last was sent on, cost here."""
        batch = list(routes)
        now = self._left_ns if self._left_ns > started_ns else time.monotonic_ns()
        drops = dict(self.drops)
        for route in batch:
            self.probes.add(probes.measure(self.process, self.replica, route, started_ns, now, len(batch), drops))

    def ready(self, note: str) -> None:
        self._ready_at = time.monotonic()
        self._control.send(Ready(self.process, self.replica, os.getpid(), note))
        log.info("ready", note=note)

    def beat(self) -> None:
        """Tell the supervisor that the loop goes round; cheap to call as often as one likes."""
        now = time.monotonic_ns()
        if now >= self._next_beat_ns:
            self._next_beat_ns = now + self._beat_every_ns
            self.probes.publish()
            self._control.send(Heartbeat(self.process, self.replica, os.getpid()))


def sent_now(route: Route) -> Route:
    """The route stamped for the queue time that the next stage measures."""
    return msgspec.structs.replace(route, sent_ns=time.monotonic_ns())


def newest_wins(batch: Sequence[Message], now_ns: int) -> tuple[list[Message], list[Message]]:
    """Split what has arrived into what is worth working on and what is stale.

    Stale is what is past its deadline, and a live window of which the same session has a newer one in the batch.
    An audio chunk never is: the windows after it would have a hole. The window that it ends may be dropped further on.
    """
    if len(batch) == 1 and batch[0].route.deadline_ns >= now_ns:  # the usual case, and on every frame's way
        return list(batch), []
    newest: dict[str, int] = {}
    for message in batch:
        if message.route.live:
            newest[message.route.session] = max(message.route.sequence, newest.get(message.route.session, -1))
    kept: list[Message] = []
    stale: list[Message] = []
    for message in batch:
        route = message.route
        replaced = route.live and route.sequence < newest[route.session]
        expired = route.deadline_ns < now_ns
        exempt = isinstance(message, Chunk | FarEnd | Close | Failed)
        (kept if exempt or not (replaced or expired) else stale).append(message)
    return kept, stale


class Stage(abc.ABC):
    """What a stage file provides."""

    batch_limit = 1
    """How many windows it works on together."""
    leaves_work = False
    """Whether a batch leaves something to `idle`."""

    @abc.abstractmethod
    def warm_up(self) -> str:
        """Load and run everything once; returns what was chosen, for people."""

    @abc.abstractmethod
    def work(self, batch: list[Message]) -> None:
        """Do the work on what has arrived, and send it on."""

    def look_ahead(self, batch: list[Message]) -> None:  # noqa: B027 - most stages have nothing to prepare
        """What is better done now that the batch has left than when the next one has come."""

    def idle(self) -> bool:
        """A little of what is better done while nobody waits; whether there is more of it."""
        return False

    def close(self, session: str) -> None:  # noqa: B027 - most stages keep nothing
        """Let go of what is kept for `session`."""


def run_stage(process: str, make: Callable[[StageContext], Stage]) -> None:
    """The main function of a stage process."""
    with stage_process(process) as context:
        # What warm-up made lives as long as the process: the collector need not look at it on the hot path.
        stage = make(context)
        note = stage.warm_up()
        gc.collect()
        gc.freeze()
        context.ready(note)
        _loop(context, stage)


def _loop(context: StageContext, stage: Stage) -> None:
    poll_ms = context.config.pipeline.heartbeat_ms // 2
    more_to_prepare = True
    while True:
        context.beat()
        batch = context.inlet.receive_all(_BETWEEN_MS if more_to_prepare else poll_ms)
        if not batch and context.stopping:
            return
        if not batch:
            more_to_prepare = stage.idle()
        kept, stale = newest_wins(batch, time.monotonic_ns())
        context.drops["stale"] += len(stale)
        for message in stale:
            if not message.route.live:
                context.fail(message.route, ErrorCode.TIMEOUT, LATE)
        more_to_prepare = more_to_prepare or (stage.leaves_work and bool(kept))
        windows: list[Message] = []
        closes: list[Close] = []
        for message in kept:
            if isinstance(message, Close):
                closes.append(message)
            elif context.is_aside(message.route):
                context.drops["aside"] += 1
                reason = f"the {context.process} stage died of this sound twice; it is set aside"
                context.fail(message.route, ErrorCode.INTERNAL, reason)
            else:
                windows.append(message)
        for start in range(0, len(windows), stage.batch_limit):
            _work(context, stage, windows[start : start + stage.batch_limit])
            context.beat()
        # Last: a window of the same session that came in the same batch would bring back what its Close has ended.
        for close in closes:
            stage.close(close.route.session)
            context.pass_on(close)


def _work(context: StageContext, stage: Stage, windows: list[Message]) -> None:
    started_ns = time.monotonic_ns()
    context.hand.hold(window.route.mark for window in windows)
    try:
        stage.work(windows)
    except StageError as error:
        if len(windows) == 1:
            context.fail(windows[0].route, error.code, error.message)
    except Exception:
        log.exception("work failed", session=windows[0].route.session, batch=len(windows))
        context.drops["failed"] += 1
        if len(windows) == 1:
            context.fail(windows[0].route, ErrorCode.INTERNAL, "this window could not be painted; the log says why")
    else:
        context.probe((window.route for window in windows), started_ns)
        stage.look_ahead(windows)
        return
    finally:
        context.hand.free()
    if len(windows) > 1:  # one bad window must not cost the others their frame
        for window in windows:
            _work(context, stage, [window])


def die_with_parent(parent_pid: int) -> None:
    """The kernel kills this process when its parent ends, however that ends."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # it died before the kernel was told
        sys.exit("the parent is gone")


def stage_arguments() -> tuple[Instance, int, frozenset[str]]:
    """The command line the supervisor starts a stage with: its instance, which replica it is, whom it sets aside."""
    parser = argparse.ArgumentParser(description="A stage process; `python -m pipeline.run` starts it.")
    parser.add_argument("--instance", type=Path, required=True)
    parser.add_argument("--replica", type=int, default=0)
    parser.add_argument("--aside", action="append", default=[], metavar="MARK")
    arguments = parser.parse_args()
    return Instance(arguments.instance), arguments.replica, frozenset(arguments.aside)


class stage_process(contextlib.AbstractContextManager[StageContext]):  # noqa: N801 - used as a verb
    """Sets a stage process up (title, logs, signals, death with the parent) and takes it down."""

    def __init__(self, process: str) -> None:
        self._process = process

    def __enter__(self) -> StageContext:
        instance, replica, aside = stage_arguments()
        title = self._process if replica == 0 else f"{self._process} {replica}"
        setproctitle(f"lipwire {title}")
        configure_logs(title)
        die_with_parent(instance.read_config().supervisor_pid)
        self._context = StageContext(self._process, instance, replica, aside)
        own = self._context.config.process[self._process]
        if own.cpus:
            os.sched_setaffinity(0, own.cpus)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor decides
        return self._context

    def _stop(self, _signal: int, _frame: object) -> None:
        self._context.stopping = True

    def __exit__(self, *_: object) -> None:
        self._context.zmq.destroy(linger=0)
