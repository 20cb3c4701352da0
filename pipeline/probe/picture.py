"""What has been heard of a pipeline, summed up, as rows and as what a terminal shows."""

from collections import deque
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pipeline.messages import GpuState, Probe, StageState, Status
from pipeline.probes import NS_PER_MS, StageSummary, Summary

_COLUMNS: Final = ("queue p50", "p99", "service p50", "p99", "age p50", "p99")
_SESSION_KEEP: Final = 500
"""Frames of a session that its figures are taken from: 20 s."""
_SESSION_GONE_S: Final = 5.0
_SHOWN_ID: Final = 8
"""Characters of a session's id: enough to tell them apart."""
_SPARKS: Final = " ▁▂▃▄▅▆▇█"
_SPARK_SECONDS: Final = 60
_BUDGET_MS: Final = 40.0
"""The spark line's height: a frame's time."""


class Row(msgspec.Struct, kw_only=True):
    """One stage since the last report (--json), or over the last 2,000 windows (table). Pairs are (median, 99th
    percentile); what is of the process is of all its replicas together."""

    stage: str
    windows: int
    per_s: float
    queue_ms: tuple[float, float]
    service_ms: tuple[float, float]
    age_ms: tuple[float, float]
    drops: dict[str, int]
    cpu_percent: float = 0.0
    rss_mb: float = 0.0
    gpu_mb: float = 0.0
    restarts: int = 0
    state: str = ""


class _Session:
    def __init__(self) -> None:
        self.summary = StageSummary(_SESSION_KEEP)
        self.times_s: deque[float] = deque(maxlen=_SESSION_KEEP)


class Picture:
    """Feed it notices and ask it for rows or for a screen."""

    def __init__(self, order: Sequence[str]) -> None:
        self._order = list(order)
        self._summary = Summary()
        self._counted: dict[str, int] = {}
        self._states: dict[str, list[StageState]] = {}
        self._gpus: list[GpuState] = []
        self._sessions: dict[str, _Session] = {}
        self._sparks: deque[float] = deque(maxlen=_SPARK_SECONDS)
        self._ages_ms: list[float] = []
        self._tick_s: float | None = None
        self._span_s = 1.0
        self._rates: dict[str, float] = {}

    def hear(self, notice: Probe | Status) -> None:
        """Something was published."""
        if isinstance(notice, Status):
            self._states = {}
            self._gpus = notice.gpus
            for stage in notice.stages:
                self._states.setdefault(stage.process, []).append(stage)
            return
        self._summary.add(notice)
        if notice.process == self._order[-1]:
            session = self._sessions.setdefault(notice.session, _Session())
            session.summary.add(notice)
            session.times_s.append(notice.at_ns / 1e9)
            self._ages_ms.append(notice.age_ns / NS_PER_MS)

    def tick(self, now_s: float) -> None:
        """Once a second: rates are of the time since the last one."""
        self._span_s = 1.0 if self._tick_s is None else max(1e-3, now_s - self._tick_s)
        self._tick_s = now_s
        for name, stage in self._summary.stages.items():
            self._rates[name] = (stage.count - self._counted.get(name, 0)) / self._span_s
            self._counted[name] = stage.count
        self._sparks.append(float(np.median(self._ages_ms)) if self._ages_ms else 0.0)
        self._ages_ms.clear()
        gone = [name for name, each in self._sessions.items() if each.times_s[-1] < now_s - _SESSION_GONE_S]
        for name in gone:
            del self._sessions[name]

    def rows(self) -> list[Row]:
        """In the order of the audio's path; also those that run and have had nothing to do."""
        known = [name for name in self._order if name in self._summary.stages or name in self._states]
        return [self._row(name, self._summary.stages[name]) for name in known]

    def _row(self, name: str, stage: StageSummary) -> Row:
        queue, service, age = ((round(p50, 2), round(p99, 2)) for p50, p99 in stage.percentiles_ms(50, 99))
        states = self._states.get(name, [])
        return Row(
            stage=name,
            windows=stage.count,
            per_s=round(self._rates.get(name, 0.0), 1),
            queue_ms=queue,
            service_ms=service,
            age_ms=age,
            drops=stage.drops(),
            cpu_percent=round(sum(each.vitals.cpu_percent for each in states), 1),
            rss_mb=round(sum(each.vitals.rss_mb for each in states), 1),
            gpu_mb=round(sum(each.vitals.gpu_mb for each in states), 1),
            restarts=sum(each.restarts for each in states),
            state=", ".join(sorted({each.state for each in states})),
        )

    def screen(self) -> RenderableType:
        """For a terminal."""
        return Group(self._stages(), *self._gpu_lines(), self._sessions_table(), self._spark_line())

    def _gpu_lines(self) -> list[Text]:
        return [
            Text(f"GPU {gpu.index}: {gpu.busy_percent:.0f} % busy, {gpu.used_mb:.0f} of {gpu.total_mb:.0f} MB")
            for gpu in self._gpus
        ]

    def _stages(self) -> Table:
        table = Table(title="lipwire, ms")
        table.add_column("stage", no_wrap=True, min_width=max(map(len, self._order)))
        for column in ("per s", *_COLUMNS, "CPU %", "MB", "restarts"):
            table.add_column(column, justify="right")
        table.add_column("dropped")
        for row in self.rows():
            figures = [f"{value:.2f}" for pair in (row.queue_ms, row.service_ms, row.age_ms) for value in pair]
            drops = ", ".join(f"{cause} {number}" for cause, number in row.drops.items())
            process = (f"{row.cpu_percent:.0f}", f"{row.rss_mb:.0f}", str(row.restarts))
            table.add_row(row.stage, f"{row.per_s:.0f}", *figures, *process, drops)
        return table

    def _sessions_table(self) -> Table:
        table = Table(title=f"{len(self._sessions)} session(s)")
        table.add_column("session")
        for column in ("frames per s", "age p50", "p99"):
            table.add_column(column, justify="right")
        for name, session in self._sessions.items():
            _, _, age = session.summary.percentiles_ms(50, 99)
            span_s = session.times_s[-1] - session.times_s[0]
            rate = (len(session.times_s) - 1) / span_s if span_s > 0 else 0.0
            table.add_row(name[:_SHOWN_ID], f"{rate:.1f}", f"{age[0]:.1f}", f"{age[1]:.1f}")
        return table

    def _spark_line(self) -> Text:
        steps = len(_SPARKS) - 1
        line = "".join(_SPARKS[min(steps, -(-int(steps * age) // int(_BUDGET_MS)))] for age in self._sparks)
        newest = self._sparks[-1] if self._sparks else 0.0
        return Text(f"age when a frame leaves, the last minute, 0 to {_BUDGET_MS:.0f} ms: {line} {newest:.1f}")
