"""The edge's book-keeping: what is counted as dropped, and who still waits."""

from pipeline.messages import VIEW_FULL, VIEW_PATCH
from pipeline.protocol.requests import Hearing, Pace, View
from stages.clients.streams import Stream


class Watcher:
    def __init__(self, view: View) -> None:
        self.view = view


def stream(pace: Pace) -> Stream[Watcher]:
    return Stream[Watcher]("default", pace, Hearing(0.01), None)


def test_in_a_live_stream_a_frame_settles_all_older_chunks() -> None:
    live = stream(Pace.LIVE)
    numbers = [live.sent(0, 100) for _ in range(4)]
    assert numbers == [0, 1, 2, 3]
    assert live.painted(2)
    assert (live.frames, live.dropped, live.waiting) == (1, 2, 1)
    assert not live.painted(1), "a frame that comes after a newer one is not shown"


def test_in_a_lossless_stream_nothing_is_given_up() -> None:
    lossless = stream(Pace.LOSSLESS)
    for _ in range(3):
        lossless.sent(0, 100)
    assert lossless.painted(2)
    assert lossless.painted(0)
    assert (lossless.dropped, lossless.waiting) == (0, 1)


def test_past_its_deadline_a_chunk_is_dropped_once() -> None:
    live = stream(Pace.LIVE)
    live.sent(0, 100)
    live.sent(0, 200)
    assert live.expired(150) == [0]
    assert live.expired(150) == []
    live.failed(0)
    assert (live.dropped, live.waiting) == (1, 1)


def test_publish_encodes_what_the_viewers_look_at() -> None:
    live = stream(Pace.LIVE)
    assert live.views == VIEW_FULL
    live.viewers.append(Watcher(View.PATCH))
    assert live.views == VIEW_PATCH
    live.viewers.append(Watcher(View.FULL))
    assert live.views == VIEW_PATCH | VIEW_FULL
