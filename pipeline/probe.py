"""`python -m pipeline.probe`: what each stage of a running pipeline costs, as a live table.

Times in ms: queue is from one stage's send to the next one's hands, service is in its hands, age is since the edge
received the audio. With --json, one line a second instead of the table.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Final

import msgspec
import zmq
from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipeline.channels import PROBES_SOCKET, NoticeInlet
from pipeline.instance import Instance, living_instances
from pipeline.messages import Probe
from pipeline.probes import Summary

_REFRESH_S: Final = 1.0
_PIPE_COLUMNS: Final = 120  # a pipe has no width of its own; the table needs about 100
_COLUMNS: Final = ("queue p50", "p99", "service p50", "p99", "age p50", "p99")


class Row(msgspec.Struct, kw_only=True):
    """One stage since the last report (--json), or over the last 2,000 windows (table)."""

    stage: str
    windows: int
    queue_ms: tuple[float, float]
    service_ms: tuple[float, float]
    age_ms: tuple[float, float]
    drops: dict[str, int]


def rows(summary: Summary, order: list[str]) -> list[Row]:
    """The summary in the order of the audio's path; each pair is (median, 99th percentile)."""
    table = []
    for name in sorted(summary.stages, key=order.index):
        stage = summary.stages[name]
        queue, service, age = ((round(p50, 2), round(p99, 2)) for p50, p99 in stage.percentiles_ms(50, 99))
        table.append(
            Row(stage=name, windows=stage.count, queue_ms=queue, service_ms=service, age_ms=age, drops=stage.drops())
        )
    return table


def _draw(table_rows: list[Row]) -> Table:
    table = Table(title="lipwire, ms")
    table.add_column("stage", no_wrap=True, min_width=max(len(row.stage) for row in table_rows) if table_rows else None)
    table.add_column("windows", justify="right")
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    table.add_column("dropped")
    for row in table_rows:
        figures = [f"{value:.2f}" for pair in (row.queue_ms, row.service_ms, row.age_ms) for value in pair]
        drops = ", ".join(f"{cause} {number}" for cause, number in row.drops.items())
        table.add_row(row.stage, str(row.windows), *figures, drops)
    return table


def choose_instance(folder: Path | None) -> Instance:
    """The one that is meant, or the only one that runs; exits with words where that is not clear."""
    if folder is not None:
        return Instance(folder)
    running = living_instances()
    if len(running) != 1:
        choice = "\n  ".join(str(instance.folder) for instance in running)
        sys.exit(f"choose one with --instance:\n  {choice}" if running else "no pipeline runs; `make run` starts one")
    return running[0]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.probe", description=__doc__)
    parser.add_argument("--instance", type=Path, help="its folder in /dev/shm, where several run")
    parser.add_argument("--json", action="store_true", help="print one JSON line a second")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    arguments = parser.parse_args()
    instance = choose_instance(arguments.instance)
    order = list(instance.read_config().config.process)
    order = [*order[1:], order[0]]  # the edge is measured where frames leave, last
    inlet = NoticeInlet(zmq.Context.instance(), instance, PROBES_SOCKET)
    summary = Summary()
    end = time.monotonic() + arguments.seconds
    try:
        with Live(
            console=Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS),
            refresh_per_second=2,
            screen=False,
            auto_refresh=not arguments.json,
        ) as view:
            while time.monotonic() < end:
                inlet.sub.poll(int(_REFRESH_S * 1000))
                time.sleep(_REFRESH_S)
                for probe in inlet.take():
                    if isinstance(probe, Probe):
                        summary.add(probe)
                table_rows = rows(summary, order)
                if arguments.json:
                    sys.stdout.write(msgspec.json.encode(table_rows).decode() + "\n")
                    sys.stdout.flush()
                else:
                    view.update(_draw(table_rows))
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    main()
