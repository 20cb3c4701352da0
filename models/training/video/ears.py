"""The articulation, as a speaker's articulator hears it: what the painter will be given when it is served."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models import frontend
from models.frontend import SAMPLE_RATE
from models.motion import moved_along
from models.speaker import Speaker
from models.training.export import Network
from models.training.video.read import FPS

FINE: Final = 4
"""Moments that are heard for each frame: 10 ms apart, so that the sound's lateness is known finer than a frame."""


def heard(samples: NDArray[np.float32], frames: int, speaker: Speaker) -> NDArray[np.float32]:
    """[frames * 4, 7] the mouth at 0, 10, 20 ... ms of the sound (24 kHz), without the motion's inertia.

    A window ends `lookahead_ms` after the moment it is heard for, exactly as it is served.
    """
    manifest = speaker.manifest
    moments = np.arange(frames * FINE, dtype=np.int64) * (SAMPLE_RATE // (FPS * FINE))
    ends = moments + manifest.lookahead_ms * SAMPLE_RATE // 1_000
    network = Network(speaker.articulator())
    features = frontend.get(manifest.front_end).over(samples, ends)
    return np.concatenate([network(part) for part in np.array_split(features, max(1, len(features) // 1_000))])


def at_frames(fine: NDArray[np.float32], late_ms: int) -> NDArray[np.float32]:
    """[T, 7] the mouth of each frame, inertia included, when the sound is `late_ms` behind the picture (a multiple of
    10, either sign)."""
    wanted = np.arange(0, len(fine), FINE) + late_ms * FPS * FINE // 1_000
    return moved_along(fine[np.clip(wanted, 0, len(fine) - 1)])
