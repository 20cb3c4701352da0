"""ONNX Runtime, on CUDA where the installed runtime has it (onnxruntime-gpu), else on the CPU."""

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.engine.base import Articulation, Pixels, warm_up
from models.speaker import Speaker, SpeakerError


def _providers() -> list[str]:
    """In the order of preference; CUDA was not measured on the machine this was written on."""
    available = onnxruntime.get_available_providers()
    return [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]


class OnnxEngine:
    """See the module's docstring.

    Raises:
        SpeakerError: a network cannot be loaded.
    """

    def __init__(self, speaker: Speaker, threads: int = 1) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle cores serve other stages
        self._speaker = speaker
        self._articulator = self._load(speaker.manifest.articulator, options)
        self._painter = self._load(speaker.manifest.painter, options)
        device = self._painter.get_providers()[0].removesuffix("ExecutionProvider").lower()
        self.description = f"onnxruntime {onnxruntime.__version__}, {device}, {threads} thread(s)"

    def _load(self, file: str, options: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
        path = self._speaker.path(file)
        try:
            return onnxruntime.InferenceSession(str(path), options, providers=_providers())
        except Exception as error:  # ONNX Runtime's exceptions have no common base of their own
            raise SpeakerError(f"{path}: ONNX Runtime cannot load it: {error}") from error

    def warm_up(self) -> None:
        """See :func:`models.engine.base.warm_up`."""
        warm_up(self, self._speaker)

    def articulate(self, features: NDArray[np.float32]) -> Articulation:
        (articulation,) = self._articulator.run(["articulation"], {"features": features})
        return articulation  # type: ignore[no-any-return]

    def paint(self, articulation: Articulation) -> Pixels:
        (pixels,) = self._painter.run(["pixels"], {"articulation": articulation})
        return pixels  # type: ignore[no-any-return]
