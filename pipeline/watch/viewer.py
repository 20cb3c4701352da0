"""A client that looks on: the frames, and if it wishes the sound, of a session that somebody else speaks.

async with Viewer("ws://127.0.0.1:8080/ws", "booth-1", sound=True) as session:
    async for item in session:                   # until the session ends
        ...                                      # a LiveFrame, or a Sound
"""

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from pipeline.audio import Samples, samples_from_int16
from pipeline.client import LiveFrame, ServerError, ServerGoneError
from pipeline.protocol import binary, live
from pipeline.protocol.binary import BinaryType
from pipeline.protocol.errors import Failure
from pipeline.protocol.live import StreamStarted
from pipeline.protocol.requests import PROTOCOL_VERSION

_STOPPED: Final = "stream_stopped"


class _TextHead(msgspec.Struct):
    success: bool = False
    action: str | None = None


@dataclass(frozen=True, slots=True)
class Sound:
    """40 ms of what the session's client sent: chunk number ``chunk``, float32 [960], from ``40 * chunk`` ms on."""

    chunk: int
    samples: Samples


class Viewer:
    """One connection that watches.

    Args:
        url: of the WebSocket.
        name: of the session.
        sound: whether its sound is wanted as well.
        tls: for wss://, other than Python's default.

    Attributes:
        started: what the server said of the stream.

    Raises:
        ServerGoneError: nobody answers at the address, or the connection ended.
        ServerError: the server refuses; UNKNOWN_SESSION where nobody speaks under that name now.
    """

    started: StreamStarted

    def __init__(self, url: str, name: str, *, sound: bool = False, tls: ssl.SSLContext | None = None) -> None:
        self._url = url
        self._tls = tls
        self._question = {"action": "watch", "version": PROTOCOL_VERSION, "name": name, "sound": sound}
        self._socket: ClientConnection | None = None

    async def __aenter__(self) -> Self:
        try:
            self._socket = await connect(self._url, max_size=None, compression=None, ssl=self._tls)
            await self._socket.send(msgspec.json.encode(self._question).decode())
            answer = await self._socket.recv()
        except (OSError, WebSocketException, TimeoutError) as error:
            await self._close()
            raise ServerGoneError(f"{self._url}: {error}") from error
        if not msgspec.json.decode(answer, type=_TextHead).success:
            await self._close()
            raise ServerError(msgspec.json.decode(answer, type=Failure))
        self.started = msgspec.json.decode(answer, type=StreamStarted)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        if self._socket is not None:
            await self._socket.close()

    async def __aiter__(self) -> AsyncIterator[LiveFrame | Sound]:
        assert self._socket is not None, "use `async with`"
        try:
            async for message in self._socket:
                if isinstance(message, str):
                    head = msgspec.json.decode(message, type=_TextHead)
                    if head.action == _STOPPED:
                        return
                    if not head.success:
                        raise ServerError(msgspec.json.decode(message, type=Failure))
                    continue
                kind, number, payload = binary.decode(message)
                if kind is BinaryType.SOUND:
                    yield Sound(number, samples_from_int16(payload))
                elif kind is BinaryType.LIVE_FRAME:
                    meta, image = live.decode_frame_payload(payload)
                    yield LiveFrame(meta, bytes(image))
        except ConnectionClosed:
            pass  # `async for` swallows the orderly ones itself
        raise ServerGoneError(f"{self._url}: the connection ended with code {self._socket.close_code}")
