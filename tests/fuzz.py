"""`python -m tests.fuzz --messages 200000`: what nobody should send, to a running pipeline, beside one who speaks.

A mutator over recorded traffic, values from hypothesis, and raw WebSocket frames that are none. No stage may die, no
exception may reach the log, nobody else may lose a frame. Prints JSON; exits with 1 where that is not so.
"""

import argparse
import asyncio
import json
import random
import re
import socket
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any, Final

import websockets
from hypothesis import strategies as st
from hypothesis.errors import NonInteractiveExampleWarning
from websockets.asyncio.client import connect

from pipeline.bench.clients import cut
from pipeline.render import read_audio
from tests.mutations import Message, mutated, recorded
from tests.persistent import LiveVoice
from tests.running import ROOT, Pipeline, running

CONNECTIONS: Final = 4
PER_CONNECTION: Final = 400
"""Then another one: what a message left behind must not matter."""
RAW_SHARE: Final = 0.02
INVENTED_SHARE: Final = 0.1
AHEAD: Final = 32
PAUSE_S: Final = 0.08
"""After so many messages, of each connection: it is to find faults, not to be the load."""
INVENTED: Final = 2_000
LOST_SHARE: Final = 0.002
"""Of the speaker's frames: a machine that does something else for a moment, not the fuzzer's doing."""


def config(folder: Path) -> Path:
    """Without the limits that would answer before anything is decoded."""
    text = (ROOT / "supervisor.toml").read_text()
    for key in ("requests_per_s", "connections_per_s"):
        text, count = re.subn(rf"^{key} = \d+", f"{key} = 1000000", text, flags=re.MULTILINE)
        assert count == 1
    path = folder / "fuzz.toml"
    path.write_text(text)
    return path


def invented() -> list[Message]:
    """Values that hypothesis thinks of, as JSON and as bytes."""
    leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)
    actions = st.sampled_from(["generate_frame", "start_stream", "watch", "switch_model", "stats"])
    names = st.sampled_from(["frame_id", "audio_data", "version", "pace", "view", "name", "speaker", "enabled"])
    questions = st.builds(lambda action, rest: {**rest, "action": action}, actions, st.dictionaries(names, values))
    texts = (questions | values).map(lambda value: json.dumps(value, ensure_ascii=False))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NonInteractiveExampleWarning)
        strategy: st.SearchStrategy[Message] = texts | st.text() | st.binary(max_size=4_096)
        return [strategy.example() for _ in range(INVENTED)]


class Fuzzer:
    """Several connections that never send what they should."""

    def __init__(self, pipeline: Pipeline, messages: int, seed: int) -> None:
        self.pipeline = pipeline
        self.left = messages
        self.rng = random.Random(seed)
        self.traffic = recorded()
        self.invented = invented()
        self.sent = self.answers = self.raw = self.closed = 0

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(CONNECTIONS):
                group.create_task(self._one())

    async def _one(self) -> None:
        while self.left > 0:
            if self.rng.random() < RAW_SHARE * PER_CONNECTION / 10:
                await asyncio.to_thread(self._raw_frames)
            try:
                async with connect(self.pipeline.ws, max_size=None, compression=None) as socket_:
                    await self._talk(socket_)
            except websockets.ConnectionClosed:
                self.closed += 1

    async def _talk(self, connection: websockets.ClientConnection) -> None:
        answered = 0

        async def read() -> None:
            nonlocal answered
            async for _ in connection:
                answered += 1
                self.answers += 1

        reader = asyncio.create_task(read())
        for number in range(PER_CONNECTION):
            if self.left <= 0:
                break
            self.left -= 1
            self.sent += 1
            await connection.send(self._message())
            if number % AHEAD == 0:
                await asyncio.sleep(PAUSE_S)
        await asyncio.wait_for(await connection.ping(), 30)  # it still stands, and has come so far
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)

    def _message(self) -> Message:
        if self.rng.random() < INVENTED_SHARE:
            return self.rng.choice(self.invented)
        return mutated(self.rng, self.traffic)

    def _raw_frames(self) -> None:
        """A handshake, then bytes that are no frames, or frames that no client sends."""
        host, port = self.pipeline.address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as raw:
            raw.sendall(
                f"GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
            )
            raw.recv(4_096)
            try:
                for _ in range(10):
                    self.left -= 1
                    self.sent += 1
                    self.raw += 1
                    raw.sendall(self.rng.randbytes(self.rng.randrange(1, 512)))
            except OSError:
                return  # it has cut us off, as it should


async def fuzz(pipeline: Pipeline, messages: int, seed: int) -> dict[str, Any]:
    """Speak and fuzz at once; what came of both."""
    voice = LiveVoice(pipeline.ws, cut(read_audio(ROOT / "webclient" / "sample.wav")))
    fuzzer = Fuzzer(pipeline, messages, seed)
    began = time.monotonic()
    going = True
    speaking = asyncio.create_task(voice.run(lambda: going))
    await fuzzer.run()
    seconds = time.monotonic() - began
    going = False
    await speaking
    return {
        "messages": fuzzer.sent,
        "raw_frames": fuzzer.raw,
        "answers": fuzzer.answers,
        "connections_closed_by_the_server": fuzzer.closed,
        "seconds": round(seconds, 1),
        "speaker": {
            "chunks": voice.sent,
            "frames": len(voice.arrivals),
            "disconnected": len(voice.disconnects),
            "latency_p99_ms": round(1000 * sorted(voice.latencies)[int(0.99 * (len(voice.latencies) - 1))], 1),
        },
    }


def run(messages: int, seed: int) -> dict[str, Any]:
    """Against a pipeline of its own."""
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log.txt"
        with running(log, "--config", str(config(Path(scratch)))) as pipeline:
            before = {name: stage["pid"] for name, stage in pipeline.health()["stages"].items()}
            found = asyncio.run(fuzz(pipeline, messages, seed))
            after = {name: stage["pid"] for name, stage in pipeline.health()["stages"].items()}
        found["stages_that_died"] = [name for name in before if before[name] != after.get(name)]
        found["exceptions_logged"] = log.read_text().count("Traceback")
    return found


def broken(found: dict[str, Any]) -> list[str]:
    """The promises that were not kept."""
    speaker = found["speaker"]
    lost = speaker["chunks"] - speaker["frames"]
    return [
        *([f"stages died: {found['stages_that_died']}"] if found["stages_that_died"] else []),
        *(["an exception reached the log"] if found["exceptions_logged"] else []),
        *(["the speaker was disconnected"] if speaker["disconnected"] else []),
        *([f"the speaker lost {lost} frames"] if lost > 2 + LOST_SHARE * speaker["chunks"] else []),
    ]


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    found = run(given.messages, given.seed)
    found["broken"] = broken(found)
    sys.stdout.write(json.dumps(found, indent=1) + "\n")
    return 1 if found["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
