"""Clients that live through faults: for chaos, soak and load. What they saw is told afterwards, second by second."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from pipeline.audio import CHUNK_MS, WINDOW_SAMPLES, Pcm16, Samples
from pipeline.client import LipSync, LiveFrame, ServerError, ServerGoneError

RETRY_S = 0.1
NS = 1e9


@dataclass
class LiveVoice:
    """A live session at 25 chunks a second that comes back when its connection ends."""

    url: str
    chunks: list[Pcm16]
    sent: int = 0
    arrivals: list[float] = field(default_factory=list)
    """time.monotonic of every frame."""
    latencies: list[float] = field(default_factory=list)
    """Seconds from chunk to frame."""
    disconnects: list[float] = field(default_factory=list)

    async def run(self, go_on: Callable[[], bool]) -> None:
        """Speak, and speak again, while ``go_on`` says so."""
        while go_on():
            try:
                async with LipSync(self.url) as face:
                    await self._speak(face, go_on)
            except (ServerGoneError, ServerError):
                if go_on():
                    self.disconnects.append(time.monotonic())
                    await asyncio.sleep(RETRY_S)

    async def _speak(self, face: LipSync, go_on: Callable[[], bool]) -> None:
        sent_at: list[float] = []
        reader = asyncio.create_task(self._listen(face, sent_at))
        began = time.monotonic()
        try:
            while go_on():
                await asyncio.sleep(max(0.0, began + len(sent_at) * CHUNK_MS / 1000 - time.monotonic()))
                sent_at.append(time.monotonic())
                self.sent += 1
                await face.send_chunk(self.chunks[self.sent % len(self.chunks)])
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _listen(self, face: LipSync, sent_at: list[float]) -> None:
        while True:
            try:
                frame = await face.receive()
            except ServerError:
                continue  # of one chunk
            if isinstance(frame, LiveFrame):
                now = time.monotonic()
                self.arrivals.append(now)
                self.latencies.append(now - sent_at[frame.meta.chunk])

    def back_after(self, fault: float, until: float) -> float:
        """Seconds from a fault to the end of the longest stillness before ``until``; 0 where nobody noticed."""
        arrivals = np.array(self.arrivals)
        inside = arrivals[(arrivals >= fault) & (arrivals < until)]
        edges = np.concatenate([[max(arrivals[arrivals < fault], default=fault)], inside, [until]])
        gaps = np.diff(edges)
        longest = int(np.argmax(gaps))
        return float(edges[longest + 1] - fault) if gaps[longest] > NOTICED_S else 0.0


NOTICED_S = 0.25
"""A picture that stands still for less is not seen to."""


@dataclass
class Asker:
    """One request after another, each with its deadline; comes back when its connection ends."""

    url: str
    every_s: float = 0.25
    answered: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    slowest_s: float = 0.0
    unanswered: int = 0
    """Without a word within ``patience_s``, on a connection that stood."""
    patience_s: float = 2.0

    async def run(self, go_on: Callable[[], bool]) -> None:
        """Ask while ``go_on`` says so."""
        window = np.zeros(WINDOW_SAMPLES, np.float32)
        window[::100] = 0.3
        while go_on():
            try:
                async with LipSync(self.url) as face:
                    while go_on():
                        await self._ask(face, window)
                        await asyncio.sleep(self.every_s)
            except (ServerGoneError, ServerError):
                await asyncio.sleep(RETRY_S)

    async def _ask(self, face: LipSync, window: Samples) -> None:
        began = time.monotonic()
        try:
            await asyncio.wait_for(face.request(window), self.patience_s)
            self.answered += 1
        except ServerError as error:
            self.refused[str(error.code)] = self.refused.get(str(error.code), 0) + 1
        except TimeoutError:
            self.unanswered += 1
            return
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
