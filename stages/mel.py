"""Mel: windows in, features out.

Receives Window and computes the speaker's front end over it; receives Lookup and takes the speaker's own precomputed
row instead. Silent windows pass without work. Sends Features.
"""

import numpy as np

from models import frontend
from models.speaker import Speaker
from pipeline.audio import WINDOW_SAMPLES, samples_from_float32
from pipeline.messages import Features, Lookup, Message, Route, Window
from pipeline.protocol.errors import ErrorCode
from pipeline.runtime import Stage, StageContext, StageError, run_stage, sent_now
from stages.speakers import open_for, open_installed


class Mel(Stage):
    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._speakers: dict[str, Speaker] = {}

    def warm_up(self) -> str:
        for front_end in frontend.FRONT_ENDS.values():
            front_end(np.zeros(WINDOW_SAMPLES, np.float32))
        self._speakers = {speaker.name: speaker for speaker in open_installed(self._context)}
        return f"front ends {', '.join(frontend.FRONT_ENDS)}"

    def work(self, batch: list[Message]) -> None:
        (message,) = batch
        if isinstance(message, Window):
            self._context.send("features", self._listen(message))
        elif isinstance(message, Lookup):
            self._context.send("features", self._look_up(message))

    def _listen(self, window: Window) -> Features:
        values = b""
        shape: tuple[int, ...] = ()
        if not window.silent:
            samples = samples_from_float32(self._context.read(window.slot))
            front_end = frontend.get(self._speaker(window.route).manifest.front_end)
            tensor = front_end(samples)
            # The window's tensor is used whole, whatever its frame_id: it is this moment, not a row of a video.
            values, shape = tensor.tobytes(), tensor.shape
        return Features(sent_now(window.route), values, shape, window.end_sample, window.level, window.silent)

    def _look_up(self, lookup: Lookup) -> Features:
        table = self._speaker(lookup.route).features()
        row = lookup.route.frame_id
        if not 0 <= row < len(table):
            reason = f"frame_id is 0..{len(table) - 1}" if len(table) else "this speaker has no precomputed features"
            raise StageError(ErrorCode.INVALID_FRAME_ID, f"no features for frame_id {row}: {reason}")
        values = table[row : row + 1]  # (1, 512): band x time of one [1, 32, 16], flattened
        shape = (1, frontend.BANDS, frontend.STEPS)
        return Features(sent_now(lookup.route), values.astype(np.float32).tobytes(), shape, 0, 0.0, silent=False)

    def _speaker(self, route: Route) -> Speaker:
        speaker = self._speakers.get(route.speaker)
        if speaker is None:
            speaker = self._speakers[route.speaker] = open_for(self._context, route)
        return speaker


if __name__ == "__main__":
    run_stage("mel", Mel)
