"""A movie being written: H.264 at 25 pictures a second, and AAC."""

from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray

from pipeline.audio import FRAME_RATE_HZ, SAMPLE_RATE_HZ, Samples

Picture = NDArray[np.uint8]
"""[height, width, 3] RGB."""

FINE: Final = {"crf": "16"}
"""x264's constant quality: no visible loss, at any speed."""
AS_IT_HAPPENS: Final = {"crf": "20", "preset": "veryfast", "tune": "zerolatency", "g": str(FRAME_RATE_HZ)}
"""For a session that does not wait: 4 ms a picture, and a key frame every second."""
WHOLE: Final = {"movflags": "+faststart"}
"""An MP4 whose index lies at its beginning; it is written at the end, and until then there is none."""
FRAGMENTED: Final = {"movflags": "+frag_keyframe+empty_moov+default_base_moof"}
"""An MP4 of pieces of a second, each with an index of its own: what is there can be played, whatever happens."""


class MovieWriter:
    """Pictures and sound, each without a gap from the movie's beginning.

    Args:
        kind: FFmpeg's name of the format.
        size: width and height of the pictures.
        video: options of x264.
        container: options of the format.

    Raises:
        av.error.FFmpegError, OSError: it cannot be written.
    """

    def __init__(
        self, path: Path, kind: str, size: tuple[int, int], video: dict[str, str], container: dict[str, str]
    ) -> None:
        width, height = size
        self._container = av.open(str(path), "w", format=kind, options=container)
        self._video: Any = self._container.add_stream("libx264", rate=FRAME_RATE_HZ, options=video)
        self._video.width, self._video.height, self._video.pix_fmt = width, height, "yuv420p"
        self._audio: Any = self._container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono")
        self.pictures = 0
        self.samples = 0

    def add_picture(self, picture: Picture) -> None:
        """The next 40 ms."""
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = self.pictures, Fraction(1, FRAME_RATE_HZ)
        self.pictures += 1
        self._container.mux(self._video.encode(frame))

    def add_sound(self, samples: Samples) -> None:
        """The next samples [n]."""
        if not len(samples):
            return
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples)[np.newaxis], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE_HZ, self.samples, Fraction(1, SAMPLE_RATE_HZ)
        self.samples += len(samples)
        self._container.mux(self._audio.encode(frame))

    def finish(self) -> None:
        """Write what the encoders still hold, and close the file."""
        self._container.mux(self._video.encode(None))
        self._container.mux(self._audio.encode(None))
        self._container.close()

    def abandon(self) -> None:
        """Close the file as it is; after `finish` there is nothing to do."""
        self._container.close()
