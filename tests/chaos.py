"""`python -m tests.chaos`: live sessions while stages are killed, stopped and hung, one every five seconds.

Promised (docs/reliability.md): nobody is disconnected but by the death of the edge, every request is answered, frames
are back soon, and nothing is left over. Prints JSON; exits with 1 where a promise is broken.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.bench.clients import cut
from pipeline.render import read_audio
from tests.persistent import Asker, LiveVoice
from tests.running import ROOT, Pipeline, alive, instance_folders_of, running

STAGES = ("edge", "ingest", "mel", "infer", "publish")
FAULTS = {"killed": signal.SIGKILL, "stopped": signal.SIGSTOP, "hung": signal.SIGUSR1}
EVERY_S = 5.0
WARM_S = 2.0
BACK_S = 2.0
"""Promised, of the median of all faults."""


def config(folder: Path) -> Path:
    """supervisor.toml with stages that can be made to hang."""
    path = folder / "chaos.toml"
    text = (ROOT / "supervisor.toml").read_text()
    for stage in STAGES:
        assert f'module = "stages.{stage}"' in text
        text = text.replace(f'module = "stages.{stage}"', f'module = "tests.hanging.{stage}"')
    path.write_text(text)
    return path


class Chaos:
    """One run against one pipeline."""

    def __init__(self, pipeline: Pipeline, sessions: int, seed: int) -> None:
        self.pipeline = pipeline
        speech = cut(read_audio(ROOT / "webclient" / "sample.wav"))
        offset = len(speech) // sessions
        self.voices = [LiveVoice(pipeline.ws, speech[k * offset :] + speech[: k * offset]) for k in range(sessions)]
        self.asker = Asker(pipeline.ws)
        self.rng = random.Random(seed)
        self.faults: list[tuple[float, str, str]] = []
        self.going = True

    async def run(self, seconds: float, stages: Sequence[str]) -> None:
        async with asyncio.TaskGroup() as group:
            for voice in self.voices:
                group.create_task(voice.run(lambda: self.going))
            group.create_task(self.asker.run(lambda: self.going))
            group.create_task(self._break(seconds, stages))

    async def _break(self, seconds: float, stages: Sequence[str]) -> None:
        await asyncio.sleep(WARM_S)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            stage, fault = self.rng.choice(stages), self.rng.choice(list(FAULTS))
            pid = await asyncio.to_thread(self._pid_of, stage)
            self.faults.append((time.monotonic(), stage, fault))
            signal_to(pid, FAULTS[fault])
            await asyncio.sleep(EVERY_S)
        self.going = False

    def _pid_of(self, stage: str) -> int:
        while True:
            try:
                return self.pipeline.pid_of(stage)
            except (OSError, KeyError):  # the edge is just coming back
                time.sleep(0.05)

    def report(self) -> dict[str, Any]:
        """What came of it."""
        times = [at for at, _, _ in self.faults]
        back = {
            fault: max(voice.back_after(fault, until) for voice in self.voices)
            for fault, until in zip(times, [*times[1:], times[-1] + EVERY_S], strict=True)
        }
        edge_times = [at for at, stage, _ in self.faults if stage == "edge"]
        gone = [at for voice in self.voices for at in voice.disconnects]
        unexplained = sum(not any(0 <= at - edge <= EVERY_S for edge in edge_times) for at in gone)
        by_kind = {
            f"{stage} {fault}": round(max(back[at] for at, s, f in self.faults if (s, f) == (stage, fault)), 2)
            for stage, fault in sorted({(stage, fault) for _, stage, fault in self.faults})
        }
        values = np.array(list(back.values()))
        return {
            "faults": len(self.faults),
            "frames_back_s": {
                "median": round(float(np.median(values)), 2),
                "p90": round(float(np.percentile(values, 90)), 2),
                "worst": round(float(values.max()), 2),
            },
            "worst_by_kind_s": by_kind,
            "disconnected_without_an_edge_dying": unexplained,
            "requests": {
                "answered": self.asker.answered,
                "refused": self.asker.refused,
                "unanswered": self.asker.unanswered,
                "slowest_s": round(self.asker.slowest_s, 2),
            },
            "frames": sum(len(voice.arrivals) for voice in self.voices),
            "chunks": sum(voice.sent for voice in self.voices),
        }


def signal_to(pid: int, number: signal.Signals) -> None:
    """To one process, if it is still there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def left_over(pids: list[int], folders: list[Path]) -> list[str]:
    """What should be gone and is not."""
    return [f"process {pid}" for pid in pids if alive(pid)] + [str(folder) for folder in folders if folder.exists()]


def chaos(sessions: int, seconds: float, seed: int, stages: Sequence[str] = STAGES) -> dict[str, Any]:
    """Start, break, end, look."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with running(folder / "log.txt", "--config", str(config(folder))) as pipeline:
            run = Chaos(pipeline, sessions, seed)
            asyncio.run(run.run(seconds, stages))
            pipeline.wait_ready()
            pids = [process.pid for process in pipeline.processes()]
            folders = instance_folders_of(pipeline.popen.pid)
            rings = sorted(path.name for path in folders[0].iterdir() if not path.name.startswith("session."))
        return {**run.report(), "files_in_shared_memory": len(rings), "left_over": left_over(pids, folders)}


def broken(found: dict[str, Any]) -> list[str]:
    """The promises that were not kept."""
    return [
        *(["somebody was disconnected"] if found["disconnected_without_an_edge_dying"] else []),
        *(["a request was not answered"] if found["requests"]["unanswered"] else []),
        *(["frames were not back in time"] if found["frames_back_s"]["median"] > BACK_S else []),
        *(["something is left over"] if found["left_over"] else []),
    ]


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--sessions", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    found = chaos(given.sessions, given.seconds, given.seed)
    found["broken"] = broken(found)
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    return 1 if found["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
