"""Slow speakers, painted beside the others: in a thread of their own, of a lower priority.

An imported network takes a tenth of a second and more for a mouth; who speaks through a small one must not wait for it.
What was painted is kept until its window arrives once more, or, of a live session, a newer one: where the machine has
much to do, that is always there first. Of a live session only the newest window waits.
"""

import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from pipeline.messages import Features
from pipeline.runtime import StageContext
from stages.painting.faces import Face, Painted

NICER: Final = 5
"""Steps of priority under the stage's own."""
KEPT: Final = 64
"""Painted windows that are kept for when they come again; those whose deadline passed meanwhile never do."""
Key = tuple[str, int]


class Done(NamedTuple):
    """A window that was painted beside the others."""

    window: Features
    mouth: Painted


class Beside:
    """See the module's docstring."""

    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._waiting: OrderedDict[Key, tuple[Face, Features]] = OrderedDict()
        self._done: OrderedDict[Key, Done | Exception] = OrderedDict()
        self._latest: dict[str, int] = {}
        """The newest window of each live session that was handed out: when it comes again, that is no news."""
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def take(self, face: Face, windows: Iterable[Features]) -> Iterator[Done]:
        """What was painted of these windows, or of one before them of the same live session. What is not painted yet
        will come once more. One after another: who is before one that fails is out by then.

        Raises whatever painting one of them raised.
        """
        for window in windows:
            outcome = self._take(face, window)
            if isinstance(outcome, Exception):
                raise outcome
            if outcome is not None:
                yield outcome

    def _take(self, face: Face, window: Features) -> Done | Exception | None:
        session, sequence = key = (window.route.session, window.route.sequence)
        with self._changed:
            until = [each for each in self._done if each[0] == session and each[1] <= sequence]
            ready = until if window.route.live else [each for each in until if each == key]
            outcomes = {each: self._done.pop(each) for each in ready}
            handed = max(outcomes, default=None)
            if handed and window.route.live:
                self._latest[session] = max(handed[1], self._latest.get(session, -1))
            if handed != key and self._latest.get(session, -1) < sequence:
                self._put(key, face, window)
                self._changed.notify()
        return outcomes[handed] if handed else None

    def forget(self, session: str) -> None:
        """It has ended."""
        with self._changed:
            self._latest.pop(session, None)
            for key in [each for each in self._waiting if each[0] == session]:
                del self._waiting[key]
            for key in [each for each in self._done if each[0] == session]:
                del self._done[key]

    def _put(self, key: Key, face: Face, window: Features) -> None:
        if window.route.live:
            for replaced in [each for each in self._waiting if each[0] == key[0]]:
                del self._waiting[replaced]
                self._context.drops["stale"] += 1
        self._waiting[key] = (face, window)
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="beside", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):  # where the system has no priority for threads, it is as high as the others'
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICER)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                key, (face, window) = self._waiting.popitem(last=False)
            outcome: Done | Exception
            try:
                (mouth,) = face.paint([window])
                outcome = Done(window, mouth)
            except Exception as error:  # noqa: BLE001 - raised again in the stage's own thread, which logs it
                outcome = error
            with self._changed:
                self._done[key] = outcome
                if len(self._done) > KEPT:
                    self._done.popitem(last=False)
            self._context.come_again([window])
