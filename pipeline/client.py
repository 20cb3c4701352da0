"""The Python client of a running pipeline, used by render, bench and tests as well.

async with LipSync("ws://127.0.0.1:8080/ws") as face:
    async for frame in face.stream(chunks):      # chunks: float32 or int16 [960] each, 40 ms
        show(frame.image, at=frame.meta.audio_ms)

One window, one frame, without a stream's bookkeeping: `await face.request(window, frame_id=0)`.
"""

import asyncio
import base64
import binascii
import ssl
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

import msgspec
import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from pipeline.audio import (
    CHUNK_MS,
    CHUNK_SAMPLES,
    LIVE_FRAME_IDS,
    WINDOW_SAMPLES,
    ChunkSamples,
    Samples,
    int16_from_samples,
)
from pipeline.protocol import binary, live
from pipeline.protocol.binary import BinaryType
from pipeline.protocol.errors import ErrorCode, Failure, ProtocolError
from pipeline.protocol.jsonform import GENERATE_FRAME, FrameResponse
from pipeline.protocol.live import FrameMeta, ModelSwitched, StreamStarted, StreamStopped
from pipeline.protocol.requests import PROTOCOL_VERSION, Pace, Processing, ReplyForm, View, VoiceActivity

LOSSLESS_IN_FLIGHT: Final = 4  # keeps all stages busy, stays far inside every ring
_FRAMES_KEPT: Final = 16  # of a live stream that is received faster than it is read; beyond it the oldest goes
_ANSWER_S: Final = 15.0  # the server gives up after ten; beyond this it is gone
_LAST_FRAME_S: Final = 1.0  # after the last live chunk: the server's deadline, twice
_ANSWER_ACTIONS: Final = ("stream_started", "stream_stopped", "model_switched", "models")


class ServerError(Exception):
    """The server said no.

    Attributes:
        code: what went wrong, for programs: an `ErrorCode`, or the text of one that this client does not know yet.
        chunk: which chunk of a stream it is about, if any.
    """

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        known = failure.error in ErrorCode.__members__.values()
        self.code = ErrorCode(failure.error) if known else failure.error
        self.chunk = failure.chunk


class ServerGoneError(Exception):
    """The connection ended, or no answer came."""


@dataclass(frozen=True, slots=True)
class LiveFrame:
    """One frame of a stream: where it belongs in the sound, and the encoded picture.

    `image` is the whole frame, or the mouth that belongs at `meta.box` where the stream's view is `patch`.
    """

    meta: FrameMeta
    image: bytes


@dataclass(frozen=True, slots=True)
class BaseFrame:
    """A frame of `speaker` without a painted mouth, for a stream whose view is `patch`: number `index` of its loop."""

    speaker: str
    index: int
    image: bytes


@dataclass(frozen=True, slots=True)
class Answer:
    """The frame for one window. What follows `image` only the JSON form tells."""

    frame_id: int
    image: bytes
    processing_ms: float | None = None
    inferences: int | None = None
    articulation: dict[str, float] = field(default_factory=dict)


class LipSync:
    """One connection, with a live stream on it.

    Args:
        url: of the WebSocket, ws://HOST:PORT/ws.
        speaker: whose face; None leaves the choice to the server.
        pace: LIVE drops what is late; LOSSLESS paints every chunk, and `stream` then waits for the server instead.
        view: whole frames, or mouth patches over base frames.
        name: under which others can watch the session.
        processing: what is done to the sound first; None leaves it to the server.
        voice_activity: how silence is told from a voice; None leaves it to the server.
        tls: for wss://, other than Python's default.

    Attributes:
        started: what the server said of the stream: lookahead, size, channels.
        skipped: frames of a live stream that were received and not read in time.

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
        processing: Sequence[Processing] | None = None,
        voice_activity: VoiceActivity | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._url = url
        self._tls = tls
        self._speaker = speaker
        self._start = {
            "action": "start_stream",
            "version": PROTOCOL_VERSION,
            "speaker": speaker,
            "pace": pace.value,
            "view": view.value,
            "name": name,
            "processing": processing,
            "voice_activity": voice_activity,
        }
        self._pace = pace
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None
        self._inbox = _Inbox(_FRAMES_KEPT if pace is Pace.LIVE else None)
        self._answer: asyncio.Future[str | bytes] | None = None
        self._asking = asyncio.Lock()
        self._gone: ServerGoneError | None = None
        self._next_chunk = 0
        self.started: StreamStarted | None = None

    @property
    def skipped(self) -> int:
        return self._inbox.skipped

    async def __aenter__(self) -> Self:
        try:
            self._socket = await connect(self._url, max_size=None, compression=None, ssl=self._tls)
        except (OSError, WebSocketException, TimeoutError) as error:
            raise ServerGoneError(f"{self._url}: {error}") from error
        self._reader = asyncio.create_task(self._read(self._socket))
        try:
            self.started = await self._control(self._start, StreamStarted)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        if self._socket is not None:
            await self._socket.close()
        if self._reader is not None:
            await self._reader

    # ---- the stream -------------------------------------------------------------------------------------------------

    async def stream(self, chunks: Iterable[ChunkSamples] | AsyncIterable[ChunkSamples]) -> AsyncIterator[LiveFrame]:
        """Send `chunks` and yield their frames in order.

        With LOSSLESS pace every chunk has its frame, and sending waits for frames. With LIVE pace an iterable is sent
        at 25 chunks a second, an async iterable as its chunks come; what the server dropped is missing.
        Base frames of the `patch` view are not yielded: use `send_chunk` and `receive` for it.

        Raises:
            ServerError: a chunk of a lossless stream got no frame, or the server refused something.
            ServerGoneError: the connection ended, or no frame came.
        """
        in_flight = asyncio.Semaphore(LOSSLESS_IN_FLIGHT)

        async def send_all() -> None:
            async for samples in self._paced(chunks):
                if self._pace is Pace.LOSSLESS:
                    await in_flight.acquire()
                await self.send_chunk(samples)

        received = self._next_chunk - 1
        sender = asyncio.create_task(send_all())
        receiver: asyncio.Task[LiveFrame | BaseFrame] | None = None
        try:
            while not (sender.done() and received >= self._next_chunk - 1):
                receiver = receiver or asyncio.create_task(self.receive())
                sending = not sender.done()
                live_end = not sending and self._pace is Pace.LIVE
                patience = _LAST_FRAME_S if live_end else None if self._waits_for_chunks(received) else _ANSWER_S
                waiting = {receiver, sender} if sending else {receiver}
                done, _ = await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                if not done and live_end:
                    break
                if not done:
                    raise ServerGoneError(f"{self._url}: no frame within {_ANSWER_S:.0f} s")
                if sender in done:
                    sender.result()  # raises what the chunks' source raised
                if receiver in done:
                    frame = receiver.result()
                    receiver = None
                    if isinstance(frame, LiveFrame):
                        received = frame.meta.chunk
                        in_flight.release()
                        yield frame
        finally:
            for task in (sender, receiver):
                if task is not None and not task.cancel() and not task.cancelled():
                    task.exception()  # another one was raised: this one is seen

    def _waits_for_chunks(self, received: int) -> bool:
        """Nothing is owed: the source may take its time for the next chunk."""
        return received >= self._next_chunk - 1

    async def _paced(self, chunks: Iterable[ChunkSamples] | AsyncIterable[ChunkSamples]) -> AsyncIterator[ChunkSamples]:
        if isinstance(chunks, AsyncIterable):
            async for samples in chunks:
                yield samples
            return
        clock = asyncio.get_running_loop().time
        began = clock()
        for number, samples in enumerate(chunks):
            if self._pace is Pace.LIVE:
                await asyncio.sleep(max(0.0, began + number * CHUNK_MS / 1000 - clock()))
            yield samples

    async def send_chunk(self, samples: ChunkSamples) -> int:
        """Send the next 40 ms, float32 or int16 [960]; returns the chunk's number.

        Raises:
            ValueError: of another length, or neither float nor int16.
            ServerGoneError: the connection ended.
        """
        raw = _chunk_bytes(samples)
        chunk = self._next_chunk
        self._next_chunk += 1
        await self._send(binary.encode(BinaryType.AUDIO_CHUNK, chunk % LIVE_FRAME_IDS, raw))
        return chunk

    async def send_far_end(self, samples: ChunkSamples) -> None:
        """Send the next 40 ms, float32 or int16 [960], of what is played where the microphone is, before the chunk that
        may hold its echo. For a stream whose `processing` has ECHO.

        Raises:
            ValueError: of another length, or neither float nor int16.
            ServerGoneError: the connection ended.
        """
        await self._send(binary.encode(BinaryType.FAR_END, 0, _chunk_bytes(samples)))

    async def receive(self) -> LiveFrame | BaseFrame:
        """The next frame.

        Raises:
            ServerError: a chunk got no frame, or the server refused something.
            ServerGoneError: the connection ended.
        """
        return await self._inbox.get()

    async def stop(self) -> StreamStopped:
        """End the stream; returns what became of its chunks. The connection stays open for requests."""
        stopped: StreamStopped = await self._control({"action": "stop_stream"}, StreamStopped)
        return stopped

    async def switch(self, speaker: str) -> ModelSwitched:
        """Let another speaker speak; returns once it is ready. Until then the old one does."""
        switched: ModelSwitched = await self._control({"action": "switch_model", "speaker": speaker}, ModelSwitched)
        return switched

    # ---- requests ---------------------------------------------------------------------------------------------------

    async def request(self, window: Samples, frame_id: int = 0, *, form: ReplyForm = ReplyForm.BINARY) -> Answer:
        """One frame for one window, float32 [15360]; one request is in flight at a time.

        Args:
            form: BINARY is the smaller and quicker; JSON tells more, and honours `speaker`.

        Raises:
            ValueError: the window has another length.
            ServerError: the server refuses, or is too busy.
            ServerGoneError: the connection ended, or no answer came.
        """
        if window.shape != (WINDOW_SAMPLES,):
            raise ValueError(f"a window has {WINDOW_SAMPLES} samples, this one {window.shape}")
        raw = window.astype("<f4").tobytes()
        if form is ReplyForm.BINARY:
            answer = await self._ask(binary.encode(BinaryType.AUDIO_REQUEST, frame_id, raw))
            if isinstance(answer, str):
                raise ServerError(_read_failure(answer))
            message = binary.decode(answer)
            return Answer(message.frame_id, bytes(message.payload))
        question = {
            "action": GENERATE_FRAME,
            "frame_id": frame_id,
            "audio_data": base64.b64encode(raw).decode("ascii"),
            "use_real_audio": True,
            "speaker": self._speaker,
        }
        response: FrameResponse = await self._control(question, FrameResponse)
        try:
            image = base64.b64decode(response.frame_data, validate=True)
        except binascii.Error as error:
            raise ProtocolError(ErrorCode.INVALID_BASE64, f"the server's frame_data: {error}", frame_id) from None
        return Answer(
            response.frame_id, image, response.processing_time, response.inference_count, response.articulation
        )

    # ---- the connection ---------------------------------------------------------------------------------------------

    async def _control(self, question: dict[str, Any], kind: type[Any]) -> Any:
        answer = await self._ask(msgspec.json.encode(question).decode())
        if isinstance(answer, bytes) or not msgspec.json.decode(answer).get("success", False):
            raise ServerError(_read_failure(answer))
        return msgspec.json.decode(answer, type=kind)

    async def _ask(self, question: str | bytes) -> str | bytes:
        async with self._asking:
            self._answer = asyncio.get_running_loop().create_future()
            try:
                await self._send(question)
                return await asyncio.wait_for(self._answer, _ANSWER_S)
            except TimeoutError as error:
                raise ServerGoneError(f"{self._url}: no answer within {_ANSWER_S:.0f} s") from error
            finally:
                self._answer = None

    async def _send(self, message: str | bytes) -> None:
        if self._socket is None:
            raise ServerGoneError("not connected: use `async with`")
        if self._gone is not None:
            raise self._gone
        try:
            await self._socket.send(message)
        except ConnectionClosed as error:
            raise ServerGoneError(f"{self._url}: {error}") from error

    async def _read(self, socket: ClientConnection) -> None:
        """Hand out what comes, until the connection ends."""
        try:
            async for message in socket:
                try:
                    self._take(message)
                except (ProtocolError, msgspec.MsgspecError) as error:
                    self._inbox.put(error)
        except ConnectionClosed:
            pass  # `async for` swallows the orderly ones itself
        words = f": {socket.close_reason}" if socket.close_reason else ""
        self._gone = ServerGoneError(f"{self._url}: the connection ended with code {socket.close_code}{words}")
        self._inbox.close(self._gone)
        self._settle(error=self._gone)

    def _take(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self._take_text(message)
            return
        kind, _, payload = binary.decode(message)
        if kind is BinaryType.BASE_FRAME:
            base, image = live.decode_base_payload(payload)
            self._inbox.put(BaseFrame(base.speaker, base.base, bytes(image)))
        elif kind is BinaryType.FRAME_RESPONSE:
            self._settle(message)
        else:
            meta, image = live.decode_frame_payload(payload)
            self._inbox.put(LiveFrame(meta, bytes(image)))

    def _take_text(self, text: str) -> None:
        head = msgspec.json.decode(text, type=_TextHead)
        if head.success:
            if head.frame_data is not None or head.action in _ANSWER_ACTIONS:
                self._settle(text)
        elif head.chunk is None and self._answer is not None:
            self._settle(text)
        elif self._pace is Pace.LOSSLESS or head.chunk is None:
            self._inbox.put(ServerError(_read_failure(text)))
        else:  # of a live stream's chunk: told once, not for each of 25 a second
            self._inbox.put_once(ServerError(_read_failure(text)))

    def _settle(self, answer: str | bytes = "", error: Exception | None = None) -> None:
        if self._answer is None or self._answer.done():
            return
        if error is None:
            self._answer.set_result(answer)
        else:
            self._answer.set_exception(error)


class _TextHead(msgspec.Struct):
    success: bool = False
    action: str | None = None
    chunk: int | None = None
    frame_data: str | None = None


class _Inbox:
    """What has come and is not read yet. With a limit, newer live frames replace the oldest; nothing else is lost."""

    def __init__(self, frame_limit: int | None) -> None:
        self._limit = frame_limit
        self._waiting: deque[LiveFrame | BaseFrame | Exception] = deque()
        self._frames = 0
        self._end: Exception | None = None
        self._filled = asyncio.Event()
        self.skipped = 0

    def put(self, item: LiveFrame | BaseFrame | Exception) -> None:
        if isinstance(item, LiveFrame):
            if self._frames == self._limit:
                self._waiting.remove(next(kept for kept in self._waiting if isinstance(kept, LiveFrame)))
                self._frames -= 1
                self.skipped += 1
            self._frames += 1
        self._waiting.append(item)
        self._filled.set()

    def put_once(self, error: Exception) -> None:
        """Unless an error waits to be read already."""
        if not any(isinstance(item, Exception) for item in self._waiting):
            self.put(error)

    def close(self, error: Exception) -> None:
        """After what waits, every `get` raises `error`."""
        self._end = error
        self._filled.set()

    async def get(self) -> LiveFrame | BaseFrame:
        while not self._waiting:
            if self._end is not None:
                raise self._end
            self._filled.clear()
            await self._filled.wait()
        item = self._waiting.popleft()
        if isinstance(item, Exception):
            raise item
        if isinstance(item, LiveFrame):
            self._frames -= 1
        return item


def _chunk_bytes(samples: ChunkSamples) -> bytes:
    """int16 of 40 ms. Raises ValueError of another length or kind of number."""
    if samples.shape != (CHUNK_SAMPLES,):
        raise ValueError(f"a chunk has {CHUNK_SAMPLES} samples, this one {samples.shape}")
    if samples.dtype == np.dtype("<i2"):
        return samples.tobytes()
    if samples.dtype.kind != "f":
        raise ValueError(f"samples are float32 in [-1, 1] or little-endian int16, these are {samples.dtype}")
    return int16_from_samples(samples.astype(np.float32, copy=False))


def _read_failure(answer: str | bytes) -> Failure:
    if isinstance(answer, bytes):
        raise ProtocolError(ErrorCode.INVALID_TYPE, "the server answered a text message with a binary one")
    return msgspec.json.decode(answer, type=Failure)
