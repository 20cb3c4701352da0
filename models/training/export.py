"""The fitted articulator as it is shipped: ``articulator.onnx`` and ``articulator.json``."""

import json
import logging
from pathlib import Path
from typing import Final

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray

from models.articulation import CHANNELS
from models.frontend import BANDS, STEPS
from models.training.articulator import Articulator
from models.training.fused import fused
from models.training.half import halve
from models.training.int8 import quantise

OPSET: Final = 17
EXACT: Final = 1e-4
"""How far what is said may be from the trained network whose weights were rounded to half precision."""
SHRUNK: Final = 0.02
"""The same with large layers in int8: a fiftieth of a channel's range is not seen."""

ATTRIBUTION: Final = (
    "Trained on recordings and texts of LibriSpeech (train-clean-100), V. Panayotov, G. Chen, D. Povey and "
    "S. Khudanpur, 'LibriSpeech: an ASR corpus based on public domain audio books', ICASSP 2015, "
    "https://www.openslr.org/12, CC BY 4.0, https://creativecommons.org/licenses/by/4.0/. Changed: degraded by "
    "noise, rooms and codecs, and aligned with phones. The network contains no recording."
)
"""What the licence of the speech asks to be shipped beside the weights."""


def export(
    model: Articulator,
    folder: Path,
    front_end: str,
    lookahead_ms: float,
    *,
    floor: float = 0.0,
    attribution: str = ATTRIBUTION,
) -> Path:
    """Write the two files into ``folder``; the network is checked against the model before it takes its
    place."""
    folder.mkdir(parents=True, exist_ok=True)
    served = fused(model, floor).eval()
    partial = folder / "articulator.partial.onnx"
    sample = torch.randn(3, BANDS, STEPS)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    torch.onnx.export(
        served,
        (sample,),
        str(partial),
        input_names=["features"],
        output_names=["articulation"],
        dynamic_axes={"features": {0: "n"}, "articulation": {0: "n"}},
        opset_version=OPSET,
        dynamo=False,
        do_constant_folding=False,  # the weights keep their names: models/engine/torch.py reads them
    )
    with torch.no_grad():
        expected = served(sample).numpy()
    for shrink, allowed in ((halve, EXACT), (quantise, SHRUNK)):
        shrink(partial)
        difference = float(np.abs(Network(partial)(sample.numpy()) - expected).max())
        if difference > allowed:
            msg = f"after {shrink.__name__} the network differs from the trained one by {difference:.2g}"
            raise RuntimeError(msg)
    onnx.checker.check_model(onnx.load(partial), full_check=True)
    path = folder / "articulator.onnx"
    partial.replace(path)
    about = {"front_end": front_end, "lookahead_ms": lookahead_ms, "attribution": attribution}
    (folder / "articulator.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return path


class Network:
    """An exported articulator under ONNX Runtime, one thread, as it is served."""

    def __init__(self, path: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def __call__(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """[N, 32, 16] -> [N, 7]."""
        articulation: NDArray[np.float32] = self._session.run(None, {"features": features})[0]
        if articulation.shape != (len(features), len(CHANNELS)):
            msg = f"an articulator gives [N, {len(CHANNELS)}], this one {articulation.shape}"
            raise ValueError(msg)
        return articulation


@torch.no_grad()  # type: ignore[untyped-decorator]
def evaluate(model: Articulator, features: NDArray[np.float32], floor: float = 0.0) -> NDArray[np.float32]:
    """[N, 32, 16] -> [N, 7], as it would be served, without exporting."""
    articulation: NDArray[np.float32] = fused(model, floor).eval()(torch.from_numpy(features)).numpy()
    return articulation
