"""The articulator as it is served says what the trained one says, in fewer operations."""

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")

from models.articulation import CHANNELS  # noqa: E402
from models.frontend import BANDS, STEPS  # noqa: E402
from models.training.articulator import APERTURE, SURENESS, WIDTH, Articulator  # noqa: E402
from models.training.export import export  # noqa: E402
from models.training.fused import fused  # noqa: E402

HALF_PRECISION = 5e-3


def trained(summaries: int) -> Articulator:
    """An articulator whose normalisation has seen something."""
    torch.manual_seed(summaries)
    articulator = Articulator(32, summaries)
    articulator.mean.normal_()
    articulator.scale.uniform_(0.5, 2)
    with torch.no_grad():
        articulator.channels.weight.mul_(20)
        articulator.gates.weight.mul_(4)
        for _ in range(20):
            articulator(torch.randn(16, BANDS, STEPS) * 2 + 1)
    articulator.eval()
    return articulator


@pytest.mark.parametrize("summaries", [0, 3])
@pytest.mark.parametrize("floor", [0.0, 0.02])
def test_it_says_what_the_trained_one_says(summaries: int, floor: float) -> None:
    articulator = trained(summaries)
    features = torch.randn(64, BANDS, STEPS) * 2 + 1
    with torch.no_grad():
        said = fused(articulator, floor).eval()(features)
        articulator.calibration.copy_(torch.tensor(SURENESS))
        expected = articulator(features).articulation.clone()
    expected[:, APERTURE] = (expected[:, APERTURE] - floor) / (1 - floor)
    low = torch.zeros(len(CHANNELS))
    low[WIDTH] = -1
    expected = torch.minimum(torch.maximum(expected, low), torch.ones(len(CHANNELS)))
    assert expected.std(dim=0).min() > 4 * HALF_PRECISION, "there is something to get wrong in every channel"
    assert (said - expected).abs().max() < HALF_PRECISION


def test_it_has_few_operations(tmp_path: Path) -> None:
    path = export(trained(3), tmp_path, "near", 40)
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert "BatchNormalization" not in kinds
    on_the_way = [kind for kind in kinds if kind not in ("Cast", "Constant", "Identity")]
    assert len(on_the_way) <= 27
