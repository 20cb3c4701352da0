"""Backends: all say the same, the fastest is chosen, and the choice is kept."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from models.engine import OnnxEngine, choose
from models.engine.choose import Choice
from models.engine.choose import choose as chosen_for
from models.engine.torch import TorchEngine
from models.frontend import BANDS, STEPS
from models.speaker import SPEAKERS_DIR, Speaker, SpeakerError, list_speakers, open_speaker

SHIPPED = [speaker.name for speaker in list_speakers(SPEAKERS_DIR)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "lipwire" / "engines.json"


@pytest.fixture
def speaker() -> Speaker:
    return open_speaker("default")


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("batch", [1, 3])
def test_torch_paints_what_onnx_runtime_paints(name: str, batch: int) -> None:
    shipped = open_speaker(name)
    usual, torch = OnnxEngine(shipped), TorchEngine(shipped)
    torch.warm_up()
    features = np.random.default_rng(batch).random((batch, BANDS, STEPS), np.float32)
    # ONNX Runtime brings what goes into the large layers to int8 as well, 1/127 of the largest of each 64 values.
    np.testing.assert_allclose(torch.articulate(features), usual.articulate(features), atol=0.5 / 127)
    mouths = np.random.default_rng(batch).random((batch, 7), np.float32)
    assert np.abs(torch.paint(mouths).astype(int) - usual.paint(mouths)).max() <= 1


@pytest.mark.parametrize("name", SHIPPED)
def test_a_mouth_is_the_same_in_any_batch(name: str) -> None:
    engine = OnnxEngine(open_speaker(name))
    features = np.random.default_rng(0).random((4, BANDS, STEPS), np.float32)
    alone = [engine.articulate(window[None]) for window in features]
    for batch in (2, 3, 4):
        together = engine.articulate(features[:batch])
        np.testing.assert_array_equal(together, np.concatenate(alone[:batch]))
        np.testing.assert_array_equal(engine.paint(together), np.concatenate(list(map(engine.paint, alone[:batch]))))


@pytest.mark.parametrize("name", SHIPPED)
def test_openvino_paints_what_onnx_runtime_paints(name: str) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    shipped = open_speaker(name)
    usual, other = OnnxEngine(shipped), choose.open_engine(shipped, Choice(backend="openvino", threads=1))
    random = np.random.default_rng(0)
    features, mouths = random.random((3, BANDS, STEPS), np.float32), random.random((3, 7), np.float32)
    np.testing.assert_allclose(other.articulate(features), usual.articulate(features), atol=0.5 / 127)
    assert np.abs(other.paint(mouths).astype(int) - usual.paint(mouths)).max() <= 1


def test_torch_says_what_it_cannot_run(speaker: Speaker, tmp_path: Path) -> None:
    folder = tmp_path / "default"
    shutil.copytree(speaker.folder, folder)
    shutil.copy(folder / "painter.onnx", folder / "articulator.onnx")  # some other network
    with pytest.raises(SpeakerError, match="not a network that torch can run here"):
        TorchEngine(Speaker(folder, speaker.manifest))


def test_the_choice_is_measured_once_and_kept(speaker: Speaker, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times: list[dict[str, float]] = [{"onnxruntime 1 thread": 4.0, "torch 1 thread": 2.0}]
    monkeypatch.setattr(choose, "measure", lambda *_: times.pop())
    first = chosen_for(speaker, "auto", 1)
    assert (first.backend, first.threads) == ("torch", 1)
    assert "torch 1 thread 2.0 ms" in first.reason
    assert cache.is_file()
    assert chosen_for(speaker, "auto", 1) == first  # nothing left to measure with


@pytest.mark.parametrize(
    ("measured", "backend", "threads"),
    [
        ({"onnxruntime 1 thread": 4.0, "torch 1 thread": 3.8}, "onnxruntime", 1),
        ({"onnxruntime 1 thread": 4.0, "onnxruntime 2 threads": 3.0}, "onnxruntime", 1),
        ({"onnxruntime 1 thread": 4.0, "onnxruntime 2 threads": 2.0}, "onnxruntime", 2),
        ({}, "onnxruntime", 1),
    ],
)
def test_what_costs_more_must_be_much_faster(
    speaker: Speaker, monkeypatch: pytest.MonkeyPatch, measured: dict[str, float], backend: str, threads: int
) -> None:
    monkeypatch.setattr(choose, "measure", lambda *_: measured)
    chosen = chosen_for(speaker, "auto", 1)
    assert (chosen.backend, chosen.threads) == (backend, threads)


@pytest.mark.parametrize(("two_ms", "four_ms", "batch"), [(3.9, 4.1, 4), (4.1, 4.8, 2), (4.6, 5.0, 1)])
def test_windows_are_taken_together_unless_a_frame_of_theirs_costs_more(
    speaker: Speaker, monkeypatch: pytest.MonkeyPatch, two_ms: float, four_ms: float, batch: int
) -> None:
    name = "onnxruntime 1 thread"
    measured = {name: 4.0, f"{name}, 2 at once": two_ms, f"{name}, 4 at once": four_ms}
    monkeypatch.setattr(choose, "measure", lambda *_: measured)
    assert chosen_for(speaker, "auto", 1).batch == batch


class Stumbling:
    """An engine on a machine that is ten times slower for its first turn; batches gain nothing."""

    def __init__(self) -> None:
        self.now = 0.0
        self.runs = 0

    def articulate(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        self.runs += 1
        self.now += len(features) * (0.01 if self.runs <= choose.RUNS + 1 else 0.001)
        return features

    def paint(self, articulation: NDArray[np.float32]) -> NDArray[np.float32]:
        return articulation


def test_a_machine_that_is_slow_for_a_while_does_not_decide(speaker: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of four, measured after it, once seemed to pay, and who spoke waited for three others."""
    engine = Stumbling()
    monkeypatch.setattr(choose, "open_engine", lambda *_: engine)
    monkeypatch.setattr("time.perf_counter", lambda: engine.now)
    found = choose._trial(speaker, "onnxruntime", 1)
    assert set(found.values()) == {1.0}


def test_a_damaged_cache_is_measured_anew(speaker: Speaker, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "measure", lambda *_: {"onnxruntime 1 thread": 4.0})
    cache.parent.mkdir()
    cache.write_text("{not json")
    assert chosen_for(speaker, "auto", 1).measured == {"onnxruntime 1 thread": 4.0}
    assert json.loads(cache.read_text())


def test_a_configured_backend_is_not_measured(speaker: Speaker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "measure", lambda *_: pytest.fail("measured"))
    assert chosen_for(speaker, "torch", 2) == Choice(backend="torch", threads=2)
    with pytest.raises(ValueError, match=r"'nonsense' is not installed here.*auto, onnxruntime"):
        chosen_for(speaker, "nonsense", 1)


def test_measuring_tries_every_backend_in_processes_of_their_own(speaker: Speaker) -> None:
    found = choose.measure(speaker, (1,))
    assert {"onnxruntime 1 thread", "onnxruntime 1 thread, 4 at once", "torch 1 thread"} <= found.keys()
    assert all(ms > 0 for ms in found.values())


def test_a_network_that_the_chosen_backend_cannot_run_has_the_usual_one(speaker: Speaker, tmp_path: Path) -> None:
    folder = tmp_path / "default"
    shutil.copytree(speaker.folder, folder)
    other = onnx.load(folder / "articulator.onnx")
    for weight in other.graph.initializer:  # names of somebody else's training
        for node in other.graph.node:
            node.input[:] = ["x" + name if name == weight.name else name for name in node.input]
        weight.name = "x" + weight.name
    onnx.save(other, folder / "articulator.onnx")
    engine = choose.open_like(Speaker(folder, speaker.manifest), Choice(backend="torch", threads=1))
    assert "onnxruntime" in engine.description


def test_no_stage_imports_torch() -> None:
    stages = ("edge", "ingest", "mel", "infer", "publish")
    code = f"import sys, {', '.join(f'stages.{name}' for name in stages)}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
