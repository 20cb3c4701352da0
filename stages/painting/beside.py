"""Slow speakers, painted beside the others: in a thread of their own, of a lower priority.

An imported network takes a tenth of a second and more for a mouth; who speaks through a small one must not wait for it.
What was painted is kept until its window arrives once more. Of a live session only the newest window waits.
"""

import contextlib
import os
import threading
from collections import OrderedDict
from typing import Final

from pipeline.messages import Features
from pipeline.runtime import StageContext
from stages.painting.faces import Face, Painted

NICER: Final = 5
"""Steps of priority under the stage's own."""
KEPT: Final = 64
"""Painted windows that are kept for when they come again; those whose deadline passed meanwhile never do."""
Key = tuple[str, int]


class Beside:
    """See the module's docstring."""

    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._waiting: OrderedDict[Key, tuple[Face, Features]] = OrderedDict()
        self._done: OrderedDict[Key, Painted | Exception] = OrderedDict()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def take(self, face: Face, window: Features) -> Painted | None:
        """What was painted of ``window``; None where it is not yet: the window will come once more.

        Raises whatever painting it raised.
        """
        key = (window.route.session, window.route.sequence)
        with self._changed:
            outcome = self._done.pop(key, None)
            if outcome is None:
                self._put(key, face, window)
                self._changed.notify()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

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
            outcome: Painted | Exception
            try:
                (outcome,) = face.paint([window])
            except Exception as error:  # noqa: BLE001 - raised again in the stage's own thread, which logs it
                outcome = error
            with self._changed:
                self._done[key] = outcome
                if len(self._done) > KEPT:
                    self._done.popitem(last=False)
            self._context.come_again([window])
