"""`python -m pipeline.probe`: what each stage and each session of a running pipeline costs, live.

Times in ms: queue is from one stage's send to the next one's hands, service is in its hands, age is since the edge
received the audio. With --json, one line a second instead. --record keeps what was published; --replay shows it again.
"""

import argparse
import contextlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.live import Live

from pipeline.channels import notices_in
from pipeline.probe.picture import Picture
from pipeline.probe.source import (
    Inlets,
    Notice,
    Recorder,
    RecordingError,
    choose_instance,
    order_of,
    read_order,
    replay,
)

_REFRESH_S: Final = 1.0
_PIPE_COLUMNS: Final = 140  # a pipe has no width of its own; the table needs about 130


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pipeline.probe", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--instance", type=Path, help="its folder in /dev/shm, where several run")
    parser.add_argument("--json", action="store_true", help="print one JSON line a second")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--record", type=Path, metavar="FILE", help="keep what is published, to show it again")
    which.add_argument("--replay", type=Path, metavar="FILE", help="show a recording instead of a running pipeline")
    return parser.parse_args()


def _live(given: argparse.Namespace, inlets: Inlets, recorder: Recorder | None) -> Iterator[tuple[float, list[Notice]]]:
    """Once a second, what has come."""
    end_s = time.monotonic() + given.seconds
    while time.monotonic() < end_s:
        time.sleep(_REFRESH_S)
        now_s = time.monotonic()
        notices = inlets.take(now_s)
        if recorder is not None:
            recorder.add(notices)
        yield now_s, notices


def _again(notices: Iterator[Notice], *, in_real_time: bool) -> Iterator[tuple[float, list[Notice]]]:
    """Second by second of the recording."""
    waiting: list[Notice] = []
    for notice in notices:
        if waiting and notice.at_s > waiting[0].at_s:  # those of one look have one time
            yield waiting[0].at_s, waiting
            if in_real_time:
                time.sleep(min(_REFRESH_S, notice.at_s - waiting[0].at_s))
            waiting = []
        waiting.append(notice)
    if waiting:
        yield waiting[0].at_s, waiting


def _show(picture: Picture, seconds: Iterator[tuple[float, list[Notice]]], *, as_json: bool) -> None:
    console = Console(width=None if sys.stdout.isatty() else _PIPE_COLUMNS)
    with Live(console=console, refresh_per_second=2, screen=False, auto_refresh=not as_json) as view:
        for now_s, notices in seconds:
            for each in notices:
                for notice in notices_in(each.raw):
                    picture.hear(notice)
            picture.tick(now_s)
            if as_json:
                sys.stdout.write(msgspec.json.encode(picture.rows()).decode() + "\n")
                sys.stdout.flush()
            else:
                view.update(picture.screen())


def main() -> None:
    """Entry point."""
    given = _arguments()
    with contextlib.ExitStack() as stack:
        try:
            if given.replay:
                file = stack.enter_context(given.replay.open("rb"))
                picture = Picture(read_order(file))
                seconds = _again(replay(file), in_real_time=not given.json)
            else:
                instance = choose_instance(given.instance)
                order = order_of(instance)
                picture = Picture(order)
                recorder = Recorder(stack.enter_context(given.record.open("wb")), order) if given.record else None
                seconds = _live(given, Inlets(instance), recorder)
            _show(picture, seconds, as_json=given.json)
        except (OSError, RecordingError) as error:
            sys.exit(f"lipwire: {given.replay or given.record}: {error}")
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
