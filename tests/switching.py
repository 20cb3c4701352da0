"""`python -m tests.switching`: from switch_model to the first frame of the other speaker, in a live session.

Both speakers loaded; and one that was installed just before and has to be loaded. Prints JSON: milliseconds, and the
frames that were lost meanwhile.
"""

import argparse
import asyncio
import json
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from models.speaker import MANIFEST, SPEAKERS_DIR
from pipeline.audio import CHUNK_MS
from pipeline.bench.clients import cut
from pipeline.client import LipSync, LiveFrame
from pipeline.render import read_audio
from tests.running import ROOT, config_with, running

SETTLE: Final = 25
"""Chunks before the first switch, and between two."""


class Session:
    """One live session that notes who painted each chunk, and when it came."""

    def __init__(self, face: LipSync) -> None:
        self._face = face
        self.sent = 0
        self.frames: dict[int, tuple[str, float]] = {}

    async def listen(self) -> None:
        while True:
            frame = await self._face.receive()
            if isinstance(frame, LiveFrame):
                self.frames[frame.meta.chunk] = (frame.meta.speaker, time.monotonic())

    async def speak(self) -> None:
        chunks = cut(read_audio(ROOT / "webclient" / "sample.wav"))
        began = time.monotonic()
        while True:
            await asyncio.sleep(max(0.0, began + self.sent * CHUNK_MS / 1000 - time.monotonic()))
            await self._face.send_chunk(chunks[self.sent % len(chunks)])
            self.sent += 1

    def first_by(self, speaker: str, since: float) -> float:
        return min(at for who, at in self.frames.values() if who == speaker and at >= since)


async def switches(url: str, names: list[str]) -> tuple[list[float], int]:
    """Milliseconds of each switch through ``names``, and the frames that never came."""
    took = []
    async with LipSync(url) as face:
        session = Session(face)
        tasks = [asyncio.create_task(work) for work in (session.listen(), session.speak())]
        await asyncio.sleep(SETTLE * CHUNK_MS / 1000)
        for name in names:
            asked = time.monotonic()
            await face.switch(name)
            await asyncio.sleep(SETTLE * CHUNK_MS / 1000)
            took.append(1000 * (session.first_by(name, asked) - asked))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        lost = sum(chunk not in session.frames for chunk in range(session.sent - SETTLE))
    return took, lost


def renamed(folder: Path, name: str) -> None:
    """A copy of the second speaker under another name."""
    shutil.copytree(SPEAKERS_DIR / "amara", folder / name)
    path = folder / name / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"name": name}))


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m tests.switching", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--times", type=int, default=10)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "speakers"
        for name in ("default", "amara"):
            shutil.copytree(SPEAKERS_DIR / name, folder / name)
        config = config_with(Path(scratch), **{r"\[pipeline\]": f'[pipeline]\nspeakers_dir = "{folder}"'})
        with running(Path(scratch) / "log.txt", "--config", str(config)) as pipeline:
            names = ["amara", "default"] * (given.times // 2)
            loaded, lost = asyncio.run(switches(pipeline.ws, names))
            fresh = [f"fresh{number}" for number in range(given.times)]
            for name in fresh:
                renamed(folder, name)
            unloaded, lost_loading = asyncio.run(switches(pipeline.ws, fresh))
    found = {
        "loaded_ms": {"p50": round(statistics.median(loaded)), "max": round(max(loaded))},
        "not_loaded_ms": {"p50": round(statistics.median(unloaded)), "max": round(max(unloaded))},
        "frames_lost": lost + lost_loading,
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
