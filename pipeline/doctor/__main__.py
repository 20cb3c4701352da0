"""`python -m pipeline.doctor`: whether this machine can run lipwire, and what to do where it cannot.

Changes nothing; starts a pipeline of its own on a free port for some seconds, unless --quick. Exit status 1 where there
is a fault.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from pipeline.config import ConfigError, default_config_path, load_config
from pipeline.doctor import machine, parts
from pipeline.doctor.findings import Check, Finding, Verdict, fault, ok, run

_COLOURS: Final = {Verdict.OK: "green", Verdict.WARNING: "yellow", Verdict.FAULT: "red"}


def _checks(given: argparse.Namespace) -> dict[str, Check]:
    """All that can be made; those that need a configuration, if there is one."""
    checks: dict[str, Check] = {
        "python": machine.python,
        "packages": lambda: machine.packages(machine.requirements()),
        "memory": machine.memory,
        "leftovers": machine.leftovers,
        "port": partial(machine.port, given.host, given.port),
        "microphone": parts.sound_devices,
    }
    path = given.config or default_config_path()
    try:
        config = load_config(path)
    except ConfigError as error:
        words = str(error)
        return checks | {"configuration": lambda: [fault("configuration", words, "mend the file")]}
    checks |= {
        "configuration": lambda: [ok("configuration", str(path))],
        "shared memory": partial(machine.shared_memory, config),
        "sockets": partial(machine.sockets, config),
        "speakers": partial(parts.speakers, machine.speakers_folder(config)),
    }
    return checks if given.quick else checks | {"frames": partial(parts.frames, given.config)}


def _table(findings: list[Finding]) -> Table:
    table = Table(title="lipwire on this machine")
    for column in ("", "check", "seen", "what to do"):
        table.add_column(column, overflow="fold")
    for finding in findings:
        colour = _COLOURS[finding.verdict]
        table.add_row(f"[{colour}]{finding.verdict.value}[/]", finding.check, finding.seen, finding.do)
    return table


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.doctor", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--config", type=Path, help="default: as pipeline.run")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080, help="where it is to listen (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="without starting a pipeline")
    parser.add_argument("--json", action="store_true", help="one JSON list")
    given = parser.parse_args()
    findings = [finding for name, check in _checks(given).items() for finding in run(name, check)]
    if given.json:
        sys.stdout.write(msgspec.json.encode(findings).decode() + "\n")
    else:
        Console(width=None if sys.stdout.isatty() else 140).print(_table(findings))
    faults = sum(finding.verdict is Verdict.FAULT for finding in findings)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
