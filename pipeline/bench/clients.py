"""The clients of a benchmark, in a process of their own: what they see is what users get.

    python -m pipeline.bench.clients live URL AUDIO --sessions 4 --seconds 20
    python -m pipeline.bench.clients requests URL AUDIO --form json --count 300

prints one JSON line, a :class:`Seen`. Latency is from the call that sends a chunk or a request to the moment its frame
has been received and read.
"""

import argparse
import asyncio
import gc
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from pipeline.audio import CHUNK_MS, CHUNK_SAMPLES, WINDOW_SAMPLES, Pcm16, Samples, int16_from_samples
from pipeline.client import LipSync, LiveFrame, ServerError
from pipeline.protocol.requests import ReplyForm, View
from pipeline.render import read_audio

SETTLE_S: Final = 2.0
"""At the start of a session that is not counted: connecting, first windows, a cold cache."""
LATE_S: Final = 1.0
"""After the last chunk: a frame that has not come by then is missing."""
NS_PER_MS: Final = 1e6


class Seen(msgspec.Struct, kw_only=True):
    """What the clients saw.

    Attributes:
        latency_ms: of every frame received, in the order of arrival.
        expected: chunks or requests sent that count.
        errors: what the server told instead of a frame, by its code.
    """

    latency_ms: list[float]
    expected: int
    errors: dict[str, int]
    began: float
    """time.monotonic() at which counting began, on the same machine's clock."""
    ended: float


class _Session:
    """One live session: sends by the clock, and notes when each chunk's frame came."""

    def __init__(self, face: LipSync, chunks: list[Pcm16]) -> None:
        self._face = face
        self._chunks = chunks
        self.sent_ns: list[int] = []
        self.latency_ns: dict[int, int] = {}
        self.errors: Counter[str] = Counter()

    async def run(self, begin: float, seconds: float) -> None:
        reader = asyncio.create_task(self._read())
        for number in range(round(seconds * 1_000 / CHUNK_MS)):
            await asyncio.sleep(begin + number * CHUNK_MS / 1_000 - time.monotonic())
            self.sent_ns.append(time.monotonic_ns())
            await self._face.send_chunk(self._chunks[number % len(self._chunks)])
        await asyncio.sleep(LATE_S)
        reader.cancel()
        await asyncio.gather(reader, return_exceptions=True)

    async def _read(self) -> None:
        while True:
            try:
                frame = await self._face.receive()
            except ServerError as error:
                self.errors[str(error.code)] += 1
                continue
            if isinstance(frame, LiveFrame):
                chunk = frame.meta.chunk
                self.latency_ns[chunk] = time.monotonic_ns() - self.sent_ns[chunk]


async def live(url: str, chunks: list[Pcm16], sessions: int, seconds: float, view: View) -> Seen:
    """``sessions`` real-time clients for ``seconds`` that count, their clocks spread evenly over one chunk."""
    settle = round(SETTLE_S * 1_000 / CHUNK_MS)
    faces = [LipSync(url, view=view) for _ in range(sessions)]
    try:
        for face in faces:
            await face.__aenter__()
        begin = time.monotonic() + 0.2
        offset = len(chunks) // sessions  # no two say the same at the same time
        running = [
            _Session(face, chunks[index * offset :] + chunks[: index * offset]) for index, face in enumerate(faces)
        ]
        starts = [begin + index * CHUNK_MS / 1_000 / sessions for index in range(sessions)]
        async with asyncio.TaskGroup() as group:
            for session, start in zip(running, starts, strict=True):
                group.create_task(session.run(start, SETTLE_S + seconds))
        errors = sum((session.errors for session in running), Counter[str]())
    finally:
        for face in faces:
            await face.__aexit__(None, None, None)
    return Seen(
        latency_ms=[
            latency / NS_PER_MS
            for session in running
            for chunk, latency in sorted(session.latency_ns.items())
            if chunk >= settle
        ],
        expected=sum(len(session.sent_ns) - settle for session in running),
        errors=dict(errors),
        began=begin + SETTLE_S,
        ended=begin + SETTLE_S + seconds,
    )


async def requests(url: str, sound: Samples, form: ReplyForm, count: int) -> Seen:
    """The original's protocol, flat out: one request after another over one connection."""
    starts = range(0, len(sound) - WINDOW_SAMPLES, CHUNK_SAMPLES)
    windows = [sound[start : start + WINDOW_SAMPLES] for start in starts]
    latency: list[float] = []
    errors: Counter[str] = Counter()
    began = 0.0
    settle = min(25, count)
    async with LipSync(url) as face:
        for number in range(settle + count):
            if number == settle:
                began = time.monotonic()
            sent = time.monotonic_ns()
            try:
                await face.request(windows[number % len(windows)], number % 500, form=form)
            except ServerError as error:
                errors[str(error.code)] += number >= settle
                continue
            if number >= settle:
                latency.append((time.monotonic_ns() - sent) / NS_PER_MS)
    return Seen(latency_ms=latency, expected=count, errors=dict(+errors), began=began, ended=time.monotonic())


def cut(sound: Samples) -> list[Pcm16]:
    """[samples] -> its whole chunks of 40 ms, as microphones and synthesised voices give them."""
    whole = len(sound) // CHUNK_SAMPLES * CHUNK_SAMPLES
    return list(np.frombuffer(int16_from_samples(sound[:whole]), "<i2").reshape(-1, CHUNK_SAMPLES))


def main() -> None:
    """Entry point of the process that :mod:`pipeline.bench` starts."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.bench.clients", description=(__doc__ or "").split("\n", 1)[0]
    )
    parser.add_argument("kind", choices=("live", "requests"))
    parser.add_argument("url")
    parser.add_argument("audio", type=Path)
    parser.add_argument("--sessions", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--view", type=View, choices=list(View), default=View.FULL)
    parser.add_argument("--form", type=ReplyForm, choices=list(ReplyForm), default=ReplyForm.JSON)
    parser.add_argument("--count", type=int, default=300)
    given = parser.parse_args()
    sound = read_audio(given.audio)
    gc.freeze()
    if given.kind == "live":
        seen = asyncio.run(live(given.url, cut(sound), given.sessions, given.seconds, given.view))
    else:
        seen = asyncio.run(requests(given.url, sound, given.form, given.count))
    sys.stdout.write(msgspec.json.encode(seen).decode() + "\n")


if __name__ == "__main__":
    main()
