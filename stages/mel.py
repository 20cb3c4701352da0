"""Mel: windows in, features out.

Receives Window and computes the speaker's front end over it; receives Lookup and takes the speaker's own precomputed
row instead. Silent windows pass without work. Sends Features, and Prepare once the speaker is there.
"""

import numpy as np

from models import frontend
from models.speaker import Speaker
from pipeline.audio import WINDOW_SAMPLES, samples_from_float32
from pipeline.messages import Features, Lookup, Message, Prepare, Window
from pipeline.protocol.errors import ErrorCode
from pipeline.runtime import Stage, StageContext, StageError, run_stage, sent_now
from stages.loading import Loader
from stages.speakers import open_installed


class _Ears:
    """What this stage needs of a speaker."""

    def __init__(self, speaker: Speaker) -> None:
        self.front_end = frontend.get(speaker.manifest.front_end)
        self.table = speaker.features()


class Mel(Stage):
    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._speakers: Loader[_Ears] = Loader(context, _Ears, lambda ears: ears.table.nbytes)

    def warm_up(self) -> str:
        for front_end in frontend.FRONT_ENDS.values():
            front_end(np.zeros(WINDOW_SAMPLES, np.float32))
        for speaker in open_installed(self._context):
            self._speakers.load_now(speaker)
        return f"front ends {', '.join(frontend.FRONT_ENDS)}"

    def work(self, batch: list[Message]) -> None:
        (message,) = batch
        ears = self._speakers.get(message)
        if ears is None:
            return
        if isinstance(message, Window):
            self._context.send("features", self._listen(ears, message))
        elif isinstance(message, Lookup):
            self._context.send("features", self._look_up(ears, message))
        elif isinstance(message, Prepare):
            self._context.send("features", Prepare(sent_now(message.route)))

    def _listen(self, ears: _Ears, window: Window) -> Features:
        values = b""
        shape: tuple[int, ...] = ()
        if not window.silent:
            samples = samples_from_float32(self._context.read(window.slot))
            tensor = ears.front_end(samples)
            # The window's tensor is used whole, whatever its frame_id: it is this moment, not a row of a video.
            values, shape = tensor.tobytes(), tensor.shape
        return Features(sent_now(window.route), values, shape, window.end_sample, window.level, window.silent)

    def _look_up(self, ears: _Ears, lookup: Lookup) -> Features:
        table, row = ears.table, lookup.route.frame_id
        if not 0 <= row < len(table):
            reason = f"frame_id is 0..{len(table) - 1}" if len(table) else "this speaker has no precomputed features"
            raise StageError(ErrorCode.INVALID_FRAME_ID, f"no features for frame_id {row}: {reason}")
        values = table[row : row + 1]  # (1, 512): band x time of one [1, 32, 16], flattened
        shape = (1, frontend.BANDS, frontend.STEPS)
        return Features(sent_now(lookup.route), values.astype(np.float32).tobytes(), shape, 0, 0.0, silent=False)


if __name__ == "__main__":
    run_stage("mel", Mel)
