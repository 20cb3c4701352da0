"""Infer: features in, painted mouths out.

Receives Features; what has arrived together is inferred together, per speaker, where that is faster here (see
models/engine/choose.py). What a speaker does with them is in `stages/painting/faces.py`. Sends Mouth, and Prepare
once the speaker is there.
"""

import sys
from collections import defaultdict
from typing import Final

import numpy as np

from models.engine.choose import AUTO, Choice, choose
from models.speaker import Speaker, SpeakerError
from pipeline.messages import Features, Message, Mouth, Prepare
from pipeline.runtime import Stage, StageContext, run_stage, sent_now
from pipeline.validation import look_at
from stages.loading import Loader
from stages.painting.beside import Beside
from stages.painting.faces import Face, Painted, face_of
from stages.speakers import open_installed
from stages.tuning import PAIRS

_PAIR: Final = 2


class Infer(Stage):
    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._mouths = context.writer("mouths")
        own = context.config.process["infer"]
        self._threads = own.threads
        self._choice: Choice | None = None
        self._backend = own.options.get("backend", AUTO)
        self._beside = Beside(context)
        self._faces: Loader[Face] = Loader(context, self._load, lambda face: face.bytes)

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
        self._limit_batches(batch)
        by_face: defaultdict[Face, list[Features]] = defaultdict(list)
        prepared: list[Prepare] = []
        for message in batch:
            face = self._faces.get(message)
            if face is not None and isinstance(message, Features):
                by_face[face].append(message)
            elif face is not None and isinstance(message, Prepare):
                prepared.append(message)
        for face, windows in by_face.items():
            painted = self._beside.take(face, windows) if face.slow else zip(windows, face.paint(windows), strict=True)
            for window, mouth in painted:
                self._send(face, window, mouth)
        for notice in prepared:
            self._context.send("mouths", Prepare(sent_now(notice.route)))

    def _limit_batches(self, batch: list[Message]) -> None:
        """From the next batch on, where the machine has too much to do."""
        if self._choice is not None:
            tuned = any(message.route.tuning >= PAIRS for message in batch)
            self.batch_limit = min(_PAIR, self._choice.batch) if tuned else self._choice.batch

    def _load(self, speaker: Speaker) -> Face:
        """By the backend that is best for the default speaker: one is enough in one process."""
        assert self._choice is not None  # made at warm-up
        return face_of(speaker, self._choice)

    def _send(self, face: Face, window: Features, painted: Painted) -> None:
        look_at("mouth", painted.pixels, window.route.session, window.route.sequence, face.device)
        slot = self._mouths.write(np.ascontiguousarray(painted.pixels).data)
        self._context.send(
            "mouths",
            Mouth(
                route=sent_now(window.route),
                slot=slot,
                articulation=painted.articulation,
                end_sample=window.end_sample,
                level=window.level,
                silent=window.silent,
                inferences=face.inferences,
            ),
        )

    def close(self, session: str) -> None:
        self._beside.forget(session)
        for face in self._faces.items():
            face.forget(session)


if __name__ == "__main__":
    run_stage("infer", Infer)
