"""The edge's book-keeping of live streams: which chunks still wait for their frame, who watches. No I/O."""

import uuid
from collections import OrderedDict
from typing import Final, Generic, Protocol, TypeVar

from pipeline.messages import VIEW_FULL, VIEW_PATCH, Route
from pipeline.protocol.requests import Hearing, Pace, View
from stages.hearing.processing import delay_ms

VIEW_BITS: Final = {View.FULL: VIEW_FULL, View.PATCH: VIEW_PATCH}


class Viewer(Protocol):
    """A connection that receives a stream's frames."""

    view: View


_V = TypeVar("_V", bound=Viewer)


class Stream(Generic[_V]):
    """One live stream, from start_stream to stop_stream or the connection's end."""

    def __init__(self, speaker: str, pace: Pace, hearing: Hearing, name: str | None) -> None:
        self.session = uuid.uuid4().hex
        self.speaker = speaker
        self.pace = pace
        self.hearing = hearing
        self.delay_ms = delay_ms(hearing.processing)
        self.name = name or self.session
        self.viewers: list[_V] = []
        self.next_speaker: str | None = None
        """Asked for, and speaks once the stages have it: until then the old one does."""
        self.next_chunk = 0
        self.frames = 0
        self.dropped = 0
        self._waiting: OrderedDict[int, tuple[int, int]] = OrderedDict()  # chunk -> (born, deadline), ns

    @property
    def views(self) -> int:
        """What publish has to encode for those who watch now."""
        views = 0
        for viewer in self.viewers:
            views |= VIEW_BITS[viewer.view]
        return views or VIEW_FULL

    def route(
        self, sequence: int, frame_id: int, born_ns: int, deadline_ns: int, *, tuning: int = 0, views: int | None = None
    ) -> Route:
        """Of one of its windows, as it leaves the edge."""
        return Route(
            session=self.session,
            mark=self.session,
            sequence=sequence,
            frame_id=frame_id,
            speaker=self.speaker,
            live=self.pace is Pace.LIVE,
            views=self.views if views is None else views,
            born_ns=born_ns,
            deadline_ns=deadline_ns,
            sent_ns=born_ns,
            tuning=tuning,
        )

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def skip(self) -> int:
        """A chunk came in that is to be heard and gets no frame; returns its number."""
        self.next_chunk += 1
        return self.next_chunk - 1

    def sent(self, born_ns: int, deadline_ns: int) -> int:
        """A chunk came in; returns its number."""
        chunk = self.next_chunk
        self.next_chunk += 1
        self._waiting[chunk] = (born_ns, deadline_ns)
        return chunk

    def painted(self, chunk: int) -> bool:
        """The frame of `chunk` came out; False where nobody waits for it any more.

        In a live stream, what is older than it will not come any more: the newest wins.
        """
        if self._waiting.pop(chunk, None) is None:
            return False
        self.frames += 1
        if self.pace is Pace.LIVE:
            for older in [waiting for waiting in self._waiting if waiting < chunk]:
                del self._waiting[older]
                self.dropped += 1
        return True

    def failed(self, chunk: int) -> None:
        if self._waiting.pop(chunk, None) is not None:
            self.dropped += 1

    def expired(self, now_ns: int) -> list[int]:
        """Chunks whose deadline has passed; they count as dropped."""
        late = [chunk for chunk, (_, deadline_ns) in self._waiting.items() if deadline_ns < now_ns]
        for chunk in late:
            self.failed(chunk)
        return late
