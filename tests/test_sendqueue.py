"""A slow client loses its oldest frames, never an answer."""

from pipeline.sendqueue import SendQueue


async def take(queue: SendQueue, number: int) -> list[bytes | str]:
    return [await queue.get() for _ in range(number)]


async def test_beyond_the_limit_the_oldest_frame_goes() -> None:
    queue = SendQueue(frame_limit=2)
    for frame in (b"1", b"2", b"3"):
        queue.put_frame(frame)
    assert queue.dropped == 1
    assert await take(queue, 2) == [b"2", b"3"]


async def test_answers_are_kept_and_stay_in_order() -> None:
    queue = SendQueue(frame_limit=1)
    queue.put_answer("a")
    queue.put_frame(b"1")
    queue.put_answer("b")
    queue.put_frame(b"2")
    assert await take(queue, 3) == ["a", "b", b"2"]


async def test_room_is_free_again_after_sending() -> None:
    queue = SendQueue(frame_limit=1)
    for frame in (b"1", b"2", b"3"):
        queue.put_frame(frame)
        assert await queue.get() == frame
    assert queue.dropped == 0


def test_who_never_reads_is_found_out() -> None:
    queue = SendQueue(frame_limit=1)
    for number in range(256):
        queue.put_answer(str(number))
    assert not queue.overflowed
    queue.put_answer("one too many")
    assert queue.overflowed


async def test_what_can_leave_at_once_does_not_wait() -> None:
    left: list[bytes | str] = []

    def write_now(data: bytes | str) -> bool:
        left.append(data)
        return True

    queue = SendQueue(frame_limit=1, write_now=write_now)
    queue.put_frame(b"frame 1")
    queue.put_answer("answer")
    queue.put_frame(b"frame 2")
    assert left == [b"frame 1", "answer", b"frame 2"]
    assert queue.dropped == 0


async def test_nothing_overtakes_what_waits() -> None:
    left: list[bytes | str] = []
    free = False

    def write_now(data: bytes | str) -> bool:
        if free:
            left.append(data)
        return free

    queue = SendQueue(frame_limit=2, write_now=write_now)
    queue.put_frame(b"frame 1")
    free = True
    queue.put_frame(b"frame 2")
    queue.put_answer("answer")
    assert left == []
    assert await take(queue, 3) == [b"frame 1", b"frame 2", "answer"]
    queue.put_frame(b"frame 3")
    assert left == [b"frame 3"]
