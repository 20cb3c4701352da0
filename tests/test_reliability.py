"""Chaos, fuzz, load and soak in short; docs/reliability.md has the figures of the long runs.

What depends on the machine's speed (how soon frames are back, how many are lost) is the long runs' to say.
"""

import asyncio

from tests import chaos, fuzz, load, soak
from tests.running import Pipeline

SPEED = ("were not back in time", "lost")


def broken_whatever_the_speed(wrong: list[str]) -> list[str]:
    return [what for what in wrong if not any(word in what for word in SPEED)]


def test_chaos_breaks_no_promise() -> None:
    found = chaos.chaos(sessions=2, seconds=14, seed=3)
    assert found["faults"] >= 3
    assert found["frames"] > 0
    assert found["requests"]["answered"] > 0
    assert broken_whatever_the_speed(chaos.broken(found)) == []


def test_chaos_would_see_what_is_left_over(pipeline: Pipeline) -> None:
    """A check that cannot fail is none: this pipeline still runs."""
    assert chaos.left_over([pipeline.popen.pid], []) == [f"process {pipeline.popen.pid}"]


def test_what_nobody_should_send_harms_nobody() -> None:
    found = fuzz.run(messages=4_000, seed=2)
    assert found["answers"] > 1_000
    assert found["raw_frames"] > 0
    assert broken_whatever_the_speed(fuzz.broken(found)) == []


def test_idlers_and_runaways_leak_nothing() -> None:
    found = load.run(idle=60, per_second=30, seconds=3)
    assert found["idle"]["held"] == 60
    assert found["knock"]["opened"] > 0
    assert broken_whatever_the_speed(load.broken(found)) == []


def test_sessions_that_come_and_go_leave_no_files(pipeline: Pipeline) -> None:
    history, counts = asyncio.run(soak.soak(pipeline, 2, 0.2))
    assert counts["sessions"] >= 2
    assert counts["frames"] > 0
    assert len({files for _, _, files in history}) == 1
    table = soak.grown(history, 0)
    assert {"edge", "infer"} <= table.keys()
