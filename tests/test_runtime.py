"""What a stage keeps of a batch: the newest window of each live session, and everything that is asked for by name."""

from hypothesis import given
from hypothesis import strategies as st

from pipeline.messages import Chunk, Close, Lookup, Message, Route
from pipeline.protocol.requests import Hearing
from pipeline.runtime import newest_wins

NOW = 1_000


def message(session: str, sequence: int, *, live: bool = True, deadline_ns: int = NOW + 1) -> Message:
    return Lookup(Route(session, session, sequence, 0, "default", live, 1, 0, deadline_ns, 0))


def test_only_the_newest_of_a_live_session_is_kept() -> None:
    batch = [message("a", 1), message("b", 7), message("a", 3), message("a", 2)]
    kept, stale = newest_wins(batch, NOW)
    assert kept == [batch[1], batch[2]]
    assert stale == [batch[0], batch[3]]


def test_requests_are_all_kept_until_their_deadline() -> None:
    batch = [message("a", 1, live=False), message("a", 2, live=False), message("a", 3, live=False, deadline_ns=NOW - 1)]
    kept, stale = newest_wins(batch, NOW)
    assert kept == batch[:2]
    assert stale == batch[2:]


def test_a_close_is_heard_however_late() -> None:
    close = Close(Route("a", "a", 1, 0, "default", False, 0, 0, 0, 0))
    assert newest_wins([close], NOW) == ([close], [])


def test_no_audio_is_lost_to_a_hiccup() -> None:
    late = [Chunk(Route("a", "a", n, 0, "default", True, 1, 0, NOW - 1, 0), b"", Hearing(0.01)) for n in range(3)]
    assert newest_wins(late, NOW) == (late, [])


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20), st.booleans(), st.integers(NOW - 2, NOW + 2))))
def test_nothing_is_lost_or_doubled(rows: list[tuple[str, int, bool, int]]) -> None:
    batch = [message(s, n, live=live, deadline_ns=deadline) for s, n, live, deadline in rows]
    kept, stale = newest_wins(batch, NOW)
    assert sorted(map(id, kept + stale)) == sorted(map(id, batch))
    assert all(m.route.deadline_ns >= NOW for m in kept)
