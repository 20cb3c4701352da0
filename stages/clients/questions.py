"""Questions at the edge: one window, one frame, each answered by its deadline whatever became of it."""

import time
import zlib
from typing import Final

import msgspec

from pipeline.messages import VIEW_FULL, Failed, Frame, Lookup, Route, Upload
from pipeline.protocol import binary, jsonform
from pipeline.protocol.binary import BinaryType
from pipeline.protocol.errors import ErrorCode, ProtocolError, encode_failure
from pipeline.protocol.requests import FeatureRequest, ReplyForm, WindowRequest
from pipeline.runtime import StageContext, StageError
from stages.clients import answers
from stages.clients.answers import NS_PER_MS
from stages.clients.catalogue import Catalogue
from stages.clients.client import Client


class _Pending(msgspec.Struct):
    client: Client
    form: ReplyForm
    frame_id: int
    born_ns: int
    deadline_ns: int


class Questions:
    """Those that wait for their answer, by the client's id and the number of its question."""

    def __init__(self, context: StageContext, speakers: Catalogue) -> None:
        self._context = context
        self._speakers = speakers
        self._deadline_ms: Final = context.config.pipeline.deadline_ms
        self._uploads = context.writer("uploads")
        self._pending: dict[tuple[str, int], _Pending] = {}

    def __len__(self) -> int:
        return len(self._pending)

    def ask(self, client: Client, request: WindowRequest | FeatureRequest) -> None:
        """Send it into the pipeline.

        Raises:
            ProtocolError: UNKNOWN_SPEAKER, or UNAVAILABLE while ingest restarts.
        """
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
            deadline_ns=now + self._deadline_ms * NS_PER_MS,
            sent_ns=now,
        )
        if isinstance(request, FeatureRequest):
            sent = self._context.outlets["chunks"].send(Lookup(route))
        else:
            slot = self._uploads.write(request.samples.data)
            sent = self._context.outlets["chunks"].send(Upload(route, slot))
        if not sent:
            raise ProtocolError(ErrorCode.UNAVAILABLE, "the ingest stage is restarting; try again", request.frame_id)
        self._pending[client.id, sequence] = _Pending(client, request.form, request.frame_id, now, route.deadline_ns)

    def deliver(self, message: Frame | Failed) -> bool:
        """Answer the question that `message` is of; False where it is of none that waits."""
        pending = self._pending.pop((message.route.session, message.route.sequence), None)
        if pending is None:
            return False
        if isinstance(message, Failed):
            _fail(pending, ErrorCode(message.error), message.message)
            return True
        try:
            self._answer(pending, message)
        except StageError as error:
            _fail(pending, error.code, error.message)
        return True

    def _answer(self, pending: _Pending, frame: Frame) -> None:
        assert frame.full is not None  # `ask` wants the whole view
        image = self._context.read(frame.full)
        if pending.form is ReplyForm.BINARY:
            pending.client.queue.put_answer(binary.encode(BinaryType.FRAME_RESPONSE, pending.frame_id, image))
            return
        speaker = self._speakers[frame.route.speaker]
        response = answers.frame_response(frame, pending.frame_id, pending.born_ns, image, speaker)
        pending.client.queue.put_answer(jsonform.encode(response))

    def expire(self, now_ns: int) -> None:
        """Tell those whose deadline has passed that there will be no frame."""
        late = f"no frame within {self._deadline_ms} ms; the server is busy or restarts a stage"
        for key in [key for key, pending in self._pending.items() if pending.deadline_ns < now_ns]:
            _fail(self._pending.pop(key), ErrorCode.TIMEOUT, late)


def _fail(pending: _Pending, code: ErrorCode, message: str) -> None:
    pending.client.queue.put_answer(encode_failure(ProtocolError(code, message, pending.frame_id)))


def _mark_of(request: WindowRequest | FeatureRequest, speaker: str) -> str:
    """The same for the same question, whoever asks it: what a stage dies of must not come back by another one."""
    if isinstance(request, FeatureRequest):
        return f"row-{speaker}-{request.frame_id}"
    return f"window-{zlib.crc32(request.samples.data):08x}"
