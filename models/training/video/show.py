"""The frames that a client of a speaker gets, for any track of articulations."""

from collections.abc import Iterator

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from models.compose import Composer
from models.engine import OnnxEngine
from models.speaker import Speaker


def pictures(speaker: Speaker, track: NDArray[np.float32]) -> Iterator[NDArray[np.uint8]]:
    """[h, w, 3] RGB, whole frames of the speaker with this mouth [T, 7], as served."""
    composer, engine = Composer(speaker), OnnxEngine(speaker)
    for number, mouth in enumerate(track):
        base = number % composer.count
        box, mixed = composer.mix(engine.paint(mouth[None])[0], base)
        yield simplejpeg.decode_jpeg(composer.encoded(base, box, mixed), colorspace="RGB")
