"""`python -m pipeline.bench`: what the pipeline does on this machine, as its clients see it.

Starts a pipeline, drives it with real-time clients in a process of their own (40 ms chunks of real speech, 25 a
second), and reports the round trip, every stage's queue and service time, frames dropped by cause, processor time and
memory.

    python -m pipeline.bench --sessions 4 --seconds 30
    python -m pipeline.bench --find-capacity --plot docs/images/capacity.png
    python -m pipeline.bench --requests
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console

from pipeline.bench import report
from pipeline.bench.clients import Seen
from pipeline.bench.meter import Meter
from pipeline.bench.report import Run
from pipeline.extras import needs
from pipeline.protocol.requests import ReplyForm, View
from pipeline.spawn import Spawned, SpawnError, spawned

SPEECH: Final = Path(__file__).parents[2] / "webclient" / "sample.wav"
"""What the page's "sample" plays: speech that is there in every installation."""
FLAT_OUT: Final = Path(__file__).with_name("flat_out.toml")
_PATIENCE_S: Final = 60.0
"""Beyond the time that the clients are to run."""
_REQUESTS: Final = 300
CAPACITY_STEPS: Final = (1, 2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 32)


def drive(
    server: Spawned, kind: str, sessions: int, given: argparse.Namespace, form: ReplyForm = ReplyForm.JSON
) -> Run:
    """One span: the clients in their process, the meter here.

    Raises:
        SpawnError: the clients failed; with their words.
    """
    meter = Meter(server.instance)
    load_before = os.getloadavg()[0]
    command = [sys.executable, "-m", "pipeline.bench.clients", kind, server.url, str(given.audio)]
    command += ["--sessions", str(sessions), "--seconds", str(given.seconds), "--view", given.view]
    command += ["--form", form, "--count", str(given.count)]
    with meter.listening():
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, timeout=given.seconds + _PATIENCE_S + given.count
        )
    if done.returncode:
        raise SpawnError(f"the clients failed:\n{done.stderr}")
    seen = msgspec.json.decode(done.stdout, type=Seen)
    return report.summed_up(
        sessions if kind == "live" else 0,
        seen,
        meter.stages(seen.began, seen.ended),
        meter.costs(seen.began, seen.ended),
        server.ready_s,
        load_before,
    )


def capacity(server: Spawned, given: argparse.Namespace) -> Iterator[Run]:
    """More and more sessions, until they are not served as live sessions must be."""
    for sessions in CAPACITY_STEPS:
        run = drive(server, "live", sessions, given)
        yield run
        if not run.holds():
            return


def runs(server: Spawned, given: argparse.Namespace) -> Iterator[Run]:
    """What was asked for."""
    if given.requests:
        for form in ReplyForm:
            yield drive(server, "requests", 1, given, form)
    elif given.find_capacity:
        yield from capacity(server, given)
    else:
        for _ in range(given.runs):
            yield drive(server, "live", given.sessions, given)


def parser() -> argparse.ArgumentParser:
    """What the command understands."""
    made = argparse.ArgumentParser(prog="python -m pipeline.bench", description=(__doc__ or "").split("\n", 1)[0])
    made.add_argument("--sessions", type=int, default=1, help="live sessions at once (%(default)s)")
    made.add_argument("--seconds", type=float, default=20.0, help="that count, after two to settle (%(default)s)")
    made.add_argument("--runs", type=int, default=1, help="so often; JSON has each, in one list (%(default)s)")
    made.add_argument("--find-capacity", action="store_true", help="raise the sessions until they are not served")
    made.add_argument("--requests", action="store_true", help="the original's protocols, flat out: JSON, then binary")
    made.add_argument("--count", type=int, default=_REQUESTS, help="requests of each form (%(default)s)")
    made.add_argument("--view", choices=[view.value for view in View], default=View.FULL.value)
    made.add_argument("--audio", type=Path, default=SPEECH, help="what the sessions say (default: the page's sample)")
    made.add_argument("--config", type=Path, help="of the pipeline (default: as pipeline.run)")
    made.add_argument("--speaker", help="whose face (default: as pipeline.run)")
    made.add_argument("--tuning", action="store_true", help="let the pipeline ask less of itself when it is too much")
    made.add_argument("--json", action="store_true", help="print JSON instead of tables")
    made.add_argument("--plot", type=Path, help="write a plot over the number of sessions; needs the extra bench")
    return made


def main() -> None:
    """Entry point."""
    given = parser().parse_args()
    if given.plot:
        with needs("bench"):
            from pipeline.bench.plot import plot
    options = [
        *(("--config", str(given.config)) if given.config else ()),
        *(("--speaker", given.speaker) if given.speaker else ()),
        *(() if given.tuning else ("--no-tuning",)),
        *(("--with", str(FLAT_OUT)) if given.requests else ()),
    ]
    console = Console(stderr=True)
    found: list[Run] = []
    try:
        with spawned(*options) as server:
            for run in runs(server, given):
                found.append(run)
                console.print(f"{run.sessions or 'requests'}: p50 {run.latency_ms.p50} ms, p99 {run.latency_ms.p99} ms")
    except SpawnError as error:
        sys.exit(f"lipwire: {error}")
    except KeyboardInterrupt:
        sys.exit("lipwire: stopped")
    if given.plot:
        plot(found, given.plot)
    if given.json:
        sys.stdout.write(msgspec.json.encode(found if len(found) > 1 else found[0]).decode() + "\n")
    else:
        for table in report.tables(found):
            Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    main()
