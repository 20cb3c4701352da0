"""Mel: windows in, features out.

Receives Window and computes the speaker's front end over it; receives Lookup and takes the speaker's own precomputed
row instead. Silent windows pass without work. Sends Features, and Prepare once the speaker is there.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models import frontend
from models.listen import FRONT_ENDS
from models.speaker import Speaker
from models.synctalk2d.ears import MOMENTS
from pipeline.audio import WINDOW_SAMPLES
from pipeline.messages import Features, Lookup, Message, Prepare, Window
from pipeline.protocol.errors import ErrorCode
from pipeline.runtime import Stage, StageContext, StageError, run_stage, sent_now
from pipeline.validation import look_at
from stages.loading import Loader
from stages.speakers import open_installed

BEFORE: Final = MOMENTS // 2
"""Of the moments that are shown together, those before the painted one."""
DEAF: Final = "send use_real_audio false and a frame_id of its own precomputed features"


class _Ears:
    """What this stage needs of a speaker."""

    def __init__(self, speaker: Speaker) -> None:
        manifest = speaker.manifest
        self.front_end = FRONT_ENDS[manifest.front_end] if manifest.articulator else None
        self.table = speaker.features()
        self.around = manifest.image is not None
        """A row is one of sixteen moments that are shown together, as SyncTalk_2D does."""

    def row(self, number: int) -> NDArray[np.float32]:
        """[1, 32, 16]: row ``number`` of the precomputed features, [512]; or, where moments around it are shown as
        well, [1, 16 * width]: those from eight before it to seven after it, zeros beyond the table's ends."""
        if not self.around:
            return self.table[number : number + 1].reshape(1, frontend.BANDS, frontend.STEPS)
        before, after = BEFORE, MOMENTS - BEFORE
        padded = np.pad(self.table, ((before, after), (0, 0)))
        return padded[number : number + MOMENTS].reshape(1, -1)


class Mel(Stage):
    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._speakers: Loader[_Ears] = Loader(context, _Ears, lambda ears: ears.table.nbytes)

    def warm_up(self) -> str:
        for front_end in FRONT_ENDS.values():
            front_end(np.zeros(WINDOW_SAMPLES, np.float32))
        for speaker in open_installed(self._context):
            self._speakers.load_now(speaker)
        return f"front ends {', '.join(FRONT_ENDS)}"

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
            if ears.front_end is None:
                raise StageError(ErrorCode.INVALID_REQUEST, f"{window.route.speaker} hears no live sound: {DEAF}")
            front_end = ears.front_end
            # Ingest has looked at every sample.
            tensor = self._context.use(window.slot, lambda raw: front_end(np.frombuffer(raw, np.float32)))
            # The window's tensor is used whole, whatever its frame_id: it is this moment, not a row of a video.
            look_at("features", tensor, window.route.session, window.route.sequence)
            values, shape = tensor.tobytes(), tensor.shape
        return Features(sent_now(window.route), values, shape, window.end_sample, window.level, window.silent)

    def _look_up(self, ears: _Ears, lookup: Lookup) -> Features:
        table, row = ears.table, lookup.route.frame_id
        if not 0 <= row < len(table):
            reason = f"frame_id is 0..{len(table) - 1}" if len(table) else "this speaker has no precomputed features"
            raise StageError(ErrorCode.INVALID_FRAME_ID, f"no features for frame_id {row}: {reason}")
        values = ears.row(row).astype(np.float32)
        return Features(sent_now(lookup.route), values.tobytes(), values.shape, 0, 0.0, silent=False)


if __name__ == "__main__":
    run_stage("mel", Mel)
