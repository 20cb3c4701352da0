"""What an ONNX network costs: its arithmetic, counted from its graph. Needs the extra ``train`` (onnx)."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime


def gflop(path: Path) -> float:
    """Floating-point operations for one frame, in thousands of millions; two for a multiplication and its addition.

    Counts convolutions and matrix products, which are nearly all of it. Raises ValueError if a shape cannot be
    inferred.
    """
    model = _folded(path)
    for given in model.graph.input:
        given.type.tensor_type.shape.dim[0].dim_value = 1
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    shapes = {value.name: _shape(value) for value in (*graph.input, *graph.value_info, *graph.output)}
    shapes |= {weight.name: tuple(weight.dims) for weight in graph.initializer}
    multiplications = 0
    for node in graph.node:
        if node.op_type == "MatMulNBits":
            sizes = {attribute.name: attribute.i for attribute in node.attribute}
            multiplications += sizes["K"] * sizes["N"]
        if node.op_type not in ("Conv", "Gemm", "MatMul"):
            continue
        weight, made = shapes.get(node.input[1], ()), shapes.get(node.output[0], ())
        if not weight or not made or not all(made):
            msg = f"{path}: the shape of {node.name or node.op_type} cannot be inferred"
            raise ValueError(msg)
        each = np.prod(weight[1:]) if node.op_type == "Conv" else _inner(node, weight)
        multiplications += int(np.prod(made) * each)
    return 2 * multiplications / 1e9


def _folded(path: Path) -> "onnx.ModelProto":
    """The graph with everything computed that does not depend on its input, by ONNX Runtime's basic rules."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    for given in onnx.load(str(path), load_external_data=False).graph.input:
        options.add_free_dimension_override_by_name(given.type.tensor_type.shape.dim[0].dim_param, 1)
    with tempfile.TemporaryDirectory() as scratch:
        options.optimized_model_filepath = str(Path(scratch) / "folded.onnx")
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return onnx.load(options.optimized_model_filepath)


def _inner(node: "onnx.NodeProto", weight: tuple[int, ...]) -> int:
    """The length of the rows that a matrix product multiplies."""
    turned = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    return weight[-1] if turned else weight[-2]


def _shape(value: "onnx.ValueInfoProto") -> tuple[int, ...]:
    return tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)
