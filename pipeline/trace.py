"""`python -m pipeline.trace -o trace.json`: what every process did with every window, for Perfetto (ui.perfetto.dev).

Records the probes of a running pipeline and writes them in the Trace Event Format: a slice for each window at each
stage, on the clock that all share, and arrows from stage to stage that follow a window through the processes. With
--picture the same as a picture: a quarter of a second, stage under stage. Needs the extra `bench` for that.
"""

import argparse
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import zmq
from rich.console import Console

from pipeline.channels import PROBES_SOCKET, NoticeInlet
from pipeline.extras import needs
from pipeline.instance import Instance
from pipeline.messages import Probe
from pipeline.probe.source import choose_instance, order_of

NS_PER_US: Final = 1000
_POLL_MS: Final = 100
_LINGER_S: Final = 0.5
"""Probes travel with the heartbeats: those of the last windows come this much later."""


def record(instance: Instance, seconds: float) -> list[Probe]:
    """What is published from now on, for so long."""
    inlet = NoticeInlet(zmq.Context.instance(), instance, PROBES_SOCKET)
    heard: list[Probe] = []
    began_ns = time.monotonic_ns()
    end = time.monotonic() + seconds + _LINGER_S
    while time.monotonic() < end:
        inlet.sub.poll(_POLL_MS)
        heard += [notice for notice in inlet.take() if isinstance(notice, Probe)]
    last_ns = began_ns + round(seconds * 1e9)
    return [probe for probe in heard if began_ns <= probe.at_ns - probe.service_ns and probe.at_ns <= last_ns]


def events(probes: Sequence[Probe], order: Sequence[str]) -> list[dict[str, Any]]:
    """The Trace Event Format's events; times in microseconds of CLOCK_MONOTONIC.

    A process is a stage's replica. A window's flow has the id `SESSION-SEQUENCE`.
    """
    pids = {key: number for number, key in enumerate(sorted({_key(probe) for probe in probes}, key=_rank(order)), 1)}
    named: list[dict[str, Any]] = []
    for (stage, replica), pid in pids.items():
        title = stage if replica == 0 else f"{stage} {replica}"
        named.append({"ph": "M", "name": "process_name", "pid": pid, "tid": 1, "args": {"name": title}})
        named.append({"ph": "M", "name": "process_sort_index", "pid": pid, "tid": 1, "args": {"sort_index": pid}})
    slices = [_slice(probe, pids[_key(probe)]) for probe in probes]
    flows = [event for way in _ways(probes, order) for event in _flow(way, pids)]
    return [*named, *sorted([*slices, *flows], key=lambda event: float(event["ts"]))]


def _key(probe: Probe) -> tuple[str, int]:
    return probe.process, probe.replica


def _rank(order: Sequence[str]) -> Any:
    return lambda key: (order.index(key[0]) if key[0] in order else len(order), key[1])


def _begin_us(probe: Probe) -> float:
    return (probe.at_ns - probe.service_ns) / NS_PER_US


def _slice(probe: Probe, pid: int) -> dict[str, Any]:
    return {
        "ph": "X",
        "name": f"window {probe.sequence}",
        "cat": "window",
        "pid": pid,
        "tid": 1,
        "ts": _begin_us(probe),
        "dur": probe.service_ns / NS_PER_US,
        "args": {
            "session": probe.session,
            "queue_ms": probe.queue_ns / 1e6,
            "age_ms": probe.age_ns / 1e6,
            "batch": probe.batch,
        },
    }


def _ways(probes: Sequence[Probe], order: Sequence[str]) -> list[list[Probe]]:
    """Each window's probes, from stage to stage."""
    by_window: defaultdict[tuple[str, int], list[Probe]] = defaultdict(list)
    for probe in probes:
        by_window[probe.session, probe.sequence].append(probe)
    rank = _rank(order)
    return [sorted(way, key=lambda probe: rank(_key(probe))) for way in by_window.values() if len(way) > 1]


def _flow(way: Sequence[Probe], pids: dict[tuple[str, int], int]) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = []
    for number, probe in enumerate(way):
        phase = "s" if number == 0 else "f" if number == len(way) - 1 else "t"
        middle = _begin_us(probe) + probe.service_ns / NS_PER_US / 2  # within its slice, as it has to be
        step: dict[str, Any] = {"ph": phase, "name": "window", "cat": "flow", "id": f"{probe.session}-{probe.sequence}"}
        step |= {"pid": pids[_key(probe)], "tid": 1, "ts": middle}
        steps.append(step | ({"bp": "e"} if phase == "f" else {}))
    return steps


def draw(probes: Sequence[Probe], order: Sequence[str], path: Path) -> None:
    """The last quarter of a second as a picture."""
    with needs("bench"):
        import matplotlib.pyplot as plt

    span_ms = 250
    end_ns = max(probe.at_ns for probe in probes)
    begin_ns = end_ns - span_ms * 1_000_000
    shown = [probe for probe in probes if probe.at_ns - probe.service_ns >= begin_ns]
    stages = [stage for stage in order if any(probe.process == stage for probe in shown)]
    figure, axes = plt.subplots(figsize=(11, 3), layout="constrained")
    colours = plt.rcParams["axes.prop_cycle"].by_key()["color"]
    for probe in shown:
        row, start = stages.index(probe.process), (probe.at_ns - probe.service_ns - begin_ns) / 1e6
        colour = colours[probe.sequence % len(colours)]
        axes.barh(row, probe.service_ns / 1e6, left=start, height=0.6, color=colour)
    for way in _ways(shown, order):
        times = [(probe.at_ns - probe.service_ns / 2 - begin_ns) / 1e6 for probe in way]
        colour = colours[way[0].sequence % len(colours)]
        axes.plot(times, [stages.index(probe.process) for probe in way], color=colour, linewidth=0.8)
    axes.set_yticks(range(len(stages)), stages)
    axes.invert_yaxis()
    axes.set_xlim(0, span_ms)
    axes.set_xlabel("ms; windows of one number have one colour")
    figure.savefig(path, dpi=110)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.trace", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="TRACE.json")
    parser.add_argument("--seconds", type=float, default=5.0, help="to record (%(default)s)")
    parser.add_argument("--instance", type=Path, help="its folder in /dev/shm, where several run")
    parser.add_argument("--picture", type=Path, metavar="FILE.png", help="a quarter of a second of it, drawn")
    given = parser.parse_args()
    instance = choose_instance(given.instance)
    order = order_of(instance)
    probes = record(instance, given.seconds)
    if not probes:
        sys.exit("lipwire: nobody spoke meanwhile: there is nothing to trace")
    try:
        given.output.write_bytes(msgspec.json.encode({"traceEvents": events(probes, order), "displayTimeUnit": "ms"}))
        if given.picture:
            draw(probes, order, given.picture)
    except OSError as error:
        sys.exit(f"lipwire: {error}")
    Console(stderr=True).print(f"{len(probes)} slices in {given.output}; open it at ui.perfetto.dev")


if __name__ == "__main__":
    main()
