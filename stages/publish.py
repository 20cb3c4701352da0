"""Publish: painted mouths in, encoded frames out.

Receives Mouth; lays it into the speaker's base frame and encodes what the session's viewers asked for: the whole frame,
the changed box, or both, each once. Sends Frame.
"""

import sys

import cv2
import numpy as np

from models.compose import JPEG_QUALITY, Composer
from models.speaker import Speaker, SpeakerError
from pipeline.messages import VIEW_FULL, VIEW_PATCH, Frame, Message, Mouth
from pipeline.runtime import Stage, StageContext, run_stage, sent_now
from stages.speakers import open_for, open_installed


class Publish(Stage):
    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._frames = context.writer("frames")
        self._composers: dict[str, Composer] = {}
        self._sizes: dict[str, tuple[int, int]] = {}

    def warm_up(self) -> str:
        cv2.setNumThreads(1)  # a second one waits for a core that other stages use
        try:
            for speaker in open_installed(self._context):
                composer = self._load(speaker)
                mouth = speaker.manifest.mouth
                box, mixed = composer.mix(np.zeros((mouth.height, mouth.width, 3), np.uint8), 0)
                self._frames.write(composer.encoded(0, box, mixed))
        except SpeakerError as error:
            sys.exit(str(error))
        return f"JPEG, quality {JPEG_QUALITY}"

    def work(self, batch: list[Message]) -> None:
        (mouth,) = batch
        if isinstance(mouth, Mouth):
            self._compose(mouth)

    def look_ahead(self, batch: list[Message]) -> None:
        """Decode the base frame that the session will need next."""
        (mouth,) = batch
        if isinstance(mouth, Mouth) and mouth.route.live:
            self._composer(mouth).prepare(mouth.route.frame_id + 1)

    def _compose(self, mouth: Mouth) -> None:
        composer = self._composer(mouth)
        height, width = self._sizes[mouth.route.speaker]
        pixels = np.frombuffer(self._context.read(mouth.slot), np.uint8).reshape(height, width, 3)
        base = mouth.route.frame_id % composer.count
        box, mixed = composer.mix(pixels, base)
        views = mouth.route.views
        full = self._frames.write(composer.encoded(base, box, mixed)) if views & VIEW_FULL else None
        patch = self._frames.write(composer.encoded_patch(mixed)) if views & VIEW_PATCH else None
        self._context.send(
            "frames",
            Frame(
                route=sent_now(mouth.route),
                full=full,
                patch=patch,
                box=box,
                base=base,
                articulation=mouth.articulation,
                end_sample=mouth.end_sample,
                level=mouth.level,
                silent=mouth.silent,
                inferences=mouth.inferences,
            ),
        )

    def _composer(self, mouth: Mouth) -> Composer:
        composer = self._composers.get(mouth.route.speaker)
        return composer if composer is not None else self._load(open_for(self._context, mouth.route))

    def _load(self, speaker: Speaker) -> Composer:
        composer = self._composers[speaker.name] = Composer(speaker)
        self._sizes[speaker.name] = (speaker.manifest.mouth.height, speaker.manifest.mouth.width)
        return composer


if __name__ == "__main__":
    run_stage("publish", Publish)
