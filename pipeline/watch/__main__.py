"""`python -m pipeline.watch NAME`: a running session outside the browser.

    python -m pipeline.watch mic --record talk.mkv
    python -m pipeline.watch mic --camera
    python -m pipeline.watch mic --y4m - | ffmpeg -i - talk.webm

Ends with the session, with Ctrl-C, or after --seconds. Several outputs may be given at once.
"""

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path
from typing import BinaryIO, Final

import structlog

from pipeline.access import AccessError, read_token
from pipeline.client import LiveFrame, ServerError, ServerGoneError
from pipeline.logs import configure_logs
from pipeline.protocol.errors import ErrorCode
from pipeline.watch import outputs
from pipeline.watch.outputs import Opener, OutputEndedError, OutputError
from pipeline.watch.timeline import Timeline
from pipeline.watch.viewer import Viewer

_AGAIN_S: Final = 0.5
_STANDARD: Final = "-"

log = structlog.get_logger()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pipeline.watch", description="A session outside the browser.")
    parser.add_argument("name", help="the session's: the microphone's is mic")
    parser.add_argument("--url", default="ws://127.0.0.1:8080/ws", help="of the pipeline (default: %(default)s)")
    parser.add_argument("--token-file", type=Path, help="what the server wants (default: the variable LIPWIRE_TOKEN)")
    parser.add_argument("--record", type=Path, action="append", default=[], metavar="FILE.mkv|.mp4", help="with sound")
    parser.add_argument("--camera", nargs="?", const="", metavar="DEVICE", help="a virtual camera, or this one")
    parser.add_argument("--y4m", metavar="FILE", help="YUV4MPEG2; - is the standard output")
    parser.add_argument("--seconds", type=float, help="end after so many")
    parser.add_argument("--wait", action="store_true", help="for the session, if nobody speaks under that name yet")
    given = parser.parse_args()
    if not given.record and given.camera is None and given.y4m is None:
        parser.error("say where to: --record, --camera or --y4m")
    return given


def _openers(given: argparse.Namespace, stack: contextlib.ExitStack) -> list[Opener]:
    """Raises OutputError."""
    openers = [outputs.recording(path) for path in given.record]
    if given.camera is not None:
        openers.append(outputs.camera(given.camera or None))
    if given.y4m is not None:
        openers.append(outputs.y4m(_binary(given.y4m, stack)))
    return openers


def _binary(name: str, stack: contextlib.ExitStack) -> BinaryIO:
    if name == _STANDARD:
        return sys.stdout.buffer
    try:
        return stack.enter_context(Path(name).open("wb"))
    except OSError as error:
        raise OutputError(f"{name}: {error.strerror or error}") from None


async def watch(url: str, name: str, timeline: Timeline, *, wait: bool) -> None:
    """Until the session ends. Raises ServerError, ServerGoneError, OutputError."""
    while True:
        try:
            async with Viewer(url, name, sound=True) as session:
                async for item in session:
                    if isinstance(item, LiveFrame):
                        timeline.frame(item)
                    else:
                        timeline.sound(item)
                return
        except ServerError as error:
            if not wait or error.code is not ErrorCode.UNKNOWN_SESSION:
                raise
        await asyncio.sleep(_AGAIN_S)


async def _run(given: argparse.Namespace, url: str, timeline: Timeline) -> None:
    """Until the session, the time, or the user's patience ends."""
    task = asyncio.create_task(watch(url, given.name, timeline, wait=given.wait))
    for each in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(each, task.cancel)
    with contextlib.suppress(asyncio.CancelledError, TimeoutError):
        await asyncio.wait_for(task, given.seconds)


def main() -> None:
    """Entry point."""
    given = _arguments()
    configure_logs("watch")
    with contextlib.ExitStack() as stack:
        try:
            token = read_token(given.token_file)
            timeline = Timeline(_openers(given, stack))
            try:
                asyncio.run(_run(given, f"{given.url}?token={token}" if token else given.url, timeline))
            except OutputEndedError:
                pass  # as FFmpeg does when it has enough
            finally:
                timeline.finish()
        except (AccessError, OutputError, ServerError, ServerGoneError) as error:
            sys.exit(f"lipwire: {error}")
    log.info("watched", pictures=timeline.pictures, repeated=timeline.repeated)
    if any(not isinstance(failure, OutputEndedError) for failure in timeline.failures):
        sys.exit("lipwire: not all of it was written; see above")


if __name__ == "__main__":
    main()
