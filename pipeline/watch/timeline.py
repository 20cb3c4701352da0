"""One clock for the pictures and the sound of a live session, in which pictures can be missing.

It begins at the moment of the sound that the first picture shows. From there on every 40 ms have a picture, the last
one again where none came, and the sound is cut to begin with it: so they stay together to half a picture, for hours.
"""

import contextlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import cv2
import numpy as np
import simplejpeg
import structlog

from pipeline.audio import CHUNK_MS, CHUNK_SAMPLES, SAMPLE_RATE_HZ, Samples
from pipeline.client import LiveFrame
from pipeline.movie import Picture
from pipeline.watch.outputs import Opener, Output, OutputError
from pipeline.watch.viewer import Sound

_SAMPLES_PER_MS: Final = SAMPLE_RATE_HZ // 1000
_SOUND_KEPT: Final = 50
"""Chunks, two seconds: before the first picture comes, and it is known which of them it belongs to."""
_HOLD: Final = 25
"""Pictures that may be late, a second; then the last one is shown again, so that what is written does not wait."""

log = structlog.get_logger()


class Timeline:
    """Feed it what a viewer receives; it feeds the outputs. One that fails is left out; the others go on.

    Attributes:
        pictures: shown so far, ``repeated`` of them once more as none had come.
        failures: what became of the outputs that are left out.
    """

    def __init__(self, openers: Sequence[Opener]) -> None:
        self._openers = openers
        self._outputs: list[Output] = []
        self._early: deque[Sound] = deque(maxlen=_SOUND_KEPT)
        self._begin_ms = 0.0
        self._size = (0, 0)
        self._last: Picture | None = None
        self.pictures = 0
        self.repeated = 0
        self.failures: list[OutputError] = []
        self._next_sample = 0

    def sound(self, sound: Sound) -> None:
        """The next chunk. Raises OutputError once no output is left."""
        if self._last is None:
            self._early.append(sound)
            return
        self._add_sound(sound)
        ends = round((CHUNK_MS * (sound.chunk + 1) - self._begin_ms) / CHUNK_MS)
        self._repeat_until(ends - _HOLD)

    def frame(self, frame: LiveFrame) -> None:
        """The next frame. Raises OutputError once no output is left."""
        picture = simplejpeg.decode_jpeg(frame.image, colorspace="RGB")
        if self._last is None:
            self._begin(frame.meta.audio_ms, picture)
        number = round((frame.meta.audio_ms - self._begin_ms) / CHUNK_MS)
        if number < self.pictures:
            return  # its place was taken by the last one again
        self._repeat_until(number)
        self._last = _fitted(picture, self._size)
        self._show(self._last)

    def finish(self) -> None:
        """The session has ended: what is owed is written."""
        with contextlib.suppress(OutputError):  # it is among the failures
            self._repeat_until(-(-self._next_sample // CHUNK_SAMPLES))
            self._each(lambda output: output.close())
        self._outputs = []

    def _begin(self, audio_ms: float, picture: Picture) -> None:
        height, width = picture.shape[:2]
        self._size = (width, height)
        self._begin_ms = audio_ms
        self._last = picture
        for opener in self._openers:
            self._outputs.append(opener(width, height))
        for sound in self._early:
            self._add_sound(sound)
        self._early.clear()

    def _add_sound(self, sound: Sound) -> None:
        """What of it is after the beginning; where sound is missing before it, silence."""
        starts = round((CHUNK_MS * sound.chunk - self._begin_ms) * _SAMPLES_PER_MS)
        samples = sound.samples[max(0, self._next_sample - starts) :]
        missing = max(0, starts - self._next_sample)
        if not len(samples):
            return
        padded: Samples = np.concatenate([np.zeros(missing, np.float32), samples])
        self._next_sample += len(padded)
        self._each(lambda output: output.sound(padded))

    def _repeat_until(self, number: int) -> None:
        while self._last is not None and self.pictures < number:
            self.repeated += 1
            self._show(self._last)

    def _show(self, picture: Picture) -> None:
        self.pictures += 1
        self._each(lambda output: output.picture(picture))

    def _each(self, do: Callable[[Output], None]) -> None:
        for output in list(self._outputs):
            try:
                do(output)
            except OutputError as error:
                self._outputs.remove(output)
                self.failures.append(error)
                log.warning("output left out", reason=str(error))
        if not self._outputs and self.failures:
            raise self.failures[-1]


def _fitted(picture: Picture, size: tuple[int, int]) -> Picture:
    """As it is; of another speaker with another size, scaled into the middle of the first one's, on black."""
    width, height = size
    if picture.shape[:2] == (height, width):
        return picture
    scale = min(width / picture.shape[1], height / picture.shape[0])
    inner = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
    scaled = cv2.resize(picture, inner, interpolation=cv2.INTER_AREA)
    whole = np.zeros((height, width, 3), np.uint8)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    whole[top : top + inner[1], left : left + inner[0]] = scaled
    return whole
