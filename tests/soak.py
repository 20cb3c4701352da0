"""`python -m tests.soak --minutes 45`: sessions that come and go, for long, and what grows meanwhile: nothing.

Every minute the resident memory, descriptors and threads of each process are noted, and the files of the instance in
shared memory, always when all places are taken: a session costs ingest the 2 MB of its sound. Prints JSON; exits
with 1 if memory grew by more than 3 % after the first five minutes, or anything else grew at all.
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import psutil

from pipeline.bench.clients import cut
from pipeline.bench.meter import processes
from pipeline.render import read_audio
from tests.persistent import LiveVoice
from tests.running import ROOT, Pipeline, instance_folders_of, running

SETTLE_MINUTES: Final = 5.0
GROWTH: Final = 0.03
STAYS_S: Final = (5.0, 60.0)
"""How long a session speaks before it leaves and another comes."""
AWAY_S: Final = 2.0
_LOOK_AGAIN_S: Final = 0.25
ALL_THERE_S: Final = 30.0
"""A sample waits at most this long for the moment when all places are taken."""
_MB: Final = 1_048_576


class Sample(dict[str, tuple[float, int, int]]):
    """Of every process: RSS in MB, descriptors, threads."""


def sample(pipeline: Pipeline) -> Sample:
    """Now."""
    found = Sample()
    for name, process in processes(pipeline.popen.pid).items():
        try:
            found[name] = (process.memory_info().rss / _MB, process.num_fds(), process.num_threads())
        except psutil.NoSuchProcess:
            continue
    return found


async def come_and_go(pipeline: Pipeline, offset: int, end: float, counts: dict[str, int]) -> None:
    """One place, taken by one session after another."""
    rng = random.Random(offset)
    speech = cut(read_audio(ROOT / "webclient" / "sample.wav"))
    while time.monotonic() < end:
        leaves = min(end, time.monotonic() + rng.uniform(*STAYS_S))
        voice = LiveVoice(pipeline.ws, speech[offset * 20 :] + speech[: offset * 20])
        await voice.run(lambda leaves=leaves: time.monotonic() < leaves)  # type: ignore[misc]
        counts["sessions"] += 1
        counts["chunks"] += voice.sent
        counts["frames"] += len(voice.arrivals)
        counts["disconnects"] += len(voice.disconnects)
        await asyncio.sleep(rng.uniform(0, AWAY_S))


async def watch(
    pipeline: Pipeline, sessions: int, end: float, every_s: float, history: list[tuple[float, Sample, int]]
) -> None:
    """A sample every so often; a session's own file is not counted: it comes and goes with it."""
    began = time.monotonic()
    (folder,) = instance_folders_of(pipeline.popen.pid)
    due = began
    others = {path.name for path in folder.glob("session.*")}  # of who was there before, and is forgotten in time
    while time.monotonic() < end:
        files = {path.name for path in folder.iterdir()} - others
        speaking = sum(name.startswith("session.") for name in files)
        now = time.monotonic()
        if speaking == sessions or now > due + ALL_THERE_S:
            taken = await asyncio.to_thread(sample, pipeline)
            history.append(((now - began) / 60, taken, len(files) - speaking))
            due = now + every_s
        await asyncio.sleep(max(due - time.monotonic(), _LOOK_AGAIN_S))


async def soak(
    pipeline: Pipeline, sessions: int, minutes: float
) -> tuple[list[tuple[float, Sample, int]], dict[str, int]]:
    """Drive it; what was noted, and what the clients counted."""
    end = time.monotonic() + minutes * 60
    history: list[tuple[float, Sample, int]] = []
    counts = dict.fromkeys(("sessions", "chunks", "frames", "disconnects"), 0)
    async with asyncio.TaskGroup() as group:
        for place in range(sessions):
            group.create_task(come_and_go(pipeline, place, end, counts))
        group.create_task(watch(pipeline, sessions, end, min(60.0, minutes * 3), history))
    return history, counts


def grown(history: list[tuple[float, Sample, int]], settle_minutes: float) -> dict[str, dict[str, float]]:
    """Of every process: what it had once settled, what it has at the end; means of three samples each. A process that
    was just being restarted at a sample is not in it."""
    settled = [row for row in history if row[0] >= settle_minutes]
    names = sorted({name for row in settled for name in row[1]})
    table = {}
    for name in names:
        of_it = [row[1][name] for row in settled if name in row[1]]
        before, after = (
            [sum(each[k] for each in part) / len(part) for k in range(3)] for part in (of_it[:3], of_it[-3:])
        )
        table[name] = {
            "rss_mb": round(after[0], 1),
            "grown_percent": round(100 * (after[0] / before[0] - 1), 2),
            "descriptors_grown": round(after[1] - before[1], 1),
            "threads_grown": round(after[2] - before[2], 1),
            "samples": len(of_it),
        }
    return table


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--minutes", type=float, default=45.0)
    parser.add_argument("--sessions", type=int, default=4)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch, running(Path(scratch) / "log.txt") as pipeline:
        history, counts = asyncio.run(soak(pipeline, given.sessions, given.minutes))
        restarts = {name: stage["restarts"] for name, stage in pipeline.health()["stages"].items()}
    table = grown(history, min(SETTLE_MINUTES, given.minutes / 3))
    files = [row[2] for row in history]
    found: dict[str, Any] = {
        "minutes": given.minutes,
        **counts,
        "restarts": {name: count for name, count in restarts.items() if count},
        "processes": table,
        "files_in_shared_memory": sorted(set(files)),
    }
    wrong = [
        f"{name} grew by {row['grown_percent']} %" for name, row in table.items() if row["grown_percent"] > 100 * GROWTH
    ]
    # A session more or less at the moment of the sample is a descriptor or two at the edge and at ingest.
    wrong += [
        f"{name} holds more descriptors" for name, row in table.items() if row["descriptors_grown"] > given.sessions
    ]
    wrong += [f"{name} has more threads" for name, row in table.items() if row["threads_grown"] >= 1]
    wrong += ["files were left in shared memory"] if max(files) > files[0] else []
    found["broken"] = wrong
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
