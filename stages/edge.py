"""Edge: clients on one side, the pipeline on the other.

Lets connections in, reads their messages and hands each to the questions (stages/clients/questions.py: one window, one
frame) or the sessions (stages/clients/sessions.py: live streams), which send into the pipeline; hands them what comes
back from it. Serves the page and /healthz on the same port.
"""

import asyncio
import logging
import time
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

from pipeline.httpserve import StaticFiles, respond
from pipeline.messages import Failed, Frame, Prepare
from pipeline.protocol import binary, jsonform, live
from pipeline.protocol.binary import BinaryType
from pipeline.protocol.errors import ErrorCode, ProtocolError, encode_failure
from pipeline.protocol.requests import (
    AudioChunk,
    FarEndChunk,
    FeatureRequest,
    ListModels,
    Pace,
    Request,
    StartStream,
    StopStream,
    SubscribeStats,
    SwitchModel,
    WatchSession,
    WindowRequest,
)
from pipeline.runtime import StageContext, stage_process
from stages import tuning
from stages.clients import answers, doors
from stages.clients.catalogue import Catalogue
from stages.clients.client import Client
from stages.clients.doors import Allowance
from stages.clients.observer import Observer
from stages.clients.questions import Questions
from stages.clients.sessions import Sessions
from stages.clients.streams import Stream
from stages.tuning import Tuner

_SWEEP_S: Final = 0.05
_STATS_EVERY_S: Final = 1.0
_PING_S: Final = 20.0  # a peer that has vanished is noticed within two of these
_GOING_AWAY: Final = 1001
_LOSSLESS_WAITING: Final = 16  # chunks of one lossless stream that may be in the stages at once
_POLICY: Final = 1008
WEBCLIENT_DIR: Final = Path(__file__).resolve().parent.parent / "webclient"

log = structlog.get_logger()


class Edge:
    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._settings = context.config.pipeline
        self.limits = context.config.limits
        self._failure: Exception | None = None
        self._observer = Observer(context)
        self._clients: set[Client] = set()
        self._files = StaticFiles(WEBCLIENT_DIR)
        self._speakers = Catalogue(context)
        self._tuner = Tuner(context.config.tuning)
        self._questions = Questions(context, self._speakers)
        self._sessions = Sessions(context, self._speakers, self._tuner)
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
            in_flight = len(self._questions) > 0 or self._sessions.owe_frames()
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
        health |= {"sessions": len(self._sessions), "connections": len(self._clients), "tuning": self._tuner.level}
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
            self._sessions.leave(client)

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
                self._sessions.hear(_stream_of(client), request)
            case FarEndChunk():
                self._sessions.hear_far_end(_stream_of(client), request)
            case WindowRequest() | FeatureRequest():
                self._questions.ask(client, request)
            case StartStream():
                self._sessions.start(client, request)
            case StopStream():
                self._sessions.stop(client)
            case WatchSession():
                self._sessions.watch(client, request)
            case SwitchModel():
                self._sessions.switch(client, request)
            case ListModels():
                self._speakers.look_again()
                client.queue.put_answer(jsonform.encode(answers.models(self._speakers.all, self._settings.speaker)))
            case SubscribeStats():
                client.wants_stats = request.enabled

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
        if isinstance(message, Prepare) or not self._questions.deliver(message):
            self._sessions.deliver(message)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            now = time.monotonic_ns()
            self._questions.expire(now)
            self._sessions.expire(now)
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


def _stream_of(client: Client) -> Stream[Client]:
    assert client.stream is not None  # the decoder lets no chunk pass before start_stream
    return client.stream


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
