"""Infer: features in, painted mouths out.

Receives Features; what has arrived together is inferred together, per speaker, where that is faster here (see
models/engine/choose.py). In silence nothing is inferred: the mouth glides to rest and stays there, painted once. Sends
Mouth, and Prepare once the speaker is there.
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
from models.speaker import Speaker, SpeakerError
from pipeline.messages import Features, Message, Mouth, Prepare
from pipeline.runtime import Stage, StageContext, run_stage, sent_now
from stages.loading import Loader
from stages.speakers import open_installed

LOADED_OVER_STORED: Final = 9
"""What a network holds in memory over what it holds on disc, in half precision: measured, ONNX Runtime 1.32."""
REST_FRAMES: Final = 5  # 200 ms from wherever the mouth was to rest


class _Face:
    """A loaded speaker."""

    def __init__(self, speaker: Speaker, choice: Choice) -> None:
        self.engine = open_like(speaker, choice)
        self.rest = np.array([speaker.manifest.rest], np.float32)
        self.resting: Pixels = self.engine.paint(self.rest)[0]
        self.has_lips = speaker.manifest.channels == CHANNELS
        self.inferences = 0
        files = (speaker.manifest.articulator, speaker.manifest.painter)
        self.bytes = LOADED_OVER_STORED * sum(speaker.path(file).stat().st_size for file in files)

    def articulate(self, windows: list[Features]) -> Articulation:
        self.inferences += len(windows)
        features = [np.frombuffer(window.values, np.float32).reshape(window.shape) for window in windows]
        return self.engine.articulate(features[0] if len(features) == 1 else np.concatenate(features))


class Infer(Stage):
    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._mouths = context.writer("mouths")
        own = context.config.process["infer"]
        self._threads = own.threads
        self._choice: Choice | None = None
        self._backend = own.options.get("backend", AUTO)
        self._faces: Loader[_Face] = Loader(context, self._load, lambda face: face.bytes)
        self._shown: dict[str, NDArray[np.float32]] = {}  # the streams' last articulation

    def warm_up(self) -> str:
        try:
            speakers = open_installed(self._context)
            self._choice = choose(speakers[0], self._backend, self._threads)
            self.batch_limit = self._choice.batch
            loaded = [speaker.name for speaker in speakers if self._faces.load_now(speaker)]
        except (SpeakerError, ValueError) as error:
            sys.exit(str(error))
        return f"{', '.join(loaded)}: {self._choice.backend}, {self._choice.threads} thread(s)"

    def work(self, batch: list[Message]) -> None:
        by_face: defaultdict[_Face, list[Features]] = defaultdict(list)
        prepared: list[Prepare] = []
        for message in batch:
            face = self._faces.get(message)
            if face is not None and isinstance(message, Features):
                by_face[face].append(message)
            elif face is not None and isinstance(message, Prepare):
                prepared.append(message)
        for face, windows in by_face.items():
            self._paint(face, windows)
        for notice in prepared:
            self._context.send("mouths", Prepare(sent_now(notice.route)))

    def _load(self, speaker: Speaker) -> _Face:
        """By the backend that is best for the default speaker: one is enough in one process."""
        assert self._choice is not None  # made at warm-up
        return _Face(speaker, self._choice)

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
        if last is not None and last.shape != face.rest[0].shape:
            last = None  # the session has just switched from a speaker with other channels
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
