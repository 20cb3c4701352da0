"""`python -m tests.probe_cost`: what being watched costs, in percent of one core.

Does what five stages do with the probes of N sessions (measure, add, publish with every heartbeat) through the hub of a
real instance, as fast as it goes, and divides the processor time, all threads of ZeroMQ included, by the time that it
would have taken. Once without a listener and once with one, whose own work is not counted.
"""

import argparse
import subprocess
import sys
import time
from typing import Final

import structlog
import zmq

from pipeline import probes
from pipeline.audio import FRAME_RATE_HZ
from pipeline.channels import PROBES_SOCKET, ProbeOutlet
from pipeline.config import default_config_path, load_config
from pipeline.instance import Instance, InstanceLock
from pipeline.messages import VIEW_FULL, Route

SIMULATED_S: Final = 60
LISTENER: Final = """
import sys, zmq
socket = zmq.Context().socket(zmq.SUB)
socket.connect(sys.argv[1])
socket.subscribe(b"")
while True:
    socket.recv_multipart()
"""

log = structlog.get_logger()


def processor_s(instance: Instance, sessions: int) -> float:
    """For SIMULATED_S of that many sessions at all stages."""
    config = load_config(default_config_path())
    context = zmq.Context()
    hub_context = zmq.Context()
    inbound, outbound = hub_context.socket(zmq.XSUB), hub_context.socket(zmq.XPUB)
    inbound.bind(instance.endpoint(PROBES_SOCKET + ".in"))
    outbound.bind(instance.endpoint(PROBES_SOCKET))
    stages = [name for name, process in config.started().process.items() if process.receives]
    outlets = [ProbeOutlet(context, instance, stage) for stage in stages]
    routes = [Route(f"{n:032x}", "m", 0, 0, "default", True, VIEW_FULL, 1, 1, 1) for n in range(sessions)]
    beats = SIMULATED_S * 1000 // config.pipeline.heartbeat_ms
    windows_a_beat = FRAME_RATE_HZ * config.pipeline.heartbeat_ms // 1000
    poller = zmq.Poller()
    for socket in (inbound, outbound):
        poller.register(socket, zmq.POLLIN)
    time.sleep(1)  # a listener subscribes
    began = time.process_time()
    for _ in range(beats):
        for stage, outlet in zip(stages, outlets, strict=True):
            for _ in range(windows_a_beat):
                now = time.monotonic_ns()
                for route in routes:
                    outlet.add(probes.measure(stage, 0, route, now, now, 1, {}))
            outlet.publish()
        while ready := dict(poller.poll(0)):
            for here, there in ((inbound, outbound), (outbound, inbound)):
                if here in ready:
                    there.send_multipart(here.recv_multipart())
    spent = time.process_time() - began
    for closing in (context, hub_context):
        closing.destroy(linger=0)
    return spent


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m tests.probe_cost", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--sessions", type=int, default=8)
    given = parser.parse_args()
    lock = InstanceLock()
    instance = lock.instance
    nobody = processor_s(instance, given.sessions)
    endpoint = instance.endpoint(PROBES_SOCKET)
    listener = subprocess.Popen([sys.executable, "-c", LISTENER, endpoint])
    try:
        heard = processor_s(instance, given.sessions)
    finally:
        listener.kill()
        lock.remove()
    percent = {
        name: round(100 * spent / SIMULATED_S, 2)
        for name, spent in (("without_listener", nobody), ("with_listener", heard))
    }
    log.info("percent of one core", sessions=given.sessions, **percent)


if __name__ == "__main__":
    main()
