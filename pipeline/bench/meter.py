"""What a pipeline costs while it is driven: processor time and memory of its processes, and what its stages say of
themselves."""

import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import psutil
import zmq

from pipeline.channels import PROBES_SOCKET, NoticeInlet
from pipeline.instance import Instance
from pipeline.messages import Probe
from pipeline.probes import StageSummary

_KEEP: Final = 200_000
"""Probes of one stage: 16 sessions for eight minutes."""
_POLL_MS: Final = 50
_SAMPLE_S: Final = 0.25
"""Between looks at the processes' times; the kernel counts in hundredths of a second."""
_TITLE: Final = "lipwire "


class StageFigures(msgspec.Struct, kw_only=True):
    """One stage while it was driven; pairs and triples are p50, p95, p99 in ms."""

    windows: int
    queue_ms: tuple[float, float, float]
    service_ms: tuple[float, float, float]
    age_ms: tuple[float, float, float]
    mean_batch: float
    drops: dict[str, int]


class ProcessFigures(msgspec.Struct, kw_only=True):
    """One process: percent of one core while it was driven, and its proportional share of memory at the end."""

    cpu_percent: float
    pss_mb: float
    rss_mb: float


def processes(supervisor_pid: int) -> dict[str, psutil.Process]:
    """The pipeline's processes by their titles: supervisor, edge, ingest, ..."""
    parent = psutil.Process(supervisor_pid)
    return {_title(process): process for process in (parent, *parent.children(recursive=True))}


def _title(process: psutil.Process) -> str:
    words = " ".join(process.cmdline()).strip()  # setproctitle pads with what was there before
    return words.removeprefix(_TITLE) if words.startswith(_TITLE) else f"{process.name()} {process.pid}"


def pss_mb(pid: int) -> float:
    """Proportional set size: memory that is shared counts for each sharer its part."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1_024
    raise OSError(f"/proc/{pid}/smaps_rollup tells no Pss")


class Meter:
    """Listens to one instance while something drives it."""

    def __init__(self, instance: Instance) -> None:
        told = instance.read_config()
        self._order = list(told.config.process)
        self._processes = processes(told.supervisor_pid)
        self._inlet = NoticeInlet(zmq.Context.instance(), instance, PROBES_SOCKET)
        self.heard: list[Probe] = []
        self._cpu: list[tuple[float, dict[str, float]]] = []
        self._stop = threading.Event()

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Everything inside is heard; only what lies in the span asked for afterwards is counted."""
        thread = threading.Thread(target=self._listen, name="meter")
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()
            self._inlet.sub.close()

    def _listen(self) -> None:
        next_s = 0.0
        while not self._stop.is_set():
            self._inlet.sub.poll(_POLL_MS)
            self.heard += [probe for probe in self._inlet.take() if isinstance(probe, Probe)]
            if time.monotonic() >= next_s:
                next_s = time.monotonic() + _SAMPLE_S
                self._cpu.append((time.monotonic(), self._cpu_seconds()))

    def _cpu_seconds(self) -> dict[str, float]:
        spent = {}
        for name, process in self._processes.items():
            times = process.cpu_times()
            spent[name] = times.user + times.system
        return spent

    def stages(self, began: float, ended: float) -> dict[str, StageFigures]:
        """What each stage said between two moments of ``time.monotonic``."""
        summaries: dict[str, StageSummary] = {}
        batches: dict[str, list[int]] = {}
        before: dict[str, dict[str, int]] = {}
        for probe in self.heard:
            at = probe.at_ns / 1e9
            if at < began:
                before[probe.process] = probe.drops
            elif at <= ended:
                summaries.setdefault(probe.process, StageSummary(_KEEP)).add(probe)
                batches.setdefault(probe.process, []).append(probe.batch)
        order = sorted(summaries, key=self._order.index)
        return {name: _figures(summaries[name], batches[name], before.get(name, {})) for name in order}

    def costs(self, began: float, ended: float) -> dict[str, ProcessFigures]:
        """What each process used between two moments, and its memory now."""
        times = [at for at, _ in self._cpu]
        first_s, first = self._cpu[max(0, bisect_right(times, began) - 1)]
        last_s, last = self._cpu[min(len(times) - 1, bisect_left(times, ended))]
        span = max(last_s - first_s, 1e-9)
        return {
            name: ProcessFigures(
                cpu_percent=round(100 * (last[name] - first[name]) / span, 1),
                pss_mb=round(pss_mb(process.pid), 1),
                rss_mb=round(process.memory_info().rss / 1_048_576, 1),
            )
            for name, process in self._processes.items()
        }


def _figures(summary: StageSummary, batches: list[int], before: dict[str, int]) -> StageFigures:
    queue, service, age = summary.percentiles_ms(50, 95, 99)
    drops = {cause: number - before.get(cause, 0) for cause, number in summary.drops().items()}
    return StageFigures(
        windows=summary.count,
        queue_ms=_rounded(queue),
        service_ms=_rounded(service),
        age_ms=_rounded(age),
        mean_batch=round(sum(batches) / len(batches), 2),
        drops={cause: number for cause, number in drops.items() if number},
    )


def _rounded(values: list[float]) -> tuple[float, float, float]:
    p50, p95, p99 = (round(value, 2) for value in values)
    return p50, p95, p99
