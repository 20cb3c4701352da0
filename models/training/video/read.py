"""A video's pictures, 25 a second, and its sound, both on one clock that begins with the first picture."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import av
import av.error
import numpy as np
import soxr
from numpy.typing import NDArray

from models.frontend import SAMPLE_RATE
from models.training.video.errors import VideoError

FPS: Final = 25
"""Pictures a second, as the pipeline's frames; a video of another rate gives for each moment its nearest picture."""
LEAST_RMS: Final = 1e-3
"""Of a whole video's sound: -60 dBFS. What is quieter has no voice in it."""


class Facts(NamedTuple):
    """What a video says about itself."""

    width: int
    height: int
    seconds: float


def facts(path: Path) -> Facts:
    """Size as shown, and length.

    Raises:
        VideoError: no file, or none that FFmpeg reads; without pictures, without sound.
    """
    if not path.is_file():
        raise VideoError(f"{path}: no such file; expected a video (MP4, MOV, MKV, WebM)")
    with _opened(path) as container:
        if not container.streams.video:
            raise VideoError(f"{path}: there is no picture in it; expected a video of a talking person")
        if not container.streams.audio:
            raise VideoError(f"{path}: there is no sound in it; film with the microphone on")
        stream = container.streams.video[0]
        seconds = container.duration / av.time_base if container.duration else 0.0
        first = next(_decoded(path, container, stream), None)
    if first is None:
        raise VideoError(f"{path}: not one picture of it can be decoded; convert it to MP4 (H.264)")
    turned = abs(first.rotation) % 180 == 90
    width, height = (first.height, first.width) if turned else (first.width, first.height)
    return Facts(width, height, float(seconds))


def pictures(path: Path) -> Iterator[NDArray[np.uint8]]:
    """[h, w, 3] RGB, upright, the nearest to each 40 ms from the first on.

    Raises:
        VideoError: it cannot be decoded; says at which second.
    """
    with _opened(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        start, due, last = None, 0, None
        for frame in _decoded(path, container, stream):
            start = frame.time if start is None else start
            # a moment belongs to the earlier of two pictures until the later one is nearer
            while last is not None and due / FPS < (last.time + frame.time) / 2 - start:
                yield _upright(last)
                due += 1
            last = frame
        if last is not None and start is not None:
            while due / FPS <= last.time - start + 0.5 / FPS:
                yield _upright(last)
                due += 1


def sound(path: Path) -> NDArray[np.float32]:
    """[samples] float32 mono, 24 kHz; sample 0 sounds at the first picture.

    Raises:
        VideoError: it cannot be decoded, or holds nothing but silence.
    """
    with _opened(path) as container:
        begin = next((f.time for f in _decoded(path, container, container.streams.video[0])), 0.0)
    with _opened(path) as container:
        stream = container.streams.audio[0]
        to_mono = av.AudioResampler(format="flt", layout="mono", rate=stream.rate)
        pieces, first = [], None
        for frame in _decoded(path, container, stream):
            first = frame.time if first is None else first
            pieces += [piece.to_ndarray()[0] for piece in to_mono.resample(frame)]
        pieces += [piece.to_ndarray()[0] for piece in to_mono.resample(None)]
        rate = stream.rate
    samples = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    rms = float(np.sqrt(np.mean(samples**2))) if len(samples) else 0.0
    if not rms >= LEAST_RMS:
        raise VideoError(f"{path}: its sound is silence (RMS {rms:.5f}, expected {LEAST_RMS} and more): no voice in it")
    late = round(((first or 0.0) - begin) * rate)
    samples = np.pad(samples, (late, 0)) if late > 0 else samples[-late:]
    resampled: NDArray[np.float32] = soxr.resample(samples, rate, SAMPLE_RATE).astype(np.float32)
    return np.clip(resampled, -1, 1)


def _opened(path: Path) -> Any:
    try:
        return av.open(str(path))
    except (av.error.FFmpegError, OSError) as error:
        raise VideoError(f"{path}: no video that FFmpeg reads ({error}); convert it to MP4 (H.264, AAC)") from None


def _decoded(path: Path, container: Any, stream: Any) -> Iterator[Any]:
    """The frames of a stream that have a time."""
    at = 0.0
    try:
        for frame in container.decode(stream):
            if frame.time is not None:
                at = float(frame.time)
                yield frame
    except av.error.FFmpegError as error:
        raise VideoError(
            f"{path}, second {at:.1f}: it cannot be decoded from here on ({error}); cut it there, or convert it anew"
        ) from None


def _upright(frame: Any) -> NDArray[np.uint8]:
    """As shown: a telephone films lying, and says by how much the picture is to be turned (counter-clockwise)."""
    picture = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(picture, round(frame.rotation / 90) % 4))
