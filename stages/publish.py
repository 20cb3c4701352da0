"""Publish: painted mouths in, encoded frames out.

Receives Mouth; lays it into the speaker's base frame and encodes what the session's viewers asked for: the whole frame,
the changed box, or both, each once. Sends Frame, and Prepare once the speaker is there.
"""

import sys

import cv2
import numpy as np

from models.compose import JPEG_QUALITY, TUNED_QUALITY, Box, Composer
from models.engine import Pixels
from models.speaker import SpeakerError
from pipeline.messages import VIEW_FULL, VIEW_PATCH, Frame, Message, Mouth, Prepare
from pipeline.runtime import Stage, StageContext, run_stage, sent_now
from stages.loading import Loader
from stages.speakers import open_installed
from stages.tuning import LOWER_QUALITY


class Publish(Stage):
    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._frames = context.writer("frames")
        self._composers: Loader[Composer] = Loader(context, Composer, lambda composer: composer.most_bytes)

    def warm_up(self) -> str:
        cv2.setNumThreads(1)  # a second one waits for a core that other stages use
        try:
            for speaker in open_installed(self._context):
                self._composers.load_now(speaker)
        except SpeakerError as error:
            sys.exit(str(error))
        return f"JPEG, quality {JPEG_QUALITY}"

    def work(self, batch: list[Message]) -> None:
        (message,) = batch
        composer = self._composers.get(message)
        if composer is None:
            return
        if isinstance(message, Mouth):
            self._compose(composer, message)
        elif isinstance(message, Prepare):
            self._context.send("frames", Prepare(sent_now(message.route)))

    def look_ahead(self, batch: list[Message]) -> None:
        """Decode the base frame that the session will need next."""
        (mouth,) = batch
        if isinstance(mouth, Mouth) and mouth.route.live:
            composer = self._composers.get(mouth)
            if composer is not None:
                composer.prepare(mouth.route.frame_id + 1)

    def idle(self) -> bool:
        """Decode the default speaker's base frames, so that nobody's first ten seconds do."""
        usual = self._composers.peek(self._context.config.pipeline.speaker)
        return usual is not None and usual.prepare_another()

    def _compose(self, composer: Composer, mouth: Mouth) -> None:
        base = composer.base_of(mouth.route.frame_id)

        def mix(raw: memoryview) -> tuple[Box, Pixels]:
            return composer.mix(np.frombuffer(raw, np.uint8).reshape(composer.mouth_shape), base)

        box, mixed = self._context.use(mouth.slot, mix)
        views = mouth.route.views
        full = self._frames.write(composer.encoded(base, box, mixed)) if views & VIEW_FULL else None
        quality = TUNED_QUALITY if mouth.route.tuning >= LOWER_QUALITY else JPEG_QUALITY
        patch = self._frames.write(composer.encoded_patch(mixed, quality)) if views & VIEW_PATCH else None
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


if __name__ == "__main__":
    run_stage("publish", Publish)
