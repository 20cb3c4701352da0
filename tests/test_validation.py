"""What arrays look like on their way is logged where somebody asks for it, and only there."""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline import logs
from pipeline.validation import describe
from tests.running import running
from tests.test_pipeline_protocols import WINDOW, ask, one

PASSED = ("window", "features", "mouth")


@given(arrays.arrays(np.float32, arrays.array_shapes(max_dims=3), elements=st.floats(width=32)))
def test_it_is_told_as_it_is_whatever_is_in_it(array: "np.ndarray[tuple[int, ...], np.dtype[np.float32]]") -> None:
    told = describe(array)
    assert told["samples"] == array.size
    assert told["shape"] == "x".join(map(str, array.shape))
    assert told["nan"] == np.isnan(array).sum()
    assert told["inf"] == np.isinf(array).sum()
    finite = array[np.isfinite(array)]
    assert ("mean" in told) == bool(finite.size)
    if finite.size:
        assert told["min"] <= told["mean"] <= told["max"] or np.isclose(told["mean"], told["max"], rtol=1e-6)
        assert (told["min"], told["max"]) == (finite.min(), finite.max())


def test_a_slice_with_gaps_is_not_contiguous() -> None:
    assert describe(np.zeros(8))["contiguous"]
    assert not describe(np.zeros(8)[::2])["contiguous"]


async def test_a_pipeline_that_debugs_describes_each_window_on_its_way(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    environment = {**os.environ, logs.LEVEL_VARIABLE: "debug"}
    with running(log, environment=environment) as pipeline:
        answer = await one(pipeline, ask(WINDOW.tobytes()))
        assert answer["success"]
    for what, shape in zip(PASSED, ("15360", "1x32x16", r"\d+x\d+x3"), strict=True):
        (line,) = re.findall(rf"^.*event={what} .*$", log.read_text(), re.MULTILINE)
        for word in (f"shape={shape}", "nan=0", "inf=0", "min=", "max=", "mean=", "contiguous", "device=", "samples="):
            assert re.search(word, line), (word, line)


async def test_without_being_asked_nothing_is_described(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    with running(log) as pipeline:
        assert (await one(pipeline, ask(WINDOW.tobytes())))["success"]
    assert not re.search(r"event=(window|features|mouth) ", log.read_text())


def test_a_level_that_does_not_exist_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(logs.LEVEL_VARIABLE, "loud")
    logs.level.cache_clear()
    with pytest.raises(SystemExit, match="LIPWIRE_LOG=loud: it is one of debug, info"):
        logs.level()
    logs.level.cache_clear()
