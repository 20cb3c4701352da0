"""What the infer stage needs of a backend."""

from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from models.frontend import BANDS, STEPS
from models.speaker import Speaker, SpeakerError

Articulation = NDArray[np.float32]
Pixels = NDArray[np.uint8]

BATCHES: Final = (1, 2, 4)
"""Sizes that are run once before anybody waits; beyond the largest, waiting grows faster than work shrinks."""


class Engine(Protocol):
    """One speaker's networks, loaded."""

    description: str

    def articulate(self, features: NDArray[np.float32]) -> Articulation:
        """float32 [N, 32, 16] -> float32 [N, K], in the order of the manifest's channels."""

    def paint(self, articulation: Articulation) -> Pixels:
        """float32 [N, K] -> uint8 [N, height, width, 3] RGB."""


def warm_up(engine: Engine, speaker: Speaker) -> None:
    """Run every batch size once: the first inference must never be a user's.

    Raises SpeakerError where the networks do not have the shapes that the manifest promises.
    """
    mouth, channels = speaker.manifest.mouth, len(speaker.manifest.channels)
    for batch in BATCHES:
        articulation = engine.articulate(np.zeros((batch, BANDS, STEPS), np.float32))
        if articulation.shape != (batch, channels):
            raise SpeakerError(f"{speaker.name}: the articulator gives {articulation.shape}, not {(batch, channels)}")
        pixels = engine.paint(articulation)
        expected = (batch, mouth.height, mouth.width, 3)
        if pixels.shape != expected or pixels.dtype != np.uint8:
            raise SpeakerError(f"{speaker.name}: the painter gives {pixels.dtype} {pixels.shape}, not uint8 {expected}")
