"""Infer: features in, painted mouths out.

Receives Features; what has arrived together is inferred together, per speaker. In silence nothing is inferred: the
mouth glides to rest and stays there, painted once. Sends Mouth.
"""

import sys
from collections import defaultdict
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.articulation import CHANNELS
from models.engine import Articulation, Pixels
from models.engine.choose import AUTO, Choice, choose, open_like
from models.motion import moved
from models.speaker import Speaker, SpeakerError, open_speaker
from pipeline.messages import Features, Message, Mouth
from pipeline.runtime import Stage, StageContext, run_stage, sent_now
from stages.speakers import open_for, open_installed, speakers_dir

BATCH_LIMIT: Final = 4  # batch 4 costs 3.3 times batch 1: beyond it, waiting grows faster than work shrinks
REST_FRAMES: Final = 5  # 200 ms from wherever the mouth was to rest


class _Face:
    """A loaded speaker."""

    def __init__(self, speaker: Speaker, choice: Choice) -> None:
        self.engine = open_like(speaker, choice)
        self.rest = np.array([speaker.manifest.rest], np.float32)
        self.resting: Pixels = self.engine.paint(self.rest)[0]
        self.has_lips = speaker.manifest.channels == CHANNELS
        self.inferences = 0

    def articulate(self, windows: list[Features]) -> Articulation:
        self.inferences += len(windows)
        features = [np.frombuffer(window.values, np.float32).reshape(window.shape) for window in windows]
        return self.engine.articulate(features[0] if len(features) == 1 else np.concatenate(features))


class Infer(Stage):
    batch_limit = BATCH_LIMIT

    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._mouths = context.writer("mouths")
        own = context.config.process["infer"]
        self._threads = own.threads
        self._choice: Choice | None = None
        self._backend = own.options.get("backend", AUTO)
        self._faces: dict[str, _Face] = {}
        self._shown: dict[str, NDArray[np.float32]] = {}  # the streams' last articulation

    def warm_up(self) -> str:
        try:
            for speaker in open_installed(self._context):
                self._faces[speaker.name] = self._load(speaker)
        except (SpeakerError, ValueError) as error:
            sys.exit(str(error))
        default = self._context.config.pipeline.speaker
        return f"{', '.join(self._faces)}: {self._faces[default].engine.description}"

    def work(self, batch: list[Message]) -> None:
        by_speaker: defaultdict[str, list[Features]] = defaultdict(list)
        for message in batch:
            if isinstance(message, Features):
                by_speaker[message.route.speaker].append(message)
        for windows in by_speaker.values():
            self._paint(self._face(windows[0]), windows)

    def _load(self, speaker: Speaker) -> _Face:
        """By the backend that is best for the default speaker: one is enough in one process."""
        if self._choice is None:
            usual = open_speaker(self._context.config.pipeline.speaker, speakers_dir(self._context))
            self._choice = choose(usual, self._backend, self._threads)
        return _Face(speaker, self._choice)

    def _face(self, window: Features) -> _Face:
        name = window.route.speaker
        face = self._faces.get(name)
        if face is None:
            face = self._faces[name] = self._load(open_for(self._context, window.route))
        return face

    def _paint(self, face: _Face, windows: list[Features]) -> None:
        spoken = [window for window in windows if not window.silent]
        articulations = dict(zip(map(id, spoken), face.articulate(spoken), strict=True)) if spoken else {}
        shown = [self._move(face, window, articulations.get(id(window))) for window in windows]
        moving = [index for index, articulation in enumerate(shown) if (articulation != face.rest[0]).any()]
        painted = (
            dict(zip(moving, face.engine.paint(np.stack([shown[i] for i in moving])), strict=True)) if moving else {}
        )
        for index, window in enumerate(windows):
            self._send(face, window, painted.get(index, face.resting), shown[index])

    def _move(self, face: _Face, window: Features, heard: NDArray[np.float32] | None) -> NDArray[np.float32]:
        """What is shown, from what this stream showed last: with a little inertia where something is heard; in silence
        a step of 1/REST_FRAMES towards rest, so that no mouth jumps and none takes longer than 200 ms."""
        session = window.route.session
        last = self._shown.get(session) if window.route.of_stream else None
        if heard is None:
            last = face.rest[0] if last is None else last
            step = np.float32(1 / REST_FRAMES)
            shown: NDArray[np.float32] = last + np.clip(face.rest[0] - last, -step, step)
        else:
            shown = moved(last, heard) if last is not None and face.has_lips else heard
        if window.route.of_stream:
            self._shown[session] = shown
        return shown

    def _send(self, face: _Face, window: Features, pixels: Pixels, articulation: NDArray[np.float32]) -> None:
        slot = self._mouths.write(np.ascontiguousarray(pixels).data)
        self._context.send(
            "mouths",
            Mouth(
                route=sent_now(window.route),
                slot=slot,
                articulation=tuple(articulation.tolist()),
                end_sample=window.end_sample,
                level=window.level,
                silent=window.silent,
                inferences=face.inferences,
            ),
        )

    def close(self, session: str) -> None:
        self._shown.pop(session, None)


if __name__ == "__main__":
    run_stage("infer", Infer)
