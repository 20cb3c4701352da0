"""The Python client of a running pipeline, used by render, bench and tests as well.

async with LipSync("ws://127.0.0.1:8080/ws") as face:
    async for frame in face.stream(chunks):      # chunks: float32 [960] each, 40 ms
        show(frame.image, at=frame.meta.audio_ms)
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from pipeline.audio import CHUNK_SAMPLES, LIVE_FRAME_IDS, Samples, int16_from_samples
from pipeline.protocol import binary, live
from pipeline.protocol.binary import BinaryType
from pipeline.protocol.errors import ErrorCode, Failure, ProtocolError
from pipeline.protocol.live import FrameMeta, StreamStarted
from pipeline.protocol.requests import PROTOCOL_VERSION, Pace, View

LOSSLESS_IN_FLIGHT: Final = 4  # keeps all stages busy, stays far inside every ring
_ANSWER_S: Final = 10.0  # the server answers within its deadline, half a second; beyond this it is gone


class ServerError(Exception):
    """The server said no.

    Attributes:
        code: what went wrong, for programs.
        chunk: which chunk of a stream it is about, if any.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.code = ErrorCode(failure.error)
        self.chunk = failure.chunk


class ServerGoneError(Exception):
    """The connection ended, or no answer came."""


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """One frame of a stream: where it belongs in the sound, and the encoded picture."""

    meta: FrameMeta
    image: bytes


@dataclass(frozen=True, slots=True)
class BaseFrame:
    """A frame without a painted mouth, for a stream whose view is `patch`."""

    index: int
    image: bytes


class LipSync:
    """One connection.

    Args:
        url: of the WebSocket, ws://HOST:PORT/ws.
        speaker: whose face; None leaves the choice to the server.
        pace: LIVE drops what is late; LOSSLESS paints every chunk, and `stream` then waits for the server instead.
        view: whole frames, or mouth patches over base frames.
        name: under which others can watch the session.

    Raises:
        ServerGoneError: nobody answers at the address.
        ServerError: the server refuses, for instance an unknown speaker.
    """

    def __init__(
        self,
        url: str,
        *,
        speaker: str | None = None,
        pace: Pace = Pace.LIVE,
        view: View = View.FULL,
        name: str | None = None,
    ) -> None:
        self._url = url
        self._start = {
            "action": "start_stream",
            "version": PROTOCOL_VERSION,
            "speaker": speaker,
            "pace": pace.value,
            "view": view.value,
            "name": name,
        }
        self._pace = pace
        self._socket: ClientConnection | None = None
        self.started: StreamStarted | None = None
        self._next_chunk = 0

    async def __aenter__(self) -> Self:
        try:
            self._socket = await connect(self._url, max_size=None, compression=None)
            await self._socket.send(msgspec.json.encode(self._start).decode())
            answer = await asyncio.wait_for(self._socket.recv(), _ANSWER_S)
        except (OSError, ConnectionClosed, TimeoutError) as error:
            raise ServerGoneError(f"{self._url}: {error}") from error
        self.started = _read_text(answer, StreamStarted)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._socket is not None:
            await self._socket.close()

    async def send_chunk(self, samples: Samples) -> int:
        """Send the next 40 ms, float32 [960]; returns the chunk's number.

        Raises:
            ValueError: of another length.
            ServerGoneError: the connection ended.
        """
        if samples.shape != (CHUNK_SAMPLES,):
            raise ValueError(f"a chunk has {CHUNK_SAMPLES} samples, this one {samples.shape}")
        chunk = self._next_chunk
        self._next_chunk += 1
        frame_id = chunk % LIVE_FRAME_IDS
        await self._send(binary.encode(BinaryType.AUDIO_CHUNK, frame_id, int16_from_samples(samples)))
        return chunk

    async def receive(self) -> LiveFrame | BaseFrame:
        """The next frame.

        Raises:
            ServerError: a chunk got no frame, or the server refused something.
            ServerGoneError: the connection ended.
        """
        assert self._socket is not None
        try:
            answer = await self._socket.recv()
        except ConnectionClosed as error:
            raise ServerGoneError(f"{self._url}: {error}") from error
        if isinstance(answer, str):
            raise ServerError(_read_failure(answer))
        message = binary.decode(answer)
        if message.type is BinaryType.BASE_FRAME:
            return BaseFrame(message.frame_id, bytes(message.payload))
        meta, image = live.decode_frame_payload(message.payload)
        return LiveFrame(meta, bytes(image))

    async def stream(self, chunks: Iterable[Samples]) -> AsyncIterator[LiveFrame]:
        """Send `chunks` and yield their frames in order.

        With LOSSLESS pace it sends as fast as frames come back. With LIVE pace it sends as fast as `chunks` gives
        them: pace them yourself, 25 a second.
        """
        in_flight = asyncio.Semaphore(LOSSLESS_IN_FLIGHT)

        async def send_all() -> None:
            for samples in chunks:
                if self._pace is Pace.LOSSLESS:
                    await in_flight.acquire()
                await self.send_chunk(samples)

        first = self._next_chunk
        sender = asyncio.create_task(send_all())
        received = first
        try:
            while not (sender.done() and received >= self._next_chunk):
                frame = await asyncio.wait_for(self.receive(), _ANSWER_S)
                if isinstance(frame, LiveFrame):
                    received = frame.meta.chunk + 1
                    in_flight.release()
                    yield frame
            await sender
        except TimeoutError as error:
            raise ServerGoneError(f"no frame within {_ANSWER_S} s") from error
        finally:
            sender.cancel()

    async def _send(self, message: bytes) -> None:
        assert self._socket is not None
        try:
            await self._socket.send(message)
        except ConnectionClosed as error:
            raise ServerGoneError(f"{self._url}: {error}") from error


def _read_text(answer: str | bytes, kind: type[Any]) -> Any:
    if isinstance(answer, bytes):
        raise ProtocolError(ErrorCode.INVALID_TYPE, "the server answered a control message with a binary one")
    head = msgspec.json.decode(answer)
    if not head.get("success", False):
        raise ServerError(_read_failure(answer))
    return msgspec.json.decode(answer, type=kind)


def _read_failure(answer: str) -> Failure:
    return msgspec.json.decode(answer, type=Failure)
