"""Weights in half precision: half the size of a file, the same arithmetic once they are loaded."""

from pathlib import Path
from typing import Final

import numpy as np
import onnx
from torch import Tensor

HALF: Final = ".half"
"""Ends the names of weights that are stored in half precision."""
SMALL: Final = 256
"""Values of a weight up to which it stays as it is: biases and constants, nothing of a file's size."""


def rounded(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A network's state with what :func:`halve` stores in half precision rounded to it: what is judged ships."""
    return {
        name: value.half().to(value.dtype) if value.is_floating_point() and value.numel() > SMALL else value
        for name, value in weights.items()
    }


def halve(path: Path) -> None:
    """Store an ONNX file's weights as float16, cast back on loading: half the size, the same arithmetic."""
    model = onnx.load(str(path))
    graph = model.graph
    casts = []
    for weight in list(graph.initializer):
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.size > SMALL:
            small = onnx.numpy_helper.from_array(values.astype(np.float16), f"{weight.name}{HALF}")
            cast = onnx.helper.make_node("Cast", [small.name], [weight.name], to=onnx.TensorProto.FLOAT)
            graph.initializer.remove(weight)
            graph.initializer.append(small)
            casts.append(cast)
    rest = list(graph.node)
    del graph.node[:]
    graph.node.extend(casts + rest)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
