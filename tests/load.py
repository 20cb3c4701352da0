"""`python -m tests.load`: a thousand who say nothing, hundreds who knock and run, and four who speak.

Three spans on one pipeline: 1,000 idle connections beside 4 live ones; 200 connections a second opened and dropped for
half a minute; handshakes that are never finished. The live ones keep 25 frames a second, nothing leaks. Prints JSON;
exits with 1 where that is not so.
"""

import argparse
import asyncio
import contextlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

import psutil
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from pipeline.bench.clients import cut
from pipeline.render import read_audio
from tests.persistent import LiveVoice
from tests.running import ROOT, Pipeline, running

SPEAKERS: Final = 4
AT_ONCE: Final = 50
LORIS: Final = 100
KEPT_SHARE: Final = 0.99
"""Of the live sessions' frames."""
HANDSHAKE_S: Final = 5.0
"""As supervisor.toml says."""


class Load:
    """The speakers, and what happens beside them."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        speech = cut(read_audio(ROOT / "webclient" / "sample.wav"))
        offset = len(speech) // SPEAKERS
        self.voices = [LiveVoice(pipeline.ws, speech[k * offset :] + speech[: k * offset]) for k in range(SPEAKERS)]
        self.edge = psutil.Process(pipeline.pid_of("edge"))

    def mark(self) -> tuple[int, int, float]:
        """Chunks sent, frames received, now."""
        return sum(voice.sent for voice in self.voices), sum(len(v.arrivals) for v in self.voices), time.monotonic()

    def since(self, mark: tuple[int, int, float]) -> dict[str, Any]:
        """What the speakers got since then."""
        chunks, frames, began = mark
        now_chunks, now_frames, now = self.mark()
        latencies = sorted(
            latency
            for voice in self.voices
            for at, latency in zip(voice.arrivals, voice.latencies, strict=True)
            if at >= began
        )
        return {
            "chunks": now_chunks - chunks,
            "frames": now_frames - frames,
            "frames_per_s_each": round((now_frames - frames) / (now - began) / SPEAKERS, 2),
            "latency_ms": {
                "p50": round(1000 * latencies[len(latencies) // 2], 1),
                "p99": round(1000 * latencies[int(0.99 * len(latencies))], 1),
            },
        }

    def holds(self) -> dict[str, Any]:
        """What the edge has open, and how much memory."""
        return {"descriptors": self.edge.num_fds(), "rss_mb": round(self.edge.memory_info().rss / 1_048_576, 1)}

    async def idle(self, connections: int, seconds: float) -> dict[str, Any]:
        """So many that say nothing."""
        gate = asyncio.Semaphore(AT_ONCE)
        held: list[ClientConnection] = []

        async def one() -> None:
            async with gate:
                while True:
                    with contextlib.suppress(WebSocketException, OSError):
                        held.append(await connect(self.pipeline.ws, ping_interval=None, open_timeout=30))
                        return
                    await asyncio.sleep(0.5)

        await asyncio.gather(*(one() for _ in range(connections)))
        mark = self.mark()
        await asyncio.sleep(seconds)
        found = {**self.since(mark), "held": len(held), **self.holds()}
        await asyncio.gather(*(connection.close() for connection in held))
        return found

    async def knock(self, per_second: int, seconds: float) -> dict[str, Any]:
        """So many that come and go at once, the connection just dropped."""
        before = self.holds()
        mark = self.mark()
        opened = refused = 0

        async def one() -> None:
            nonlocal opened, refused
            try:
                connection = await connect(self.pipeline.ws, ping_interval=None, close_timeout=0.1)
            except (WebSocketException, OSError):
                refused += 1
                return
            opened += 1
            connection.transport.abort()

        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for number in range(round(per_second * seconds)):
                await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
                group.create_task(one())
        found = self.since(mark)
        await asyncio.sleep(2)
        return {**found, "opened": opened, "refused": refused, "before": before, "after": self.holds()}

    async def slow_handshakes(self) -> dict[str, Any]:
        """Each says a little and no more."""
        host, port = self.pipeline.address.removeprefix("http://").split(":")
        before = self.holds()
        began = time.monotonic()

        async def one() -> float:
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET /ws HTTP/1.1\r\nHost: x\r\n")
            await writer.drain()
            with contextlib.suppress(OSError):
                await asyncio.wait_for(reader.read(), 10 * HANDSHAKE_S)
            writer.close()
            return time.monotonic() - began

        cut_after = await asyncio.gather(*(one() for _ in range(LORIS)))
        await asyncio.sleep(1)
        return {"cut_after_s": round(max(cut_after), 1), "before": before, "after": self.holds()}


async def load(pipeline: Pipeline, idle: int, per_second: int, seconds: float) -> dict[str, Any]:
    """All three."""
    beside = Load(pipeline)
    going = True
    speaking = [asyncio.create_task(voice.run(lambda: going)) for voice in beside.voices]
    await asyncio.sleep(3)
    found: dict[str, Any] = {
        "idle": await beside.idle(idle, seconds),
        "knock": await beside.knock(per_second, seconds),
        "slow_handshakes": await beside.slow_handshakes(),
    }
    going = False
    await asyncio.gather(*speaking)
    found["disconnected"] = sum(len(voice.disconnects) for voice in beside.voices)
    return found


def broken(found: dict[str, Any]) -> list[str]:
    """The promises that were not kept."""
    wrong = [
        f"the live sessions lost frames during {span}"
        for span in ("idle", "knock")
        if found[span]["frames"] < KEPT_SHARE * found[span]["chunks"] - SPEAKERS
    ]
    for span in ("knock", "slow_handshakes"):
        before, after = found[span]["before"], found[span]["after"]
        wrong += [f"descriptors leak: {span}"] if after["descriptors"] > before["descriptors"] + 2 else []
        wrong += [f"memory leaks: {span}"] if after["rss_mb"] > 1.1 * before["rss_mb"] else []
    wrong += ["handshakes were not cut"] if found["slow_handshakes"]["cut_after_s"] > 2 * HANDSHAKE_S else []
    return wrong + (["somebody was disconnected"] if found["disconnected"] else [])


def run(idle: int, per_second: int, seconds: float) -> dict[str, Any]:
    """Against a pipeline of its own."""
    with tempfile.TemporaryDirectory() as scratch, running(Path(scratch) / "log.txt") as pipeline:
        return asyncio.run(load(pipeline, idle, per_second, seconds))


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--idle", type=int, default=1000)
    parser.add_argument("--per-second", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=30.0)
    given = parser.parse_args()
    found = run(given.idle, given.per_second, given.seconds)
    found["broken"] = broken(found)
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    return 1 if found["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
