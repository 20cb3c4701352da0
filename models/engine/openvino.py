"""OpenVINO, on the CPU. Needs the extra ``openvino``; `models.engine.choose` takes it where it is faster."""

from collections.abc import Callable

import numpy as np
import openvino
from numpy.typing import NDArray

from models.engine.base import Articulation, Pixels
from models.speaker import Speaker, SpeakerError


class OpenvinoEngine:
    """See the module's docstring.

    Raises:
        SpeakerError: a network cannot be loaded.
    """

    def __init__(self, speaker: Speaker, threads: int = 1) -> None:
        if speaker.manifest.articulator is None or speaker.manifest.image is not None:
            raise SpeakerError(f"{speaker.name}: its networks see pictures; models.engine.image runs them")
        self._core = openvino.Core()
        self._options = {
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "f32",  # half where the processor has it would paint something else
            "NUM_STREAMS": 1,
        }
        self._articulate = self._load(speaker, speaker.manifest.articulator)
        self._paint = self._load(speaker, speaker.manifest.painter)
        self.description = f"openvino {openvino.__version__}, {threads} thread(s)"

    def _load(self, speaker: Speaker, file: str) -> Callable[[NDArray[np.float32]], NDArray[np.generic]]:
        path = speaker.path(file)
        try:
            request = self._core.compile_model(str(path), "CPU", self._options).create_infer_request()
        except RuntimeError as error:
            raise SpeakerError(f"{path}: OpenVINO cannot load it: {error}") from error

        def run(values: NDArray[np.float32]) -> NDArray[np.generic]:
            (made,) = request.infer({0: values}).values()
            result: NDArray[np.generic] = made.copy()  # the request's own memory, until it runs again
            return result

        return run

    def articulate(self, features: NDArray[np.float32]) -> Articulation:
        return self._articulate(features).astype(np.float32, copy=False)

    def paint(self, articulation: Articulation) -> Pixels:
        return self._paint(articulation).astype(np.uint8, copy=False)
