"""A session's 20 s in shared memory: the newest window is always right, and survives its keeper."""

from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.audio import CHUNK_SAMPLES, HISTORY_CHUNKS, WINDOW_CHUNKS, WINDOW_SAMPLES, Samples
from pipeline.history import History


def chunk(sequence: int) -> Samples:
    return np.full(CHUNK_SAMPLES, sequence + 1, np.float32)


def expected_window(came: set[int], newest: int) -> Samples:
    """From the definition: chunk s holds s + 1, what never came is silence."""
    sequences = range(newest - WINDOW_CHUNKS + 1, newest + 1)
    return np.concatenate([chunk(s) if s in came else np.zeros(CHUNK_SAMPLES, np.float32) for s in sequences])


def test_before_the_start_is_silence(tmp_path: Path) -> None:
    history = History(tmp_path / "session")
    history.add(0, chunk(0))
    window = history.window()
    assert window.shape == (WINDOW_SAMPLES,)
    assert not window[:-CHUNK_SAMPLES].any()
    assert (window[-CHUNK_SAMPLES:] == 1).all()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(gaps=st.lists(st.sampled_from([1, 1, 1, 2, 7, 40, 600]), min_size=1, max_size=700))
def test_the_window_is_the_newest_sixteen_chunks_whatever_was_lost(tmp_path: Path, gaps: list[int]) -> None:
    history = History(tmp_path / "session")
    sequence, came = -1, set()
    for gap in gaps:
        sequence += gap
        came.add(sequence)
        history.add(sequence, chunk(sequence))
    np.testing.assert_array_equal(history.window(), expected_window(came, sequence))
    history.remove()


def test_another_process_goes_on_where_the_first_one_died(tmp_path: Path) -> None:
    first = History(tmp_path / "session")
    for sequence in range(HISTORY_CHUNKS + 5):
        first.add(sequence, chunk(sequence))
    second = History(tmp_path / "session")
    assert second.next == HISTORY_CHUNKS + 5
    np.testing.assert_array_equal(second.window(), first.window())


def test_removed_means_gone(tmp_path: Path) -> None:
    history = History(tmp_path / "session")
    history.remove()
    assert not (tmp_path / "session").exists()
