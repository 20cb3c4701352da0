"""Sessions at the edge: live streams, who watches them, and what becomes of each chunk."""

import functools
import time
from typing import Final

from pipeline.audio import int16_of_chunk
from pipeline.messages import Chunk, Close, Failed, FarEnd, Frame, Prepare, Route
from pipeline.protocol import binary, jsonform, live
from pipeline.protocol.binary import MAX_FRAME_ID, BinaryType
from pipeline.protocol.errors import LATE, ErrorCode, ProtocolError, encode_failure
from pipeline.protocol.live import BaseMeta
from pipeline.protocol.requests import (
    PROTOCOL_VERSION,
    AudioChunk,
    FarEndChunk,
    Hearing,
    Pace,
    Processing,
    StartStream,
    SwitchModel,
    View,
    VoiceActivity,
    WatchSession,
)
from pipeline.runtime import StageContext, StageError
from stages import tuning
from stages.clients import answers
from stages.clients.answers import NS_PER_MS, NS_PER_S
from stages.clients.catalogue import Catalogue
from stages.clients.client import Client
from stages.clients.streams import Stream
from stages.hearing import processing, voice
from stages.tuning import Tuner

_LOSSLESS_PATIENCE: Final = 20  # deadlines: a file's next frame is worth waiting for, through a stage's restart as well
_LOAD_S: Final = 30  # a speaker that takes longer to load is given up
_NO_WINDOW: Final = -1  # the sequence of what is no window of its session


class Sessions:
    """The live streams that run, by their sessions' ids."""

    def __init__(self, context: StageContext, speakers: Catalogue, tuner: Tuner) -> None:
        self._context = context
        self._settings = context.config.pipeline
        self._limit: Final = context.config.limits.sessions
        self._speakers = speakers
        self._tuner = tuner
        self._streams: dict[str, Stream[Client]] = {}

    def __len__(self) -> int:
        return len(self._streams)

    def owe_frames(self) -> bool:
        """Whether a chunk waits for its frame."""
        return any(stream.waiting for stream in self._streams.values())

    # ---- from start_stream to stop_stream ---------------------------------------------------------------------------

    def start(self, client: Client, request: StartStream) -> None:
        """Raises ProtocolError: UNSUPPORTED_VERSION, UNKNOWN_SPEAKER, TOO_MANY_SESSIONS or INVALID_REQUEST."""
        _check_version(request.version)
        speaker = self._speakers.name_of_one_that_hears(request.speaker)
        if len(self._streams) >= self._limit:
            raise ProtocolError(ErrorCode.TOO_MANY_SESSIONS, f"{self._limit} sessions run; try again later")
        self._end(client, tell=False)
        stream = Stream[Client](speaker, request.pace, self._how_to_hear(request), request.name)
        client.stream = stream
        self._streams[stream.session] = stream
        self._let_see(client, stream, request.view)

    def _how_to_hear(self, request: StartStream) -> Hearing:
        sound = self._context.config.sound
        threshold = self._settings.silence_threshold if request.silence_threshold is None else request.silence_threshold
        wanted = sound.processing if request.processing is None else request.processing
        if wanted and not processing.is_available():
            raise ProtocolError(ErrorCode.INVALID_REQUEST, processing.MISSING)
        steps = tuple(step for step in Processing if step in wanted)
        activity = request.voice_activity or sound.voice_activity
        return Hearing(threshold, steps, activity if voice.has_detector() else VoiceActivity.LEVEL)

    def stop(self, client: Client) -> None:
        """Raises ProtocolError: NOT_NEGOTIATED."""
        if client.stream is None:
            raise ProtocolError(ErrorCode.NOT_NEGOTIATED, "no stream of this connection runs")
        self._end(client, tell=True)

    def leave(self, client: Client) -> None:
        """Its connection has ended."""
        _unwatch(client)
        self._end(client, tell=False)

    def _end(self, client: Client, *, tell: bool) -> None:
        stream = client.stream
        if stream is None:
            return
        client.stream = None
        self._streams.pop(stream.session, None)
        now = time.monotonic_ns()
        self._context.outlets["chunks"].send_to_all(Close(stream.route(stream.next_chunk, 0, now, now)))
        stopped = jsonform.encode(answers.stream_stopped(stream))
        for viewer in stream.viewers:
            if tell or viewer is not client:
                viewer.queue.put_answer(stopped)
            if viewer.watching is stream:
                viewer.watching, viewer.wants_sound = None, False

    def watch(self, client: Client, request: WatchSession) -> None:
        """Raises ProtocolError: UNSUPPORTED_VERSION or UNKNOWN_SESSION."""
        _check_version(request.version)
        stream = next((stream for stream in self._streams.values() if stream.name == request.name), None)
        if stream is None:
            raise ProtocolError(
                ErrorCode.UNKNOWN_SESSION, f"no session is named {request.name[:64]!r} now; try again later"
            )
        _unwatch(client)
        client.watching, client.wants_sound = stream, request.sound
        self._let_see(client, stream, request.view)

    def _let_see(self, client: Client, stream: Stream[Client], view: View) -> None:
        """From now on its frames go to `client`, who is told what to expect."""
        client.wanted_view = view
        client.choose_view(patches=self._tuner.level >= tuning.PATCHES)
        if client not in stream.viewers:
            stream.viewers.append(client)
        client.queue.put_answer(jsonform.encode(answers.stream_started(stream, self._speakers[stream.speaker])))

    # ---- chunks in --------------------------------------------------------------------------------------------------

    def hear(self, stream: Stream[Client], chunk: AudioChunk) -> None:
        """The next 40 ms of `stream`."""
        now = time.monotonic_ns()
        patience = _LOSSLESS_PATIENCE if stream.pace is Pace.LOSSLESS else 1
        deadline_ns = now + patience * self._settings.deadline_ms * NS_PER_MS
        live_pace = stream.pace is Pace.LIVE
        skipped = live_pace and stream.next_chunk % self._tuner.chunks_a_frame != 0
        number = stream.skip() if skipped else stream.sent(now, deadline_ns)
        views = 0 if skipped else stream.views
        route = stream.route(number, chunk.frame_id, now, deadline_ns, tuning=self._tuner.level, views=views)
        _pass_sound(stream, number, chunk)
        message = Chunk(route, chunk.pcm, stream.hearing)
        if not self._context.outlets["chunks"].send(message) and not skipped:
            self._chunk_failed(stream, number, ErrorCode.UNAVAILABLE, "the ingest stage is restarting")

    def hear_far_end(self, stream: Stream[Client], chunk: FarEndChunk) -> None:
        """What is played where the microphone of `stream` is. Best effort: without it an echo stays, no frame is lost.

        Raises:
            ProtocolError: INVALID_REQUEST where nothing would make use of it.
        """
        if Processing.ECHO not in stream.hearing.processing:
            raise ProtocolError(ErrorCode.INVALID_REQUEST, 'far-end sound is for streams whose processing has "echo"')
        now = time.monotonic_ns()
        route = stream.route(stream.next_chunk, 0, now, now)
        self._context.outlets["chunks"].send(FarEnd(route, chunk.pcm))

    def _chunk_failed(self, stream: Stream[Client], chunk: int, code: ErrorCode, message: str) -> None:
        """A live client learns of it from the next frame's count; a lossless one waits for it, so it is told."""
        stream.failed(chunk)
        if self._has_pace(stream):
            self._tuner.missed(1)
        if stream.pace is Pace.LOSSLESS or code is ErrorCode.UNKNOWN_SPEAKER:
            for viewer in stream.viewers:
                viewer.queue.put_answer(encode_failure(ProtocolError(code, message), chunk))

    def expire(self, now_ns: int) -> None:
        """Give up the chunks whose deadline has passed."""
        for stream in self._streams.values():
            for chunk in stream.expired(now_ns):
                self._chunk_failed(stream, chunk, ErrorCode.TIMEOUT, LATE)

    # ---- frames out -------------------------------------------------------------------------------------------------

    def deliver(self, message: Frame | Failed | Prepare) -> None:
        """Show a frame to those who watch, or note that it will not come; switch to a speaker that is ready, or not."""
        stream = self._streams.get(message.route.session)
        if stream is None:
            return
        if isinstance(message, Prepare):
            self._switched(stream, message.route.speaker)
        elif isinstance(message, Frame):
            self._deliver_frame(stream, message)
        elif message.route.sequence == _NO_WINDOW:
            _not_switched(stream, ErrorCode(message.error), message.message)
        else:
            self._chunk_failed(stream, message.route.sequence, ErrorCode(message.error), message.message)

    def _deliver_frame(self, stream: Stream[Client], frame: Frame) -> None:
        try:
            self._show(stream, frame)
        except StageError as error:
            self._chunk_failed(stream, frame.route.sequence, error.code, error.message)

    def _show(self, stream: Stream[Client], frame: Frame) -> None:
        dropped_before = stream.dropped
        if not stream.painted(frame.route.sequence):
            return
        if self._has_pace(stream):
            self._tuner.missed(stream.dropped - dropped_before)
            self._tuner.left((time.monotonic_ns() - frame.route.born_ns) / NS_PER_MS)
        speaker = self._speakers[frame.route.speaker]
        for viewer in stream.viewers:
            slot = frame.full if viewer.view is View.FULL else frame.patch
            if slot is None:
                continue  # it began to watch after this chunk had left
            meta = live.image_head(answers.frame_meta(stream, frame, viewer.view, speaker))
            kind = BinaryType.LIVE_FRAME if viewer.view is View.FULL else BinaryType.MOUTH_PATCH
            if viewer.view is View.PATCH:
                self._send_base_once(viewer, frame)
            encode = functools.partial(binary.encode, kind, frame.route.frame_id, meta)
            message = self._context.use(slot, encode)
            if stream.pace is Pace.LOSSLESS:
                viewer.queue.put_answer(message)
            else:
                viewer.queue.put_frame(message)

    def _send_base_once(self, viewer: Client, frame: Frame) -> None:
        key = (frame.route.speaker, frame.base)
        if key not in viewer.bases_sent:
            viewer.bases_sent.add(key)
            jpeg = self._speakers[frame.route.speaker].base_jpeg(frame.base)
            head = live.image_head(BaseMeta(speaker=frame.route.speaker, base=frame.base))
            viewer.queue.put_answer(binary.encode(BinaryType.BASE_FRAME, frame.base, head, jpeg))

    def _has_pace(self, stream: Stream[Client]) -> bool:
        """Whether 25 frames a second are promised: of live streams, by speakers that a processor can paint so fast."""
        return stream.pace is Pace.LIVE and self._speakers[stream.speaker].manifest.image is None

    # ---- another speaker --------------------------------------------------------------------------------------------

    def switch(self, client: Client, request: SwitchModel) -> None:
        """Let the stages load it; until they have, the old one speaks.

        Raises:
            ProtocolError: UNKNOWN_SPEAKER, INVALID_REQUEST or NOT_NEGOTIATED.
        """
        name = self._speakers.name_of_one_that_hears(request.speaker)
        if client.stream is None:
            raise ProtocolError(ErrorCode.NOT_NEGOTIATED, "send start_stream before switch_model")
        stream = client.stream
        now = time.monotonic_ns()
        deadline_ns = now + _LOAD_S * NS_PER_S
        route = Route(stream.session, f"speaker-{name}", _NO_WINDOW, 0, name, False, 0, now, deadline_ns, now)
        stream.next_speaker = name
        if not self._context.outlets["chunks"].send(Prepare(route)):
            _not_switched(stream, ErrorCode.UNAVAILABLE, "the ingest stage is restarting; try again")

    def _switched(self, stream: Stream[Client], name: str) -> None:
        """All stages have it: from the next chunk on it speaks."""
        if stream.next_speaker != name:
            return  # another was asked for meanwhile
        stream.speaker, stream.next_speaker = name, None
        _tell_owner(stream, jsonform.encode(answers.model_switched(stream, self._speakers[name])))


def _check_version(version: int) -> None:
    if version != PROTOCOL_VERSION:
        raise ProtocolError(
            ErrorCode.UNSUPPORTED_VERSION, f"this server speaks version {PROTOCOL_VERSION}, not {version}"
        )


def _pass_sound(stream: Stream[Client], number: int, chunk: AudioChunk) -> None:
    """To those who watch and want it. As an answer: a recording has no holes, and who cannot follow is cut off."""
    listeners = [viewer for viewer in stream.viewers if viewer.wants_sound]
    if listeners:
        message = binary.encode(BinaryType.SOUND, number & MAX_FRAME_ID, int16_of_chunk(chunk.pcm))
        for listener in listeners:
            listener.queue.put_answer(message)


def _unwatch(client: Client) -> None:
    if client.watching is not None and client in client.watching.viewers:
        client.watching.viewers.remove(client)
    client.watching, client.wants_sound = None, False


def _not_switched(stream: Stream[Client], code: ErrorCode, message: str) -> None:
    stream.next_speaker = None
    _tell_owner(stream, encode_failure(ProtocolError(code, f"still {stream.speaker}: {message}")))


def _tell_owner(stream: Stream[Client], answer: str) -> None:
    """Those who only watch see it from the frames."""
    for viewer in stream.viewers:
        if viewer.stream is stream:
            viewer.queue.put_answer(answer)
