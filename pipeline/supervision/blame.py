"""Whose windows stages die of: what was in hand at two deaths is set aside."""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from typing import Final

DEATHS: Final = 2
"""One may be chance; the next death with the same session in hand is not."""
REMEMBERED_S: Final = 60.0
ASIDE_S: Final = 10.0
"""How long a request's window is answered with an error instead."""
LIVE_ASIDE_S: Final = 1.0
"""The same of a live session: its sound has left the 640 ms window by then, and it speaks on."""


class Blame:
    """Deaths by the marks (see Route) of what was in hand, of one instance."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._deaths: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=DEATHS))

    def note(self, marks: Iterable[str]) -> list[str]:
        """A stage died with these in hand; returns those that are to be set aside now."""
        now = self._clock()
        for forgotten in [mark for mark, times in self._deaths.items() if now - times[-1] > REMEMBERED_S]:
            del self._deaths[forgotten]
        aside = []
        for mark in marks:
            times = self._deaths[mark]
            times.append(now)
            if len(times) == DEATHS and now - times[0] <= REMEMBERED_S:
                aside.append(mark)
        return aside
