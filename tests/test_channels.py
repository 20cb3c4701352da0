"""The sockets, over real ZeroMQ: what is sent without waiting, what is refused, and who gets what."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import msgspec
import pytest
import zmq

from pipeline import channels, messages
from pipeline.channels import Inlet, Outlet
from pipeline.config import Config, ProcessConfig, RingConfig, SocketConfig
from pipeline.instance import Instance
from pipeline.protocol.requests import Hearing

HIGH_WATER_MARK = 8
REPLICAS = 3
Context = zmq.Context[zmq.Socket[bytes]]
T = TypeVar("T")
PATIENCE_S = 20  # for what must happen; nothing asserts how fast


def config(replicas: int = 1) -> Config:
    return Config(
        process={
            "edge": ProcessConfig(module="stages.edge", receives="frames", sends=("chunks",)),
            "ingest": ProcessConfig(module="stages.ingest", receives="chunks", sends=("frames",), replicas=replicas),
        },
        socket={
            "chunks": SocketConfig(high_water_mark=HIGH_WATER_MARK),
            "frames": SocketConfig(high_water_mark=HIGH_WATER_MARK),
        },
        ring={"uploads": RingConfig(owner="edge", slots=2, slot_bytes=64)},
    )


def chunk(session: str, sequence: int = 0, size: int = 16) -> messages.Chunk:
    route = messages.Route(session, session, sequence, 0, "default", True, messages.VIEW_FULL, 0, 0, 0)
    return messages.Chunk(route, bytes(size), Hearing(0.01))


def eventually(attempt: Callable[[], T]) -> T:
    """The first true result of `attempt`."""
    give_up = time.monotonic() + PATIENCE_S
    while not (result := attempt()):
        assert time.monotonic() < give_up, "it never happened"
        time.sleep(0.005)
    return result


@pytest.fixture
def context() -> Iterator[Context]:
    context: Context = zmq.Context()
    yield context
    context.destroy(linger=0)


@pytest.fixture
def instance() -> Iterator[Instance]:
    with TemporaryDirectory(prefix="lw") as folder:  # short: a socket's path has 108 bytes
        yield Instance(Path(folder))


def receive(inlet: Inlet, count: int) -> list[messages.Message]:
    received: list[messages.Message] = []

    def enough() -> bool:
        received.extend(inlet.receive_all(50))
        return len(received) >= count

    eventually(enough)
    return received


def test_what_is_sent_arrives_in_order(context: Context, instance: Instance) -> None:
    inlet = Inlet(context, instance, config(), "chunks", 0)
    outlet = Outlet(context, instance, config(), "chunks")
    eventually(lambda: outlet.send(chunk("a", 0)))
    for sequence in range(1, 5):
        assert outlet.send(chunk("a", sequence))
    received = receive(inlet, 5)
    assert [message.route.sequence for message in received] == [0, 1, 2, 3, 4]
    assert received[0] == chunk("a", 0)
    assert inlet.take() == []
    assert inlet.receive_all(0) == []


def test_nobody_there_is_known_at_once(context: Context, instance: Instance) -> None:
    outlet = Outlet(context, instance, config(), "chunks")
    assert outlet.send(chunk("a")) is False
    outlet.send_to_all(chunk("a"))


def test_a_receiver_that_does_not_keep_up_is_known_and_blocks_nobody(context: Context, instance: Instance) -> None:
    inlet = Inlet(context, instance, config(), "chunks", 0)
    outlet = Outlet(context, instance, config(), "chunks")
    eventually(lambda: outlet.send(chunk("a", 0, 100_000)))
    # Large ones, as the kernel's own buffer also holds some of them.
    attempts = 500
    sent = sum(outlet.send(chunk("a", 1 + number, 100_000)) for number in range(attempts))
    assert HIGH_WATER_MARK <= sent < attempts
    outlet.send_to_all(chunk("a", 0, 100_000))
    assert outlet.send(chunk("a")) is False
    assert len(receive(inlet, sent + 1)) == sent + 1
    eventually(lambda: outlet.send(chunk("a")))


RECEIVER = """
import sys, zmq
from pathlib import Path
import msgspec
from pipeline.channels import Inlet
from pipeline.config import Config
from pipeline.instance import Instance
config = msgspec.json.decode(sys.stdin.readline(), type=Config)
inlet = Inlet(zmq.Context(), Instance(Path(sys.argv[1])), config, "chunks", 0)
print("bound", flush=True)
while True:
    for message in inlet.receive_all(1000):
        print(message.route.sequence, flush=True)
"""


def start_receiver(instance: Instance) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", RECEIVER, str(instance.folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).resolve().parent.parent,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(msgspec.json.encode(config()).decode() + "\n")
    process.stdin.flush()
    assert process.stdout.readline().strip() == "bound"
    return process


def test_a_killed_receiver_is_known_and_its_successor_is_found(context: Context, instance: Instance) -> None:
    outlet = Outlet(context, instance, config(), "chunks")
    for first in (10, 20):
        receiver = start_receiver(instance)
        try:
            eventually(lambda first=first: outlet.send(chunk("a", first)))  # type: ignore[misc]
            assert receiver.stdout is not None
            assert receiver.stdout.readline().strip() == str(first)
        finally:
            os.kill(receiver.pid, signal.SIGKILL)
            receiver.communicate()
        eventually(lambda: outlet.send(chunk("a")) is False)


def test_a_session_stays_with_its_replica_and_sessions_are_spread(context: Context, instance: Instance) -> None:
    wide = config(REPLICAS)
    inlets = [Inlet(context, instance, wide, "chunks", replica) for replica in range(REPLICAS)]
    outlets = [Outlet(context, instance, wide, "chunks") for _ in range(2)]  # of two senders: they must agree
    where: dict[str, set[int]] = {}
    for session in (f"session-{number}" for number in range(24)):
        for outlet in outlets:
            eventually(lambda session=session, outlet=outlet: outlet.send(chunk(session)))  # type: ignore[misc]
        received: list[tuple[str, int]] = []
        while len(received) < len(outlets):
            for replica, inlet in enumerate(inlets):
                received += [(message.route.session, replica) for message in inlet.receive_all(1)]
        where[session] = {replica for _, replica in received}
        assert {name for name, _ in received} == {session}
    assert all(len(replicas) == 1 for replicas in where.values())
    assert set.union(*where.values()) == set(range(REPLICAS))


def test_what_all_must_hear_all_hear(context: Context, instance: Instance) -> None:
    wide = config(REPLICAS)
    inlets = [Inlet(context, instance, wide, "chunks", replica) for replica in range(REPLICAS)]
    outlet = Outlet(context, instance, wide, "chunks")
    heard: set[int] = set()

    def everybody() -> bool:
        outlet.send_to_all(messages.Close(chunk("a").route))
        heard.update(replica for replica, inlet in enumerate(inlets) if inlet.receive_all(10))
        return len(heard) == REPLICAS

    eventually(everybody)


def test_a_listener_gets_copies_and_is_waited_for_by_nobody(context: Context, instance: Instance) -> None:
    copied = config()
    copied.process["ear"] = ProcessConfig(module="ear", receives="heard")
    copied.socket["heard"] = SocketConfig(copy_of="chunks")
    outlet = Outlet(context, instance, copied, "chunks")
    inlet = Inlet(context, instance, copied, "chunks", 0)
    eventually(lambda: outlet.send(chunk("a", 0)))  # nobody listens yet
    listener = Inlet(context, instance, copied, "heard", 0)
    eventually(lambda: outlet.send(chunk("a", 1)) and listener.receive_all(10))
    outlet.send_to_all(messages.Close(chunk("a").route))
    assert messages.Close(chunk("a").route) in receive(listener, 1)
    listener.pull.close()
    assert outlet.send(chunk("a", 2))
    assert receive(inlet, 1)


def test_reports_reach_the_supervisor(context: Context, instance: Instance) -> None:
    outlet = channels.ControlOutlet(context, instance)
    ready = messages.Ready("mel", 0, 1, "warm")
    outlet.send(ready)  # before the supervisor has bound: it waits
    inlet = channels.ControlInlet(context, instance)
    assert eventually(inlet.take) == [ready]


def test_reports_to_a_supervisor_that_is_gone_block_nobody(context: Context, instance: Instance) -> None:
    outlet = channels.ControlOutlet(context, instance)
    for _ in range(5000):
        outlet.send(messages.Heartbeat("mel", 0, 1))


def test_status_reaches_who_listens(context: Context, instance: Instance) -> None:
    outlet = channels.StatusOutlet(context, instance)
    inlet = channels.NoticeInlet(context, instance, channels.STATUS_SOCKET)
    state = messages.StageState("mel", 0, 1, "ready", 0, "", "", messages.Vitals())
    status = messages.Status(True, False, [state])

    def told() -> list[messages.Probe | messages.Status]:
        outlet.send(status)
        return inlet.take()

    assert eventually(told)[0] == status


def test_probes_pass_the_hub_under_their_topic(context: Context, instance: Instance) -> None:
    hub = context.socket(zmq.SUB)
    hub.subscribe(b"probe.mel")
    hub.bind(instance.endpoint(channels.PROBES_SOCKET + ".in"))
    outlet = channels.ProbeOutlet(context, instance, "mel")
    other = channels.ProbeOutlet(context, instance, "infer")
    probe = messages.Probe("mel", 0, "a", 1, 2, 3, 4, 5, 1, {"stale": 2})

    def told() -> int:
        for each in (other, outlet):
            each.add(probe)
            each.add(probe)
            each.publish()
        return int(hub.poll(10))

    eventually(told)
    topic, raw = hub.recv_multipart()
    assert topic == b"probe.mel"
    assert messages.decode_notice(raw) == messages.Probes([probe, probe])
