"""A stage's loaded speakers: as many as memory allows, the least recently used makes room, and nobody waits for a load.

A speaker that is not loaded is loaded in a thread of its own; the messages that name it are kept meanwhile and arrive
once more when it is there. Everybody else's frames go on.
"""

import threading
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from typing import Final, Generic, NamedTuple, TypeVar

import structlog

from models.speaker import Speaker, SpeakerError
from pipeline.messages import Message
from pipeline.protocol.errors import ErrorCode
from pipeline.runtime import StageContext, StageError
from stages.speakers import open_named

log = structlog.get_logger()

T = TypeVar("T")

IN_USE_S: Final = 2.0
"""Who was used within this time is being looked at, and does not make room."""
FAILED_FOR_S: Final = 5.0
"""A speaker that could not be loaded is not tried again for each window, but after this."""
_BYTES_PER_MB: Final = 1_000_000


class _Held(NamedTuple, Generic[T]):
    item: T
    weight: int
    """Bytes."""
    used: float
    """time.monotonic of the last use."""


class Loaded(Generic[T]):
    """What a stage has of each speaker, within a bound of bytes."""

    def __init__(self, most_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_bytes = most_bytes
        self._clock = clock
        self._held: OrderedDict[str, _Held[T]] = OrderedDict()  # the least recently used first

    @property
    def names(self) -> list[str]:
        return list(self._held)

    def peek(self, name: str) -> T | None:
        """As :meth:`get`, but it does not count as used."""
        held = self._held.get(name)
        return held.item if held is not None else None

    def items(self) -> list[T]:
        """What is loaded; that does not count as a use."""
        return [held.item for held in self._held.values()]

    def get(self, name: str) -> T | None:
        """And it counts as used."""
        held = self._held.get(name)
        if held is None:
            return None
        self._held[name] = held._replace(used=self._clock())
        self._held.move_to_end(name)
        return held.item

    def put(self, name: str, item: T, weight: int) -> list[str]:
        """Keep it, of ``weight`` bytes; returns the names of those that made room.

        Raises:
            MemoryError: those in use leave no room for it. Nothing has changed.
        """
        idle_before = self._clock() - IN_USE_S
        room = self._most_bytes - weight - sum(held.weight for held in self._held.values())
        leaving = []
        for other, held in self._held.items():
            if room >= 0:
                break
            if held.used < idle_before:
                leaving.append(other)
                room += held.weight
        if room < 0 and self._held.keys() - set(leaving):
            raise MemoryError(f"{name} needs {weight // _BYTES_PER_MB} MB, and those in use leave no room")
        for other in leaving:
            del self._held[other]
        self._held[name] = _Held(item, weight, self._clock())
        return leaving


class Loader(Generic[T]):
    """See the module's docstring.

    ``load`` makes of a checked package what the stage works with, in another thread; ``weigh`` says how many bytes that
    holds.
    """

    def __init__(self, context: StageContext, load: Callable[[Speaker], T], weigh: Callable[[T], int]) -> None:
        self._context = context
        self._load = load
        self._weigh = weigh
        self._loaded: Loaded[T] = Loaded(context.config.limits.speakers_mb * _BYTES_PER_MB)
        self._lock = threading.Lock()
        self._waiting: defaultdict[str, list[Message]] = defaultdict(list)
        self._done: dict[str, T | SpeakerError] = {}
        self._failed: dict[str, tuple[SpeakerError, float]] = {}

    def load_now(self, speaker: Speaker) -> bool:
        """At the start, when nobody waits; False where there is no room for it.

        Raises:
            SpeakerError: it cannot be loaded.
        """
        item = self._load(speaker)
        try:
            self._loaded.put(speaker.name, item, self._weigh(item))
        except MemoryError:
            return False
        return True

    def get(self, message: Message) -> T | None:
        """The speaker that ``message`` names; None where it is being loaded: the message will come once more.

        Raises:
            StageError: the speaker is not there, damaged, or there is no room for it.
        """
        name = message.route.speaker
        item = self._loaded.get(name)
        if item is not None:
            return item
        with self._lock:
            outcome = self._done.pop(name, None)
            if outcome is None and not self._is_refused(name):
                self._keep(name, message)
                return None
        if isinstance(outcome, SpeakerError):
            self._failed[name] = (outcome, time.monotonic() + FAILED_FOR_S)
        elif outcome is not None:
            return self._take_in(name, outcome)
        raise StageError(ErrorCode.UNKNOWN_SPEAKER, str(self._failed[name][0]))

    def peek(self, name: str) -> T | None:
        """The speaker of that name, if it is loaded; nothing is loaded for it, and it does not count as used."""
        return self._loaded.peek(name)

    def items(self) -> list[T]:
        """All that are loaded."""
        return self._loaded.items()

    def _is_refused(self, name: str) -> bool:
        return name in self._failed and time.monotonic() < self._failed[name][1]

    def _keep(self, name: str, message: Message) -> None:
        waiting = self._waiting[name]
        waiting.append(message)
        if len(waiting) == 1:
            threading.Thread(target=self._load_aside, args=(name,), name=f"load {name}", daemon=True).start()

    def _load_aside(self, name: str) -> None:
        outcome: T | SpeakerError
        try:
            outcome = self._load(open_named(self._context, name))
        except SpeakerError as error:
            outcome = error
        with self._lock:
            self._done[name] = outcome
            waiting = self._waiting.pop(name)
        self._context.come_again(waiting)

    def _take_in(self, name: str, item: T) -> T:
        try:
            left = self._loaded.put(name, item, self._weigh(item))
        except MemoryError as error:
            raise StageError(ErrorCode.OVERLOADED, f"{error}: try later, or raise limits.speakers_mb") from None
        log.info("speaker loaded", speaker=name, made_room=left)
        return item
