"""PyTorch: the same networks with the same weights, read from the speaker's ONNX files by their names.

On CUDA in half precision, channels last, one CUDA graph for each batch size, its input and output in pinned memory.
That path is written for real and was not measured here: there is no GPU on the machine this was written on. On a CPU,
eager PyTorch takes twice ONNX Runtime's time. Needs the extra ``torch``.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.engine.base import BATCHES, Articulation, Pixels, warm_up
from models.frontend import BANDS, STEPS
from models.speaker import Speaker, SpeakerError
from models.training.articulator import Articulator
from models.training.fused import Exported
from models.training.half import HALF
from models.training.int8 import QUANTISED, Blocks
from models.training.painter import Painter, Serving


def _weights(path: Path) -> dict[str, Tensor]:
    """Every named weight of an ONNX file, as float32."""
    graph = onnx.load(path).graph
    stored = {each.name.removesuffix(HALF): onnx.numpy_helper.to_array(each) for each in graph.initializer}
    for product in graph.node:
        if product.op_type == "MatMulNBits":
            values, scale = (stored.pop(name) for name in product.input[1:3])
            (inputs,) = (each.i for each in product.attribute if each.name == "K")
            stored[product.input[1].removesuffix(QUANTISED)] = Blocks(values, scale).weight(inputs)
    return {name: torch.from_numpy(np.array(values, np.float32)) for name, values in stored.items() if values.ndim}


def _articulator(weights: dict[str, Tensor]) -> nn.Module:
    first = weights["heard.0.weight"]  # [width / 8, 1 + summaries, bands, steps]
    return Exported(Articulator(8 * first.shape[0], first.shape[1] - 1))


def _painter(_weights: dict[str, Tensor]) -> nn.Module:
    return Serving(Painter())


class TorchEngine:
    """See the module's docstring.

    Raises:
        SpeakerError: the networks are not of the architecture that this project trains.
    """

    def __init__(self, speaker: Speaker, threads: int = 1) -> None:
        torch.set_num_threads(threads)
        self._speaker = speaker
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if speaker.manifest.articulator is None:
            raise SpeakerError(f"{speaker.name}: not a network that torch can run here: it hears no live sound")
        self._articulate = self._run(self._load(speaker.manifest.articulator, _articulator), (BANDS, STEPS))
        self._paint = self._run(self._load(speaker.manifest.painter, _painter), (len(speaker.manifest.channels),))
        self.description = f"torch {torch.__version__}, {self._device.type}, {threads} thread(s)"

    def _load(self, file: str, architecture: Callable[[dict[str, Tensor]], nn.Module]) -> nn.Module:
        path = self._speaker.path(file)
        try:
            weights = _weights(path)
            network = architecture(weights)
            known = network.state_dict()
            network.load_state_dict(
                {name: weights[name].reshape(known[name].shape) for name in known if name in weights}, strict=False
            )
            missing = [name for name in known if name not in weights and not _is_bookkeeping(name)]
        except (KeyError, RuntimeError, onnx.checker.ValidationError) as error:
            raise SpeakerError(f"{path}: not a network that torch can run here: {error}") from error
        if missing:
            raise SpeakerError(f"{path}: not a network that torch can run here: it has no {missing[0]}")
        return network.eval().to(self._device, memory_format=torch.channels_last)

    def _run(self, network: nn.Module, shape: tuple[int, ...]) -> Callable[[NDArray[np.float32]], NDArray[np.generic]]:
        if self._device.type == "cpu":
            return _on_cpu(network)
        return _OnCuda(network, shape, self._device)

    def warm_up(self) -> None:
        """See :func:`models.engine.base.warm_up`."""
        warm_up(self, self._speaker)

    def articulate(self, features: NDArray[np.float32]) -> Articulation:
        return self._articulate(features).astype(np.float32, copy=False)

    def paint(self, articulation: Articulation) -> Pixels:
        return self._paint(articulation).astype(np.uint8, copy=False)


def _is_bookkeeping(name: str) -> bool:
    """What a network has for its training, or sets itself, and an ONNX file does not keep."""
    return name.endswith("num_batches_tracked") or ".phones." in name


def _on_cpu(network: nn.Module) -> Callable[[NDArray[np.float32]], NDArray[np.generic]]:
    def run(values: NDArray[np.float32]) -> NDArray[np.generic]:
        with torch.inference_mode():
            made: NDArray[np.generic] = network(torch.from_numpy(values)).numpy()
        return made

    return run


class _OnCuda:
    """A captured graph for each batch size; a batch of another size is filled up to the next."""

    def __init__(self, network: nn.Module, shape: tuple[int, ...], device: torch.device) -> None:
        self._graphs = {batch: self._capture(network, (batch, *shape), device) for batch in BATCHES}

    @staticmethod
    def _capture(
        network: nn.Module, shape: tuple[int, ...], device: torch.device
    ) -> tuple[torch.cuda.CUDAGraph, Tensor, Tensor, Tensor, Tensor]:
        host_in = torch.zeros(shape, pin_memory=True)
        given = torch.zeros(shape, device=device)
        with torch.inference_mode(), torch.autocast("cuda", torch.float16):
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):  # as CUDA graphs ask: everything is allocated before the capture
                for _ in range(3):
                    network(given)
            torch.cuda.current_stream().wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                made = network(given)
        return graph, host_in, given, made, torch.empty(made.shape, dtype=made.dtype, pin_memory=True)

    def __call__(self, values: NDArray[np.float32]) -> NDArray[np.generic]:
        count = len(values)
        batch = next((size for size in BATCHES if size >= count), BATCHES[-1])
        if count > batch:
            return np.concatenate([self(values[start : start + batch]) for start in range(0, count, batch)])
        graph, host_in, given, made, host_out = self._graphs[batch]
        host_in[:count].copy_(torch.from_numpy(values))
        given.copy_(host_in, non_blocking=True)
        graph.replay()
        host_out.copy_(made, non_blocking=True)
        torch.cuda.current_stream().synchronize()
        result: NDArray[np.generic] = host_out[:count].numpy().copy()
        return result
