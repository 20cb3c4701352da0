"""The sockets: one small class per kind of channel. Sends never block, receives take all there is."""

import zlib
from typing import Final

import zmq

from pipeline import messages
from pipeline.config import Config
from pipeline.instance import Instance
from pipeline.messages import Message, Probe, Probes, Report, Status

PROBES_SOCKET: Final = "probes"
CONTROL_SOCKET: Final = "control"
STATUS_SOCKET: Final = "status"
_READABLE: Final = int(zmq.POLLIN)
_RECONNECT_MS: Final = 10  # a stage that came back is found within a frame's time; ZeroMQ's own 100 ms are three
_PUBLISH_HIGH_WATER_MARK: Final = 1000  # probes are worth less than the memory beyond this


class Outlet:
    """PUSH to all replicas of the process that binds `socket`; a session always goes to the same one.

    What was sent is sent to the socket's copies too; whether it arrives there is nobody's concern.
    """

    def __init__(
        self, context: "zmq.Context[zmq.Socket[bytes]]", instance: Instance, config: Config, socket: str
    ) -> None:
        _, receiver = config.receiver_of(socket)
        self.socket = socket
        self._pushes = []
        for replica in range(receiver.replicas):
            push = context.socket(zmq.PUSH)
            push.sndhwm = config.socket[socket].high_water_mark
            push.linger = config.socket[socket].linger_ms
            # Nothing is queued for a receiver that is not there: the sender learns at once and can say so.
            push.immediate = 1
            push.reconnect_ivl = _RECONNECT_MS
            push.connect(instance.endpoint(socket, replica))
            self._pushes.append(push)
        self._copies = [
            Outlet(context, instance, config, name) for name, each in config.socket.items() if each.copy_of == socket
        ]

    def send(self, message: Message) -> bool:
        """Send without waiting; False where the receiver is gone or too far behind."""
        shard = zlib.crc32(message.route.session.encode()) % len(self._pushes)
        try:
            self._pushes[shard].send(messages.encode(message), zmq.NOBLOCK)
        except zmq.Again:
            return False
        for copy in self._copies:
            copy.send(message)
        return True

    def send_to_all(self, message: Message) -> None:
        """For notices like Close that every replica must hear; best effort."""
        for copy in self._copies:
            copy.send_to_all(message)
        for push in self._pushes:
            try:
                push.send(messages.encode(message), zmq.NOBLOCK)
            except zmq.Again:
                continue


class Inlet:
    """PULL, bound: what other stages push to this replica."""

    def __init__(
        self,
        context: "zmq.Context[zmq.Socket[bytes]]",
        instance: Instance,
        config: Config,
        socket: str,
        replica: int,
    ) -> None:
        self.pull = context.socket(zmq.PULL)
        self.pull.rcvhwm = config.socket[socket].high_water_mark
        self.pull.linger = 0
        self._patience_ms = -1  # ZeroMQ's own
        self.endpoint = instance.endpoint(socket, replica)
        self.pull.bind(self.endpoint)

    def receive_all(self, timeout_ms: int) -> list[Message]:
        """Everything that has arrived, waiting at most `timeout_ms` for the first."""
        if timeout_ms != self._patience_ms:
            self.pull.rcvtimeo = self._patience_ms = timeout_ms
        try:
            first = self.pull.recv()  # one call where a poll and its answer are two, and both have to be woken up
        except zmq.Again:
            return []
        return [messages.decode_message(first), *self.take()]

    def take(self) -> list[Message]:
        """Everything that has arrived, without waiting."""
        received: list[Message] = []
        # Asked, not tried: in a process that slept, an exception is dear.
        while int(self.pull.get(zmq.EVENTS)) & _READABLE:
            received.append(messages.decode_message(self.pull.recv(zmq.NOBLOCK)))
        return received


class ControlOutlet:
    """PUSH to the supervisor: readiness and heartbeats."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", instance: Instance) -> None:
        self._push = context.socket(zmq.PUSH)
        self._push.linger = 0
        self._push.connect(instance.endpoint(CONTROL_SOCKET))

    def send(self, report: Report) -> None:
        try:
            self._push.send(messages.encode(report), zmq.NOBLOCK)
        except zmq.Again:
            return  # the supervisor is busy; the next beat tells it the same


class ControlInlet:
    """PULL, bound by the supervisor."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", instance: Instance) -> None:
        self.pull = context.socket(zmq.PULL)
        self.pull.linger = 0
        self.pull.bind(instance.endpoint(CONTROL_SOCKET))

    def take(self) -> list[Report]:
        received: list[Report] = []
        while True:
            try:
                received.append(messages.decode_report(self.pull.recv(zmq.NOBLOCK)))
            except zmq.Again:
                return received


class ProbeOutlet:
    """PUB, connected to the instance's probe hub (bound by the supervisor), topic `probe.<process>`.

    Several go in one message: sending each by itself cost every stage more than it told.
    """

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", instance: Instance, process: str) -> None:
        self._topic = f"probe.{process}".encode()
        self._pub = context.socket(zmq.PUB)
        self._pub.sndhwm = _PUBLISH_HIGH_WATER_MARK
        self._pub.linger = 0
        self._pub.connect(instance.endpoint(PROBES_SOCKET + ".in"))

        self._waiting: list[Probe] = []

    def add(self, probe: Probe) -> None:
        """To be published with the next."""
        self._waiting.append(probe)

    def publish(self) -> None:
        """All that were added since the last time."""
        if self._waiting:
            self._pub.send_multipart([self._topic, messages.encode(Probes(self._waiting))], zmq.NOBLOCK)
            self._waiting = []


class StatusOutlet:
    """PUB, bound by the supervisor, topic `status`."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", instance: Instance) -> None:
        self._pub = context.socket(zmq.PUB)
        self._pub.linger = 0
        self._pub.bind(instance.endpoint(STATUS_SOCKET))

    def send(self, status: Status) -> None:
        self._pub.send_multipart([b"status", messages.encode(status)], zmq.NOBLOCK)


def notices_in(raw: bytes) -> list[Probe | Status]:
    """What one published message tells. Raises as messages.decode_notice."""
    notice = messages.decode_notice(raw)
    return list(notice.probes) if isinstance(notice, Probes) else [notice]


class NoticeInlet:
    """SUB: probes, or the supervisor's status."""

    def __init__(self, context: "zmq.Context[zmq.Socket[bytes]]", instance: Instance, socket: str) -> None:
        self.sub = context.socket(zmq.SUB)
        self.sub.rcvhwm = _PUBLISH_HIGH_WATER_MARK
        self.sub.linger = 0
        self.sub.subscribe(b"")
        self.sub.connect(instance.endpoint(socket))

    def take_raw(self) -> list[bytes]:
        """As they were published."""
        received: list[bytes] = []
        while True:
            try:
                _, raw = self.sub.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return received
            received.append(raw)

    def take(self) -> list[Probe | Status]:
        return [notice for raw in self.take_raw() for notice in notices_in(raw)]
