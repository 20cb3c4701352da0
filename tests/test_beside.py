"""Slow speakers are painted beside the others; what was painted reaches who waits, however busy the machine."""

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
import pytest

from pipeline.messages import Features, Message, Route
from pipeline.runtime import StageContext
from stages.painting.beside import Beside, Done
from stages.painting.faces import Face, Painted
from tests.running import wait_until

FOR_EVER_NS = 2**62


def window(sequence: int, *, session: str = "a", live: bool = True) -> Features:
    route = Route(session, session, sequence, 0, "slow", live, 1, 0, FOR_EVER_NS, 0)
    return Features(route, b"", (1, 1), 0, 0.1, silent=False)


class Context:
    """What `Beside` uses of a stage's: what came again is kept."""

    def __init__(self) -> None:
        self.drops: Counter[str] = Counter()
        self.again: list[Message] = []

    def come_again(self, messages: Iterable[Message]) -> None:
        self.again += messages


class SlowFace:
    """Paints a window when it is let; none of the session `bad`."""

    slow = True

    def __init__(self) -> None:
        self.let = threading.Semaphore(0)
        self.painted: list[int] = []

    def paint(self, windows: Sequence[Features]) -> list[Painted]:
        self.let.acquire()
        (one,) = windows
        self.painted.append(one.route.sequence)
        if one.route.session == "bad":
            raise ValueError(one.route.session)
        return [Painted(np.full((1, 1, 3), one.route.sequence, np.uint8), ())]


class Bench:
    def __init__(self) -> None:
        self.context, self.face = Context(), SlowFace()
        self.beside = Beside(cast(StageContext, self.context))

    def take(self, *windows: Features) -> list[Done]:
        return list(self.beside.take(cast(Face, self.face), windows))

    def paint_one(self) -> None:
        before = len(self.context.again)
        self.face.let.release()
        wait_until(lambda: len(self.context.again) > before)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def sequences(done: list[Done]) -> list[Any]:
    return [each.window.route.sequence for each in done]


def test_a_window_is_painted_when_it_comes_again(bench: Bench) -> None:
    assert bench.take(window(3)) == []
    bench.paint_one()
    (again,) = bench.context.again
    (done,) = bench.take(cast(Features, again))
    assert done.window == window(3)
    assert done.mouth.pixels[0, 0, 0] == 3


def test_a_newer_window_brings_what_was_painted_of_an_older_one(bench: Bench) -> None:
    """On a machine with much to do it is always there before the older one comes again, which then is stale."""
    for sequence in range(0, 40, 4):
        expected = [sequence - 4] if sequence else []
        assert sequences(bench.take(window(sequence))) == expected
        bench.paint_one()
    assert bench.face.painted == list(range(0, 40, 4))


def test_what_was_handed_out_is_not_painted_again(bench: Bench) -> None:
    bench.take(window(1))
    bench.paint_one()
    assert sequences(bench.take(window(2))) == [1]
    assert bench.take(window(1)) == []  # it comes again after all
    bench.paint_one()
    assert sequences(bench.take(window(2))) == [2]
    assert bench.face.painted == [1, 2]


def test_of_a_live_session_only_the_newest_waits(bench: Bench) -> None:
    bench.take(window(0))
    wait_until(lambda: not bench.beside._waiting)  # it is in hand
    for sequence in (1, 2, 3):
        bench.take(window(sequence))
    bench.paint_one()
    bench.paint_one()
    assert bench.face.painted == [0, 3]
    assert bench.context.drops == {"stale": 2}


def test_every_window_of_a_lossless_session_is_painted(bench: Bench) -> None:
    windows = [window(sequence, live=False) for sequence in range(4)]
    assert bench.take(*windows) == []
    for _ in windows:
        bench.paint_one()
    assert sequences(bench.take(*windows)) == [0, 1, 2, 3]


def test_what_cannot_be_painted_says_so(bench: Bench) -> None:
    bench.take(window(0, session="bad"))
    bench.paint_one()
    with pytest.raises(ValueError, match="bad"):
        bench.take(window(0, session="bad"))


def test_nothing_is_kept_of_a_session_that_has_ended(bench: Bench) -> None:
    bench.take(window(0))
    bench.paint_one()
    bench.take(window(1))
    bench.paint_one()
    bench.beside.forget("a")
    assert (bench.beside._waiting, bench.beside._done, bench.beside._latest) == ({}, {}, {})
