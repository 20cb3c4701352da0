"""What waits to be sent to one client: answers are kept, frames are replaced by newer ones when the client is slow."""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

_MAX_ANSWERS: Final = 256  # a client that asks this much and reads nothing is not a client


class SendQueue:
    """In order; at most `frame_limit` frames wait, the oldest is dropped for a newer one.

    Where nothing waits, `write_now` is offered what comes: True where it has taken it, and it need not wait either.
    """

    def __init__(self, frame_limit: int, write_now: Callable[[bytes | str], bool] = lambda _data: False) -> None:
        self._frame_limit = frame_limit
        self._write_now = write_now
        self._waiting: deque[tuple[bool, bytes | str]] = deque()
        self._frames = 0
        self._filled = asyncio.Event()
        self.dropped = 0
        self.overflowed = False
        """Answers had to be thrown away: the client does not read what it asked for, and is to be closed."""

    def put_answer(self, answer: bytes | str) -> None:
        """Queue what must arrive."""
        if self._has_left(answer):
            return
        if len(self._waiting) - self._frames >= _MAX_ANSWERS:
            self.overflowed = True
            return
        self._put(droppable=False, data=answer)

    def put_frame(self, frame: bytes) -> None:
        """Queue a live frame."""
        if self._has_left(frame):
            return
        if self._frames >= self._frame_limit:
            oldest = next(entry for entry in self._waiting if entry[0])
            self._waiting.remove(oldest)
            self._frames -= 1
            self.dropped += 1
        self._frames += 1
        self._put(droppable=True, data=frame)

    def _has_left(self, data: bytes | str) -> bool:
        return not self._waiting and self._write_now(data)

    def _put(self, *, droppable: bool, data: bytes | str) -> None:
        self._waiting.append((droppable, data))
        self._filled.set()

    async def get(self) -> bytes | str:
        """The next to send."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        droppable, data = self._waiting.popleft()
        self._frames -= droppable
        return data
