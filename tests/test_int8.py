"""Dense layers in int8: near what they were, alike in any batch, and readable again."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
torch = pytest.importorskip("torch")

from models import cost  # noqa: E402
from models.training import int8  # noqa: E402
from models.training.half import halve  # noqa: E402


@given(st.integers(1, 5), st.integers(1, 300), st.floats(1e-6, 1e3), st.integers(0, 99))
def test_a_weight_is_never_further_away_than_half_a_step_of_its_block(
    outputs: int, inputs: int, size: float, seed: int
) -> None:
    weight = (np.random.default_rng(seed).standard_normal((outputs, inputs)) * size).astype(np.float32)
    blocks = int8.blocks_of(weight)
    again = blocks.weight(inputs)
    assert again.shape == weight.shape
    allowed = np.repeat(blocks.scale, int8.BLOCK, axis=1)[:, :inputs] * 0.501
    assert (np.abs(again - weight) <= allowed).all()


def test_a_weight_of_zeros_stays_so() -> None:
    assert not int8.blocks_of(np.zeros((2, 200), np.float32)).weight(200).any()


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A network of a large layer and a small one as exported and halved, and the same in int8."""
    torch.manual_seed(3)
    network = torch.nn.Sequential(torch.nn.Linear(500, 256), torch.nn.ReLU(), torch.nn.Linear(256, 4))
    folder = tmp_path_factory.mktemp("int8")
    before, after = folder / "before.onnx", folder / "after.onnx"
    for path in (before, after):
        torch.onnx.export(
            network,
            (torch.zeros(1, 500),),
            str(path),
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "n"}, "y": {0: "n"}},
            dynamo=False,
            do_constant_folding=False,
        )
        halve(path)
    int8.quantise(after)
    return before, after


def run(path: Path, x: NDArray[np.float32]) -> NDArray[np.float32]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def test_the_large_layer_alone_is_rewritten_and_says_nearly_the_same(exported: tuple[Path, Path]) -> None:
    before, after = exported
    assert [node.op_type for node in onnx.load(after).graph.node].count("MatMulNBits") == 1
    assert after.stat().st_size < before.stat().st_size * 0.6
    x = np.random.default_rng(1).standard_normal((8, 500)).astype(np.float32)
    expected = run(before, x)
    assert np.abs(run(after, x) - expected).max() < 0.02 * np.abs(expected).max()


def test_a_window_hears_nothing_of_its_batch(exported: tuple[Path, Path]) -> None:
    x = np.random.default_rng(2).standard_normal((4, 500)).astype(np.float32) * np.array([[1], [50], [0.01], [3]])
    together = run(exported[1], x.astype(np.float32))
    alone = np.concatenate([run(exported[1], row[None].astype(np.float32)) for row in x])
    np.testing.assert_array_equal(together, alone)


def test_its_arithmetic_is_counted_as_before(exported: tuple[Path, Path]) -> None:
    assert cost.gflop(exported[1]) == cost.gflop(exported[0]) == 2 * (500 * 256 + 256 * 4) / 1e9
