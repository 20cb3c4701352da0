"""The networks of one speaker, behind one interface: load, warm up, infer a batch.

features [N, 32, 16] --articulator--> articulation [N, K] --painter--> pixels [N, H, W, 3]
"""

from typing import Final, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.frontend import BANDS, STEPS
from models.speaker import Speaker, SpeakerError

Articulation = NDArray[np.float32]
Pixels = NDArray[np.uint8]

_WARM_UP_BATCHES: Final = (1, 2, 4)


class Engine(Protocol):
    """What the infer stage needs of a backend."""

    description: str

    def warm_up(self) -> None:
        """Run every batch size once: the first inference must never be a user's."""

    def articulate(self, features: NDArray[np.float32]) -> Articulation:
        """float32 [N, 32, 16] -> float32 [N, K], in the order of the manifest's channels."""

    def paint(self, articulation: Articulation) -> Pixels:
        """float32 [N, K] -> uint8 [N, height, width, 3] RGB."""


def _providers() -> list[str]:
    """In the order of preference; CUDA was not measured on the machine this was written on."""
    available = onnxruntime.get_available_providers()
    return [name for name in ("CUDAExecutionProvider", "CPUExecutionProvider") if name in available]


class OnnxEngine:
    """ONNX Runtime, on CUDA where the installed runtime has it (onnxruntime-gpu), else on the CPU.

    Raises:
        SpeakerError: a network cannot be loaded, or does not have the shapes that the manifest promises.
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
        mouth, channels = self._speaker.manifest.mouth, len(self._speaker.manifest.channels)
        for batch in _WARM_UP_BATCHES:
            articulation = self.articulate(np.zeros((batch, BANDS, STEPS), np.float32))
            if articulation.shape != (batch, channels):
                raise SpeakerError(
                    f"{self._speaker.name}: the articulator gives {articulation.shape}, not {(batch, channels)}"
                )
            pixels = self.paint(articulation)
            expected = (batch, mouth.height, mouth.width, 3)
            if pixels.shape != expected or pixels.dtype != np.uint8:
                raise SpeakerError(
                    f"{self._speaker.name}: the painter gives {pixels.dtype} {pixels.shape}, not uint8 {expected}"
                )

    def articulate(self, features: NDArray[np.float32]) -> Articulation:
        (articulation,) = self._articulator.run(["articulation"], {"features": features})
        return articulation  # type: ignore[no-any-return]

    def paint(self, articulation: Articulation) -> Pixels:
        (pixels,) = self._painter.run(["pixels"], {"articulation": articulation})
        return pixels  # type: ignore[no-any-return]
