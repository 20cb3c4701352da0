"""Edge: clients on one side, the pipeline on the other.

Receives WebSocket messages and sends Chunk, Upload, Lookup, Close; receives Frame and Failed and answers whoever waits.
Every request is answered by its deadline, whatever became of it. Serves the page and /healthz on the same port.
"""

import asyncio
import logging
import time
import zlib
from collections.abc import Coroutine
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
import structlog
import zmq
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request as HttpRequest
from websockets.http11 import Response

from pipeline.audio import int16_from_samples
from pipeline.httpserve import StaticFiles, respond
from pipeline.messages import VIEW_FULL, Chunk, Close, Failed, FarEnd, Frame, Lookup, Message, Prepare, Route, Upload
from pipeline.protocol import binary, jsonform, live
from pipeline.protocol.binary import MAX_FRAME_ID, BinaryType
from pipeline.protocol.errors import ErrorCode, ProtocolError, encode_failure
from pipeline.protocol.live import BaseMeta
from pipeline.protocol.requests import (
    PROTOCOL_VERSION,
    AudioChunk,
    FarEndChunk,
    FeatureRequest,
    Hearing,
    ListModels,
    Pace,
    Processing,
    ReplyForm,
    Request,
    StartStream,
    StopStream,
    SubscribeStats,
    SwitchModel,
    View,
    VoiceActivity,
    WatchSession,
    WindowRequest,
)
from pipeline.runtime import StageContext, StageError, stage_process
from stages import answers, doors, tuning
from stages.answers import NS_PER_MS, NS_PER_S
from stages.catalogue import Catalogue
from stages.client import Client, Pending
from stages.doors import Allowance
from stages.hearing import processing, voice
from stages.observer import Observer
from stages.streams import Stream
from stages.tuning import Tuner

_SWEEP_S: Final = 0.05
_STATS_EVERY_S: Final = 1.0
_PING_S: Final = 20.0  # a peer that has vanished is noticed within two of these
_GOING_AWAY: Final = 1001
_LOSSLESS_WAITING: Final = 16  # chunks of one lossless stream that may be in the stages at once
_LOSSLESS_PATIENCE: Final = 20  # deadlines: a file's next frame is worth waiting for, through a stage's restart as well
_POLICY: Final = 1008
_NO_WINDOW: Final = -1  # the sequence of what is no window of its session
_LOAD_S: Final = 30  # a speaker that takes longer to load is given up
WEBCLIENT_DIR: Final = Path(__file__).resolve().parent.parent / "webclient"

log = structlog.get_logger()


class Edge:
    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._settings = context.config.pipeline
        self.limits = context.config.limits
        self._uploads = context.writer("uploads")
        self._failure: Exception | None = None
        self._observer = Observer(context)
        self._pending: dict[tuple[str, int], Pending] = {}
        self._streams: dict[str, Stream] = {}
        self._clients: set[Client] = set()
        self._files = StaticFiles(WEBCLIENT_DIR)
        self._speakers = Catalogue(context)
        self._tuner = Tuner(context.config.tuning)
        self._newcomers = Allowance(self.limits.connections_per_s)
        self._draining = False

    # ---- the process --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until SIGTERM, then drain."""
        async with serve(
            self._converse,
            self._context.access.host,
            self._context.access.port,
            ssl=self._context.access.tls(),
            process_request=self._answer_http,
            open_timeout=self.limits.handshake_s,
            max_size=self.limits.message_bytes,
            compression=None,  # JPEG does not shrink, and the time is better spent elsewhere
            ping_interval=_PING_S,
            ping_timeout=_PING_S,
            server_header="lipwire",
        ) as server:
            self._context.ready(f"listening on {self._context.access.address}")
            tasks = [asyncio.create_task(task) for task in (self._sweep(), self._every_second())]
            # ZeroMQ's own descriptor instead of zmq.asyncio, whose futures and tasks cost more than the work.
            inlet = int(self._context.inlet.pull.getsockopt(zmq.FD))
            asyncio.get_running_loop().add_reader(inlet, self._receive)
            while not self._context.stopping:
                self._context.beat()
                for task in tasks:
                    if task.done():
                        task.result()
                if self._failure is not None:
                    raise self._failure
                await asyncio.sleep(_SWEEP_S)
            await self._drain(server)
            asyncio.get_running_loop().remove_reader(inlet)
            for task in tasks:
                task.cancel()

    async def _drain(self, server: Server) -> None:
        self._draining = True
        deadline = time.monotonic() + self._settings.drain_s
        in_flight = True
        while in_flight and time.monotonic() < deadline:
            await asyncio.sleep(_SWEEP_S)
            in_flight = bool(self._pending) or any(stream.waiting for stream in self._streams.values())
        for client in list(self._clients):
            await client.connection.close(_GOING_AWAY, "the server is shutting down")
        server.close()

    # ---- HTTP ---------------------------------------------------------------------------------------------------

    def _answer_http(self, _connection: ServerConnection, request: HttpRequest) -> Response | None:
        """None lets the WebSocket handshake go on."""
        path = urlsplit(request.path).path
        if not doors.wants_websocket(request):
            return self._health(request) if path == "/healthz" else self._files.get(path)
        if self._draining or len(self._clients) >= self.limits.connections:
            return doors.full()
        if not self._newcomers.take():
            return doors.too_fast()
        return doors.refusal(request, self._context.access.token, self._context.config.doors.origins)

    def _health(self, request: HttpRequest) -> Response:
        health = self._observer.health()
        health["ready"] = health["ready"] and not self._draining
        health |= {"sessions": len(self._streams), "connections": len(self._clients), "tuning": self._tuner.level}
        if not doors.offers_token(request, self._context.access.token):
            health = {"ready": health["ready"], "down": health["down"]}  # what a stranger's monitor needs, no more
        body = msgspec.json.encode(health)
        status = HTTPStatus.OK if health["ready"] else HTTPStatus.SERVICE_UNAVAILABLE
        return respond(status, "application/json", body)

    # ---- one client ---------------------------------------------------------------------------------------------

    async def _converse(self, connection: ServerConnection) -> None:
        client = Client(connection, self.limits)
        self._clients.add(client)
        writer = asyncio.create_task(self._write(client))
        try:
            async for message in connection:
                client.heard_at = time.monotonic()
                self._take(client, message)
        except ConnectionClosed:
            pass
        finally:
            writer.cancel()
            self._clients.discard(client)
            self._leave(client)

    async def _write(self, client: Client) -> None:
        try:
            while True:
                await client.connection.send(await client.queue.get())
        except ConnectionClosed:
            return

    def _take(self, client: Client, message: str | bytes) -> None:
        try:
            # Before it is decoded: what is malformed counts like the rest, and a flood costs no decoding.
            if not self._paced_by_answers(client, message) and not client.messages.take():
                raise ProtocolError(
                    ErrorCode.RATE_LIMITED,
                    f"at most {self.limits.requests_per_s} messages a second and connection",
                )
            self._handle(client, self._decode(client, message))
        except ProtocolError as error:
            client.queue.put_answer(encode_failure(error))

    def _paced_by_answers(self, client: Client, message: str | bytes) -> bool:
        """A lossless stream may go as fast as its frames come back."""
        stream = client.stream
        if stream is None or stream.pace is not Pace.LOSSLESS:
            return False
        if isinstance(message, str) or binary.type_of(message) != BinaryType.AUDIO_CHUNK:
            return False
        return stream.waiting < _LOSSLESS_WAITING

    def _decode(self, client: Client, message: str | bytes) -> Request:
        if isinstance(message, str):
            return jsonform.decode(message)
        return live.decode_binary(binary.decode(message), streaming=client.stream is not None)

    def _handle(self, client: Client, request: Request) -> None:
        match request:
            case AudioChunk():
                self._take_chunk(client, request)
            case FarEndChunk():
                self._take_far_end(client, request)
            case WindowRequest() | FeatureRequest():
                self._take_request(client, request)
            case StartStream():
                self._start_stream(client, request)
            case StopStream():
                if client.stream is None:
                    raise ProtocolError(ErrorCode.NOT_NEGOTIATED, "no stream of this connection runs")
                self._stop_stream(client)
            case WatchSession():
                self._watch(client, request)
            case SwitchModel():
                self._switch(client, request)
            case ListModels():
                self._speakers.look_again()
                client.queue.put_answer(jsonform.encode(answers.models(self._speakers.all, self._settings.speaker)))
            case SubscribeStats():
                client.wants_stats = request.enabled

    # ---- requests: one question, one answer -----------------------------------------------------------------------

    def _take_request(self, client: Client, request: WindowRequest | FeatureRequest) -> None:
        speaker = self._speakers.name(request.speaker, request.frame_id)
        now = time.monotonic_ns()
        sequence = client.next_request
        client.next_request += 1
        route = Route(
            session=client.id,
            mark=_mark_of(request, speaker),
            sequence=sequence,
            frame_id=request.frame_id,
            speaker=speaker,
            live=False,
            views=VIEW_FULL,
            born_ns=now,
            deadline_ns=now + self._settings.deadline_ms * NS_PER_MS,
            sent_ns=now,
        )
        self._pending[client.id, sequence] = Pending(client, request.form, request.frame_id, now, route.deadline_ns)
        if isinstance(request, FeatureRequest):
            sent = self._context.outlets["chunks"].send(Lookup(route))
        else:
            slot = self._uploads.write(request.samples.data)
            sent = self._context.outlets["chunks"].send(Upload(route, slot))
        if not sent:
            del self._pending[client.id, sequence]
            raise ProtocolError(ErrorCode.UNAVAILABLE, "the ingest stage is restarting; try again", request.frame_id)

    def _answer(self, pending: Pending, frame: Frame) -> None:
        if frame.full is None:
            return
        image = self._context.read(frame.full)
        if pending.form is ReplyForm.BINARY:
            pending.client.queue.put_answer(binary.encode(BinaryType.FRAME_RESPONSE, pending.frame_id, image))
            return
        speaker = self._speakers[frame.route.speaker]
        response = answers.frame_response(frame, pending.frame_id, pending.born_ns, image, speaker)
        pending.client.queue.put_answer(jsonform.encode(response))

    # ---- the live stream ------------------------------------------------------------------------------------------

    def _start_stream(self, client: Client, request: StartStream) -> None:
        self._check_version(request.version)
        speaker = self._speakers.name_of_one_that_hears(request.speaker)
        if len(self._streams) >= self.limits.sessions:
            raise ProtocolError(ErrorCode.TOO_MANY_SESSIONS, f"{self.limits.sessions} sessions run; try again later")
        self._stop_stream(client, tell=False)
        stream = Stream(speaker, request.pace, self._how_to_hear(request), request.name)
        client.stream, client.wanted_view = stream, request.view
        client.choose_view(patches=self._tuner.level >= tuning.PATCHES)
        stream.viewers.append(client)
        self._streams[stream.session] = stream
        client.queue.put_answer(jsonform.encode(answers.stream_started(stream, self._speakers[stream.speaker])))

    def _how_to_hear(self, request: StartStream) -> Hearing:
        sound = self._context.config.sound
        threshold = self._settings.silence_threshold if request.silence_threshold is None else request.silence_threshold
        wanted = sound.processing if request.processing is None else request.processing
        if wanted and not processing.is_available():
            raise ProtocolError(ErrorCode.INVALID_REQUEST, processing.MISSING)
        steps = tuple(step for step in Processing if step in wanted)
        activity = request.voice_activity or sound.voice_activity
        return Hearing(threshold, steps, activity if voice.has_detector() else VoiceActivity.LEVEL)

    def _stop_stream(self, client: Client, *, tell: bool = True) -> None:
        stream = client.stream
        if stream is None:
            return
        client.stream = None
        self._streams.pop(stream.session, None)
        now = time.monotonic_ns()
        self._context.outlets["chunks"].send_to_all(Close(stream.route(stream.next_chunk, 0, now, now)))
        stopped = jsonform.encode(answers.stream_stopped(stream))
        for viewer in stream.viewers:
            assert isinstance(viewer, Client)
            if tell or viewer is not client:
                viewer.queue.put_answer(stopped)
            if viewer.watching is stream:
                viewer.watching, viewer.wants_sound = None, False

    def _take_chunk(self, client: Client, chunk: AudioChunk) -> None:
        stream = client.stream
        assert stream is not None  # the decoder lets no chunk pass before start_stream
        now = time.monotonic_ns()
        patience = _LOSSLESS_PATIENCE if stream.pace is Pace.LOSSLESS else 1
        deadline_ns = now + patience * self._settings.deadline_ms * NS_PER_MS
        live_pace = stream.pace is Pace.LIVE
        skipped = live_pace and stream.next_chunk % self._tuner.chunks_a_frame != 0
        number = stream.skip() if skipped else stream.sent(now, deadline_ns)
        views = 0 if skipped else stream.views
        route = stream.route(number, chunk.frame_id, now, deadline_ns, tuning=self._tuner.level, views=views)
        self._pass_sound(stream, number, chunk)
        message = Chunk(route, chunk.samples.tobytes(), stream.hearing)
        if not self._context.outlets["chunks"].send(message) and not skipped:
            self._chunk_failed(stream, number, ErrorCode.UNAVAILABLE, "the ingest stage is restarting")

    @staticmethod
    def _pass_sound(stream: Stream, number: int, chunk: AudioChunk) -> None:
        """To those who watch and want it. As an answer: a recording has no holes, and who cannot follow is cut off."""
        listeners = [viewer for viewer in stream.viewers if isinstance(viewer, Client) and viewer.wants_sound]
        if listeners:
            message = binary.encode(BinaryType.SOUND, number & MAX_FRAME_ID, int16_from_samples(chunk.samples))
            for listener in listeners:
                listener.queue.put_answer(message)

    def _take_far_end(self, client: Client, chunk: FarEndChunk) -> None:
        """Best effort: without it an echo is left in, and no frame is lost."""
        stream = client.stream
        assert stream is not None  # as above
        if Processing.ECHO not in stream.hearing.processing:
            raise ProtocolError(ErrorCode.INVALID_REQUEST, 'far-end sound is for streams whose processing has "echo"')
        now = time.monotonic_ns()
        route = stream.route(stream.next_chunk, 0, now, now)
        self._context.outlets["chunks"].send(FarEnd(route, chunk.samples.tobytes()))

    def _chunk_failed(self, stream: Stream, chunk: int, code: ErrorCode, message: str) -> None:
        """A live client learns of it from the next frame's count; a lossless one waits for it, so it is told."""
        stream.failed(chunk)
        if self._has_pace(stream):
            self._tuner.missed(1)
        if stream.pace is Pace.LOSSLESS or code is ErrorCode.UNKNOWN_SPEAKER:
            for viewer in stream.viewers:
                assert isinstance(viewer, Client)
                viewer.queue.put_answer(encode_failure(ProtocolError(code, message), chunk))

    def _show(self, stream: Stream, frame: Frame) -> None:
        dropped_before = stream.dropped
        if not stream.painted(frame.route.sequence):
            return
        if self._has_pace(stream):
            self._tuner.missed(stream.dropped - dropped_before)
            self._tuner.left((time.monotonic_ns() - frame.route.born_ns) / NS_PER_MS)
        speaker = self._speakers[frame.route.speaker]
        for viewer in stream.viewers:
            assert isinstance(viewer, Client)
            slot = frame.full if viewer.view is View.FULL else frame.patch
            if slot is None:
                continue  # it began to watch after this chunk had left
            meta = live.image_head(answers.frame_meta(stream, frame, viewer.view, speaker))
            kind = BinaryType.LIVE_FRAME if viewer.view is View.FULL else BinaryType.MOUTH_PATCH
            if viewer.view is View.PATCH:
                self._send_base_once(viewer, frame)
            message = binary.encode(kind, frame.route.frame_id, meta, self._context.read(slot))
            if stream.pace is Pace.LOSSLESS:
                viewer.queue.put_answer(message)
            else:
                viewer.queue.put_frame(message)

    def _has_pace(self, stream: Stream) -> bool:
        """Whether 25 frames a second are promised: of live streams, by speakers that a processor can paint so fast."""
        return stream.pace is Pace.LIVE and self._speakers[stream.speaker].manifest.image is None

    def _send_base_once(self, viewer: Client, frame: Frame) -> None:
        key = (frame.route.speaker, frame.base)
        if key not in viewer.bases_sent:
            viewer.bases_sent.add(key)
            jpeg = self._speakers[frame.route.speaker].base_jpeg(frame.base)
            head = live.image_head(BaseMeta(speaker=frame.route.speaker, base=frame.base))
            viewer.queue.put_answer(binary.encode(BinaryType.BASE_FRAME, frame.base, head, jpeg))

    def _watch(self, client: Client, request: WatchSession) -> None:
        self._check_version(request.version)
        stream = next((s for s in self._streams.values() if s.name == request.name), None)
        if stream is None:
            raise ProtocolError(
                ErrorCode.UNKNOWN_SESSION, f"no session is named {request.name[:64]!r} now; try again later"
            )
        self._unwatch(client)
        client.wanted_view, client.watching, client.wants_sound = request.view, stream, request.sound
        client.choose_view(patches=self._tuner.level >= tuning.PATCHES)
        if client not in stream.viewers:
            stream.viewers.append(client)
        client.queue.put_answer(jsonform.encode(answers.stream_started(stream, self._speakers[stream.speaker])))

    def _unwatch(self, client: Client) -> None:
        if client.watching is not None and client in client.watching.viewers:
            client.watching.viewers.remove(client)
        client.watching, client.wants_sound = None, False

    def _leave(self, client: Client) -> None:
        self._unwatch(client)
        self._stop_stream(client, tell=False)

    # ---- speakers -------------------------------------------------------------------------------------------------

    def _check_version(self, version: int) -> None:
        if version != PROTOCOL_VERSION:
            raise ProtocolError(
                ErrorCode.UNSUPPORTED_VERSION, f"this server speaks version {PROTOCOL_VERSION}, not {version}"
            )

    def _switch(self, client: Client, request: SwitchModel) -> None:
        name = self._speakers.name_of_one_that_hears(request.speaker)
        if client.stream is None:
            raise ProtocolError(ErrorCode.NOT_NEGOTIATED, "send start_stream before switch_model")
        stream = client.stream
        now = time.monotonic_ns()
        deadline_ns = now + _LOAD_S * NS_PER_S
        route = Route(stream.session, f"speaker-{name}", _NO_WINDOW, 0, name, False, 0, now, deadline_ns, now)
        stream.next_speaker = name
        if not self._context.outlets["chunks"].send(Prepare(route)):
            self._not_switched(stream, ErrorCode.UNAVAILABLE, "the ingest stage is restarting; try again")

    def _switched(self, stream: Stream, name: str) -> None:
        """All stages have it: from the next chunk on it speaks."""
        if stream.next_speaker != name:
            return  # another was asked for meanwhile
        stream.speaker, stream.next_speaker = name, None
        self._tell_owner(stream, jsonform.encode(answers.model_switched(stream, self._speakers[name])))

    def _not_switched(self, stream: Stream, code: ErrorCode, message: str) -> None:
        stream.next_speaker = None
        self._tell_owner(stream, encode_failure(ProtocolError(code, f"still {stream.speaker}: {message}")))

    @staticmethod
    def _tell_owner(stream: Stream, answer: str) -> None:
        """Those who only watch see it from the frames."""
        for viewer in stream.viewers:
            assert isinstance(viewer, Client)
            if viewer.stream is stream:
                viewer.queue.put_answer(answer)

    # ---- what comes back ------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        """Everything that has arrived: ZeroMQ tells of it once, and again only after all was taken."""
        started_ns = time.monotonic_ns()
        try:
            batch = self._context.inlet.take()
            for message in batch:
                if isinstance(message, Frame | Failed | Prepare):
                    self._deliver(message)
        except Exception as error:
            log.exception("frames could not be delivered")
            self._failure = error  # asyncio would go on without those that were taken; run() ends with it
            return
        self._context.probe((m.route for m in batch if isinstance(m, Frame)), started_ns)

    def _deliver(self, message: Frame | Failed | Prepare) -> None:
        route = message.route
        if isinstance(message, Prepare) or route.sequence == _NO_WINDOW:
            self._prepared(message)
            return
        pending = self._pending.pop((route.session, route.sequence), None)
        stream = self._streams.get(route.session)
        try:
            if isinstance(message, Failed):
                code, text = ErrorCode(message.error), message.message
                if pending is not None:
                    failure = ProtocolError(code, text, pending.frame_id)
                    pending.client.queue.put_answer(encode_failure(failure))
                elif stream is not None:
                    self._chunk_failed(stream, route.sequence, code, text)
            elif pending is not None:
                self._answer(pending, message)
            elif stream is not None:
                self._show(stream, message)
        except StageError as error:
            self._deliver(Failed(route, error.code.value, error.message))

    def _prepared(self, message: Message) -> None:
        stream = self._streams.get(message.route.session)
        if stream is None:
            return
        if isinstance(message, Failed):
            self._not_switched(stream, ErrorCode(message.error), message.message)
        else:
            self._switched(stream, message.route.speaker)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = time.monotonic_ns()
            for key in [key for key, pending in self._pending.items() if pending.deadline_ns < now]:
                pending = self._pending.pop(key)
                deadline = f"no frame within {self._settings.deadline_ms} ms; the server is busy or restarts a stage"
                pending.client.queue.put_answer(
                    encode_failure(ProtocolError(ErrorCode.TIMEOUT, deadline, pending.frame_id))
                )
            for stream in self._streams.values():
                for chunk in stream.expired(now):
                    self._chunk_failed(
                        stream,
                        chunk,
                        ErrorCode.TIMEOUT,
                        "no frame by the deadline; the server is busy or restarts a stage",
                    )
            self._observer.hear_status()
            for client in self._clients:
                if client.queue.overflowed:
                    self._close(client, "read the answers, or ask for less")
                elif client.idle_s() > self.limits.idle_s:
                    self._close(client, f"nothing was said for {self.limits.idle_s} s")

    def _close(self, client: Client, reason: str) -> None:
        if not client.closing:
            client.closing = True
            _spawn(client.connection.close(_POLICY, reason))

    async def _every_second(self) -> None:
        while True:
            await asyncio.sleep(_STATS_EVERY_S)
            if self._tuner.decide():
                for client in self._clients:
                    client.choose_view(patches=self._tuner.level >= tuning.PATCHES)
            listeners = [client for client in self._clients if client.wants_stats]
            if not listeners:
                continue
            text = jsonform.encode(self._observer.stats(answers.tuning(self._tuner)))
            for client in listeners:
                client.queue.put_answer(text)


def _mark_of(request: WindowRequest | FeatureRequest, speaker: str) -> str:
    """The same for the same question, whoever asks it: what a stage dies of must not come back by another one."""
    if isinstance(request, FeatureRequest):
        return f"row-{speaker}-{request.frame_id}"
    return f"window-{zlib.crc32(request.samples.data):08x}"


_tasks: set[asyncio.Task[None]] = set()


def _spawn(work: Coroutine[Any, Any, None]) -> None:
    """Run beside everything else; held, as asyncio holds tasks weakly."""
    task = asyncio.ensure_future(work)
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


def main() -> None:
    # Whoever knocks and runs away would write a traceback into our log each time.
    logging.getLogger("websockets.server").setLevel(logging.CRITICAL)
    with stage_process("edge") as context:
        asyncio.run(Edge(context).run())


if __name__ == "__main__":
    main()
