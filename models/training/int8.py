"""Large dense layers in int8: a quarter of the bytes that every frame has to read, the same mouth.

At one window at a time a dense layer costs what its weights cost to fetch from memory, and no arithmetic to speak of.
Its weights are kept as int8 in blocks of 64 of a row, each with a scale of its own, and multiplied by ONNX Runtime's
MatMulNBits, which brings each window's own values to int8 as well: what it says of a window does not depend on the
batch that it came in.
"""

from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from models.training.half import HALF

LARGE: Final = 65_536
"""Weights of a layer from which it is worth it."""
BLOCK: Final = 64
"""Values with a scale of their own. Of 128 and more, ONNX Runtime's AVX-512 kernels (1.32) add up one window and
several in different orders: the same window would say other last bits in another batch."""
_ZERO: Final = 128
"""What stands for 0, as MatMulNBits has it."""
_STEPS: Final = 127
_INT8_ARITHMETIC: Final = 4
"""MatMulNBits' accuracy_level: both factors in int8, sums in int32."""
_DOMAIN: Final = "com.microsoft"
QUANTISED: Final = ".int8"
SCALE: Final = ".scale"


class Blocks(NamedTuple):
    """A weight [outputs, inputs] in blocks; inputs are filled up to whole blocks with zeros."""

    values: NDArray[np.uint8]
    """[outputs, blocks, BLOCK]"""
    scale: NDArray[np.float32]
    """[outputs, blocks]"""

    def weight(self, inputs: int) -> NDArray[np.float32]:
        """[outputs, inputs] as they are multiplied."""
        exact = (self.values.astype(np.float32) - _ZERO) * self.scale[..., None]
        return exact.reshape(len(exact), -1)[:, :inputs]


def blocks_of(weight: NDArray[np.float32]) -> Blocks:
    """The nearest int8 of each weight [outputs, inputs]."""
    outputs, inputs = weight.shape
    whole = np.pad(weight, ((0, 0), (0, -inputs % BLOCK))).reshape(outputs, -1, BLOCK)
    scale = np.maximum(np.abs(whole).max(-1) / _STEPS, np.finfo(np.float32).tiny).astype(np.float32)
    values = np.round(whole / scale[..., None]) + _ZERO
    return Blocks(values.astype(np.uint8), scale)


def quantise(path: Path) -> None:
    """Rewrite an ONNX file, halved or not: each product by the transpose of a large weight, and its bias, becomes one
    in int8.

    The weight ``NAME`` is then kept as ``NAME.int8`` and ``NAME.scale``.
    """
    model = onnx.load(str(path))
    graph = model.graph
    stored = {each.name: each for each in graph.initializer}
    nodes = []
    for node in graph.node:
        name = _large_weight(node, stored) if node.op_type == "Gemm" else None
        if name is None:
            nodes.append(node)
            continue
        kept = stored.get(name) or stored[f"{name}{HALF}"]
        weight = onnx.numpy_helper.to_array(kept).astype(np.float32)
        graph.initializer.remove(kept)
        nodes.append(_product(graph, node, name, weight))
    used = {name for node in nodes for name in node.input} | {made.name for made in graph.output}
    del graph.node[:]
    graph.node.extend(_needed(nodes, used))
    model.opset_import.append(onnx.helper.make_opsetid(_DOMAIN, 1))
    onnx.save(model, str(path))


def _large_weight(product: "onnx.NodeProto", stored: "dict[str, onnx.TensorProto]") -> str | None:
    """The name of the weight by whose transpose ``product`` multiplies, if that is stored, and large."""
    turned = any(attribute.name == "transB" and attribute.i for attribute in product.attribute)
    name = product.input[1]
    kept = stored.get(name) or stored.get(f"{name}{HALF}")
    return name if turned and kept is not None and np.prod(kept.dims) >= LARGE else None


def _product(
    graph: "onnx.GraphProto", product: "onnx.NodeProto", name: str, weight: NDArray[np.float32]
) -> "onnx.NodeProto":
    """The node that takes the place of ``product``; its weights are added to the graph."""
    blocks = blocks_of(weight)
    named = {f"{name}{QUANTISED}": blocks.values, f"{name}{SCALE}": blocks.scale}
    graph.initializer.extend(onnx.numpy_helper.from_array(values, each) for each, values in named.items())
    outputs, inputs = weight.shape
    # Said, as shape inference does not know the operator.
    shape = onnx.helper.make_tensor_value_info(product.output[0], onnx.TensorProto.FLOAT, ("n", outputs))
    graph.value_info.append(shape)
    nothing = ("", "")  # no zero points, no order of columns
    sizes = {"K": inputs, "N": outputs, "bits": 8, "block_size": BLOCK, "accuracy_level": _INT8_ARITHMETIC}
    return onnx.helper.make_node(
        "MatMulNBits",
        [product.input[0], *named, *nothing, *product.input[2:]],
        list(product.output),
        product.name,
        domain=_DOMAIN,
        **sizes,
    )


def _needed(nodes: "list[onnx.NodeProto]", used: set[str]) -> "list[onnx.NodeProto]":
    """Without what only brought the weights that are gone to single precision."""
    return [node for node in nodes if node.op_type != "Cast" or node.output[0] in used]
