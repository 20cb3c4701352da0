"""`python -m tests.tuning`: more sessions than the machine can hold, with the tuning by itself and without.

The same sessions speak to two pipelines, one after the other, `--no-tuning` and as shipped. Printed are the figures of
the second half, when what was to be tuned is tuned: frames a second of each session, and the age of frames as the
clients see it. With --plot, both curves, second by second.
"""

import argparse
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Final, NamedTuple

import matplotlib.pyplot as plt
import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

from pipeline.access import Access
from pipeline.audio import FRAME_RATE_HZ
from pipeline.bench.__main__ import SPEECH
from pipeline.bench.clients import Seen
from pipeline.bench.meter import Meter
from pipeline.spawn import Spawned, spawned

PROMISED_MS: Final = 60


class Second(NamedTuple):
    """One second of all sessions, as the edge saw it."""

    at_s: int
    frames: float
    p99_ms: float


class Found(NamedTuple):
    """One pipeline. ``settled``: what the clients saw in the second half; ``stated_fps``: by the pipeline itself."""

    name: str
    seconds: list[Second]
    settled: Seen
    level: int
    sessions: int

    @property
    def fps(self) -> float:
        return len(self.settled.latency_ms) / (self.settled.ended - self.settled.began) / self.sessions

    @property
    def p99_ms(self) -> float:
        return float(np.percentile(self.settled.latency_ms, 99))


class _Health(msgspec.Struct):
    tuning: int


def _clients(server: Spawned, sessions: int, seconds: float) -> Seen:
    command = [sys.executable, "-m", "pipeline.bench.clients", "live", server.url, str(SPEECH)]
    command += ["--sessions", str(sessions), "--seconds", str(seconds)]
    done = subprocess.run(command, check=True, capture_output=True, timeout=seconds + 60)
    return msgspec.json.decode(done.stdout, type=Seen)


def measured(name: str, sessions: int, seconds: float, *options: str) -> Found:
    """Both halves of one pipeline's life."""
    with spawned(*options) as server:
        meter = Meter(server.instance)
        began_s = time.monotonic()
        with meter.listening():
            _clients(server, sessions, seconds)
            settled = _clients(server, sessions, seconds)
            access: Access = server.instance.read_config().access
            level = msgspec.json.decode(access.ask("/healthz", 5).read(), type=_Health).tuning
        by_second: defaultdict[int, list[float]] = defaultdict(list)
        for probe in meter.heard:
            if probe.process == "edge":
                by_second[int(probe.at_ns / 1e9 - began_s)].append(probe.age_ns / 1e6)
    curve = [Second(at, len(ages) / sessions, float(np.percentile(ages, 99))) for at, ages in sorted(by_second.items())]
    return Found(name, curve, settled, level, sessions)


def draw(found: list[Found], path: Path) -> None:
    """Age and rate, one above the other."""
    figure, (ages, rates) = plt.subplots(2, 1, figsize=(9, 5), sharex=True, layout="constrained")
    for each in found:
        at = [second.at_s for second in each.seconds]
        ages.plot(at, [second.p99_ms for second in each.seconds], label=each.name)
        rates.plot(at, [second.frames for second in each.seconds], label=each.name)
    ages.axhline(PROMISED_MS, color="grey", linewidth=0.8, linestyle="--")
    ages.set_ylabel("age of frames, p99, ms")
    ages.set_ylim(0)
    rates.set_ylabel("frames a second, each session")
    rates.set_ylim(0, FRAME_RATE_HZ + 2)
    rates.set_xlabel(f"s, {found[0].sessions} sessions; they begin anew in the middle")
    ages.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m tests.tuning", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--sessions", type=int, default=14)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each half (%(default)s)")
    parser.add_argument("--plot", type=Path)
    given = parser.parse_args()
    found = [
        measured("without tuning", given.sessions, given.seconds, "--no-tuning"),
        measured("as shipped", given.sessions, given.seconds),
    ]
    table = Table("", "level", "frames/s of each", "p50, ms", "p99, ms", title=f"{given.sessions} sessions, settled")
    for each in found:
        p50 = float(np.percentile(each.settled.latency_ms, 50))
        table.add_row(each.name, str(each.level), f"{each.fps:.1f}", f"{p50:.1f}", f"{each.p99_ms:.1f}")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    if given.plot:
        draw(found, given.plot)


if __name__ == "__main__":
    main()
