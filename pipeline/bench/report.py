"""What a benchmark found: as JSON, and as tables for people."""

from typing import Final

import msgspec
import numpy as np
from rich.table import Table

from pipeline.bench.clients import Seen
from pipeline.bench.meter import ProcessFigures, StageFigures

BUDGET_MS: Final = 40.0
"""One frame's time at 25 fps."""
MISSING_SHARE: Final = 0.01
"""Of the frames: beyond it people see the picture stand still."""


class Latency(msgspec.Struct, kw_only=True):
    """Client side, from sending a chunk (or a request) to having its frame; ms."""

    p50: float
    p95: float
    p99: float
    max: float


class Frames(msgspec.Struct, kw_only=True):
    """Of all sessions together, while they counted."""

    expected: int
    received: int


class Run(msgspec.Struct, kw_only=True):
    """One span of one benchmark. ``sessions`` is 0 for requests flat out."""

    sessions: int
    latency_ms: Latency
    frames: Frames
    errors: dict[str, int]
    stages: dict[str, StageFigures]
    processes: dict[str, ProcessFigures]
    cpu_percent: float
    pss_mb: float
    ready_s: float
    load_before: float
    """Of the machine in the last minute before, others' work included."""
    per_second: float
    """Frames received a second."""

    def holds(self) -> bool:
        """Whether everybody is served as live sessions must be."""
        missing = self.frames.expected - self.frames.received
        return self.latency_ms.p99 <= BUDGET_MS and missing <= MISSING_SHARE * self.frames.expected


def summed_up(
    sessions: int,
    seen: Seen,
    stages: dict[str, StageFigures],
    processes: dict[str, ProcessFigures],
    ready_s: float,
    load_before: float,
) -> Run:
    """Everything that was measured over one span."""
    p50, p95, p99, most = np.percentile(seen.latency_ms or [float("nan")], (50, 95, 99, 100)).round(2).tolist()
    return Run(
        sessions=sessions,
        latency_ms=Latency(p50=p50, p95=p95, p99=p99, max=most),
        frames=Frames(expected=seen.expected, received=len(seen.latency_ms)),
        errors=seen.errors,
        stages=stages,
        processes=processes,
        cpu_percent=round(sum(each.cpu_percent for each in processes.values()), 1),
        pss_mb=round(sum(each.pss_mb for each in processes.values()), 1),
        ready_s=round(ready_s, 2),
        load_before=round(load_before, 2),
        per_second=round(len(seen.latency_ms) / (seen.ended - seen.began), 1),
    )


def tables(runs: list[Run]) -> list[Table]:
    """All runs in one table; of the last, its stages and processes in two more."""
    return [_runs(runs), _stages(runs[-1]), _processes(runs[-1])]


def _runs(runs: list[Run]) -> Table:
    table = Table(title="as the clients see it, ms")
    latency, counts = ("p50", "p95", "p99", "max"), ("frames", "missing", "refused", "frames/s")
    for column in ("sessions", *latency, *counts, "CPU %", "PSS MB", "load"):
        table.add_column(column, justify="right")
    for run in runs:
        missing = run.frames.expected - run.frames.received
        table.add_row(
            str(run.sessions or "requests"),
            *(f"{value:.1f}" for value in msgspec.structs.astuple(run.latency_ms)),
            str(run.frames.received),
            f"{missing} ({100 * missing / max(1, run.frames.expected):.1f} %)",
            ", ".join(f"{code} {number}" for code, number in run.errors.items()),
            f"{run.per_second:.1f}",
            f"{run.cpu_percent:.0f}",
            f"{run.pss_mb:.0f}",
            f"{run.load_before:.1f}",
        )
    return table


def _stages(run: Run) -> Table:
    table = Table(title=f"stages with {run.sessions or 'requests'}: p50 / p99, ms")
    for column in ("stage", "windows", "queue", "service", "age", "batch", "dropped"):
        table.add_column(column, justify="right")
    for name, stage in run.stages.items():
        pairs = (f"{triple[0]:.2f} / {triple[2]:.2f}" for triple in (stage.queue_ms, stage.service_ms, stage.age_ms))
        drops = ", ".join(f"{cause} {number}" for cause, number in stage.drops.items())
        table.add_row(name, str(stage.windows), *pairs, f"{stage.mean_batch:.1f}", drops)
    return table


def _processes(run: Run) -> Table:
    table = Table(title=f"processes; ready after {run.ready_s:.1f} s")
    for column in ("process", "CPU %", "PSS MB", "RSS MB"):
        table.add_column(column, justify="right")
    for name, process in run.processes.items():
        table.add_row(name, f"{process.cpu_percent:.1f}", f"{process.pss_mb:.0f}", f"{process.rss_mb:.0f}")
    return table
