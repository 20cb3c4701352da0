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


def options(threads: int) -> onnxruntime.SessionOptions:
    """Of a session that leaves idle cores to the other stages."""
    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads = threads
    chosen.inter_op_num_threads = 1
    chosen.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return chosen


def load(speaker: Speaker, file: str, chosen: onnxruntime.SessionOptions) -> onnxruntime.InferenceSession:
    """One network of a speaker's package.

    Raises:
        SpeakerError: ONNX Runtime cannot load it.
    """
    path = speaker.path(file)
    try:
        return onnxruntime.InferenceSession(str(path), chosen, providers=_providers())
    except Exception as error:  # ONNX Runtime's exceptions have no common base of their own
        raise SpeakerError(f"{path}: ONNX Runtime cannot load it: {error}") from error


def description_of(session: onnxruntime.InferenceSession, threads: int) -> str:
    """Which runtime, on which device: for people."""
    device = session.get_providers()[0].removesuffix("ExecutionProvider").lower()
    return f"onnxruntime {onnxruntime.__version__}, {device}, {threads} thread(s)"


class OnnxEngine:
    """See the module's docstring.

    Raises:
        SpeakerError: a network cannot be loaded.
    """

    def __init__(self, speaker: Speaker, threads: int = 1) -> None:
        if speaker.manifest.articulator is None or speaker.manifest.image is not None:
            raise SpeakerError(f"{speaker.name}: its networks see pictures; models.engine.image runs them")
        chosen = options(threads)
        self._speaker = speaker
        self._articulator = load(speaker, speaker.manifest.articulator, chosen)
        self._painter = load(speaker, speaker.manifest.painter, chosen)
        self.description = description_of(self._painter, threads)

    def warm_up(self) -> None:
        """See :func:`models.engine.base.warm_up`."""
        warm_up(self, self._speaker)

    def articulate(self, features: NDArray[np.float32]) -> Articulation:
        (articulation,) = self._articulator.run(["articulation"], {"features": features})
        return articulation  # type: ignore[no-any-return]

    def paint(self, articulation: Articulation) -> Pixels:
        (pixels,) = self._painter.run(["pixels"], {"articulation": articulation})
        return pixels  # type: ignore[no-any-return]
