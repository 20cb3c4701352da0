"""A loaded speaker, as infer has it: from what was heard to the pixels of the mouth.

Two kinds: one that this project trains (an articulation of a few channels, moved with a little inertia, painted), and
one that was imported (a network that sees the base frame as well).
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from models.articulation import CHANNELS
from models.engine import Articulation, Pixels
from models.engine.choose import Choice, open_like
from models.engine.image import ImageEngine
from models.listen import FRONT_ENDS
from models.motion import moved, towards_rest
from models.speaker import Speaker
from pipeline.audio import WINDOW_SAMPLES
from pipeline.messages import Features

LOADED_OVER_STORED: Final = 9
"""What a network holds in memory over what it holds on disc, in half precision: measured, ONNX Runtime 1.32."""
RESTING_KEPT: Final = 512
"""Mouths at rest of an imported speaker, one for each base frame; 0.3 MB each."""


class Painted(NamedTuple):
    """One window's mouth."""

    pixels: Pixels
    """[height, width, 3] RGB."""
    articulation: tuple[float, ...]
    """By the manifest's channels; empty where it has none."""


class Face(Protocol):
    """What infer needs of a speaker."""

    inferences: int
    bytes: int
    """That it holds in memory, near enough."""
    device: str
    """What its networks run on, for people."""
    slow: bool
    """Whether it is painted beside the others, so that they do not wait for it."""

    def paint(self, windows: Sequence[Features]) -> list[Painted]:
        """A mouth for each window, in their order."""

    def forget(self, session: str) -> None:
        """Let go of what is kept for a session."""


def face_of(speaker: Speaker, choice: Choice) -> Face:
    """Load it.

    Raises:
        SpeakerError: it cannot be loaded.
    """
    return LipsFace(speaker, choice) if speaker.manifest.image is None else SeeingFace(speaker, choice.threads)


def _bytes_of(speaker: Speaker) -> int:
    return LOADED_OVER_STORED * sum(network.stat().st_size for network in speaker.networks())


def _stacked(windows: Sequence[Features]) -> NDArray[np.float32]:
    features = [np.frombuffer(window.values, np.float32).reshape(window.shape) for window in windows]
    return features[0] if len(features) == 1 else np.concatenate(features)


class LipsFace:
    """In silence nothing is inferred: the mouth glides to rest and stays there, painted once."""

    def __init__(self, speaker: Speaker, choice: Choice) -> None:
        self.engine = open_like(speaker, choice)
        self.inferences = 0
        self.bytes = _bytes_of(speaker)
        self.slow = False
        self.device = self.engine.description
        self._rest = np.array(speaker.manifest.rest, np.float32)
        self._resting: Pixels = self.engine.paint(self._rest[None])[0]
        self._batch = speaker.manifest.batch
        self._has_lips = speaker.manifest.channels == CHANNELS
        self._shown: dict[str, NDArray[np.float32]] = {}  # the streams' last articulation

    def paint(self, windows: Sequence[Features]) -> list[Painted]:
        spoken = [window for window in windows if not window.silent]
        self.inferences += len(spoken)
        heard = dict(zip(map(id, spoken), self._articulate(spoken), strict=True)) if spoken else {}
        shown = [self._move(window, heard.get(id(window))) for window in windows]
        moving = [index for index, articulation in enumerate(shown) if (articulation != self._rest).any()]
        painted: dict[int, Pixels] = {}
        for start in range(0, len(moving), self._batch):
            together = moving[start : start + self._batch]
            painted |= zip(together, self.engine.paint(np.stack([shown[index] for index in together])), strict=True)
        return [
            Painted(painted.get(index, self._resting), tuple(articulation.tolist()))
            for index, articulation in enumerate(shown)
        ]

    def _articulate(self, windows: Sequence[Features]) -> Articulation:
        return self.engine.articulate(_stacked(windows))

    def _move(self, window: Features, heard: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """What is shown, from what this stream showed last: with a little inertia where something is heard, on its way
        to rest in silence."""
        session = window.route.session
        last = self._shown.get(session) if window.route.of_stream else None
        if heard is None:
            shown = towards_rest(self._rest if last is None else last, self._rest)
        else:
            shown = moved(last, heard) if last is not None and self._has_lips else heard
        if window.route.of_stream:
            self._shown[session] = shown
        return shown

    def forget(self, session: str) -> None:
        self._shown.pop(session, None)


class SeeingFace:
    """What it says in silence is heard once; over each base frame that is painted once, as every one of them needs a
    picture of its own."""

    def __init__(self, speaker: Speaker, threads: int) -> None:
        self.engine = ImageEngine(speaker, threads)
        self.inferences = 0
        self.bytes = _bytes_of(speaker)
        self.slow = True
        self.device = self.engine.description
        self._base = speaker.manifest.base
        self._resting: OrderedDict[int, Pixels] = OrderedDict()
        self._rest = np.zeros((1, self.engine.width), np.float32)
        if speaker.manifest.articulator is not None:
            silence = FRONT_ENDS[speaker.manifest.front_end](np.zeros(WINDOW_SAMPLES, np.float32))
            self._rest = self.engine.articulate(silence)
        self._at_rest(0)  # the first painting is no user's

    def paint(self, windows: Sequence[Features]) -> list[Painted]:
        return [Painted(self._paint(window), ()) for window in windows]

    def _paint(self, window: Features) -> Pixels:
        base = self._base.index(window.route.frame_id)
        if window.silent:
            return self._at_rest(base)
        self.inferences += 1
        features = _stacked([window])
        # Precomputed features are what the encoder would have said.
        said = features if features.shape == (1, self.engine.width) else self.engine.articulate(features)
        pixels: Pixels = self.engine.paint(said, [base])[0]
        return pixels

    def _at_rest(self, base: int) -> Pixels:
        pixels = self._resting.get(base)
        if pixels is None:
            pixels = self._resting[base] = self.engine.paint(self._rest, [base])[0]
            if len(self._resting) > RESTING_KEPT:
                self._resting.popitem(last=False)
        return pixels

    def forget(self, session: str) -> None:
        """It keeps nothing of a session."""
