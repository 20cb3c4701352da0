"""Where what is watched can go. Each takes 25 pictures a second without a gap, and the sound that belongs to them."""

import contextlib
import errno
import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Final, Protocol

import av
import av.error

from pipeline.audio import FRAME_RATE_HZ, Samples
from pipeline.movie import AS_IT_HAPPENS, FRAGMENTED, MovieWriter, Picture

KINDS: Final = {".mp4": "mp4", ".mkv": "matroska"}
_NO_CAMERA: Final = (
    "there is no virtual camera here. On Linux: sudo apt install v4l2loopback-dkms && sudo modprobe v4l2loopback; on "
    "Windows and macOS install OBS Studio, which brings one"
)
_NO_PACKAGE: Final = "a virtual camera needs the package pyvirtualcam: pip install 'lipwire[camera]'"


class OutputError(Exception):
    """It cannot be written to; the text says why and what to do."""


class OutputEndedError(OutputError):
    """Whoever read from it wants no more."""


class Output(Protocol):
    """One of them, open."""

    def picture(self, picture: Picture) -> None:
        """The next 40 ms. Raises OutputError."""

    def sound(self, samples: Samples) -> None:
        """The next samples [n]. Raises OutputError."""

    def close(self) -> None:
        """Nothing follows. Raises OutputError."""


Opener = Callable[[int, int], Output]
"""(width, height) of all its pictures -> an output. Raises OutputError."""


class Recording:
    """A movie with sound that can be played however its recording ended."""

    def __init__(self, path: Path, width: int, height: int) -> None:
        self._path = path
        container = FRAGMENTED if path.suffix == ".mp4" else {}
        with self._explained():
            self._writer = MovieWriter(path, KINDS[path.suffix], (width, height), AS_IT_HAPPENS, container)

    def picture(self, picture: Picture) -> None:
        with self._explained():
            self._writer.add_picture(picture)

    def sound(self, samples: Samples) -> None:
        with self._explained():
            self._writer.add_sound(samples)

    def close(self) -> None:
        with self._explained():
            self._writer.finish()

    @contextlib.contextmanager
    def _explained(self) -> Any:
        try:
            yield
        except (av.error.FFmpegError, OSError) as error:
            what = "the disk is full; what was written till then can be played" if _is_full(error) else str(error)
            raise OutputError(f"{self._path}: {what}") from error


def _is_full(error: Exception) -> bool:
    return getattr(error, "errno", None) == errno.ENOSPC


class Y4m:
    """YUV4MPEG2, for FFmpeg and its like: pictures with a header that says what they are. Without sound."""

    def __init__(self, output: BinaryIO, width: int, height: int) -> None:
        self._output = output
        self._write(f"YUV4MPEG2 W{width} H{height} F{FRAME_RATE_HZ}:1 Ip A1:1 C420jpeg XYSCSS=420JPEG\n".encode())

    def picture(self, picture: Picture) -> None:
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        planes = frame.reformat(format="yuv420p", dst_colorspace="itu601").to_ndarray()
        self._write(b"FRAME\n" + planes.tobytes())

    def sound(self, samples: Samples) -> None:
        """It has none."""

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._output.flush()

    def _write(self, data: bytes) -> None:
        try:
            self._output.write(data)
            self._output.flush()
        except BrokenPipeError as error:
            raise OutputEndedError("whoever read the pictures has ended") from error
        except OSError as error:
            raise OutputError(f"the pictures cannot be written: {error.strerror or error}") from error


class Camera:
    """A camera that other programs can choose. Without sound: they have the microphone's own."""

    def __init__(self, package: ModuleType, device: str | None, width: int, height: int) -> None:
        try:
            self._camera = package.Camera(width=width, height=height, fps=FRAME_RATE_HZ, device=device)
        except (RuntimeError, OSError) as error:
            raise OutputError(f"{_NO_CAMERA}. pyvirtualcam says: {error}") from error
        self.device = str(self._camera.device)

    def picture(self, picture: Picture) -> None:
        self._camera.send(picture)

    def sound(self, samples: Samples) -> None:
        """It has none."""

    def close(self) -> None:
        self._camera.close()


def camera(device: str | None) -> Opener:
    """Raises OutputError where the package is missing."""
    try:
        package = importlib.import_module("pyvirtualcam")
    except ModuleNotFoundError:
        raise OutputError(_NO_PACKAGE) from None
    return lambda width, height: Camera(package, device, width, height)


def recording(path: Path) -> Opener:
    """Raises OutputError for a name whose format is not known."""
    if path.suffix not in KINDS:
        raise OutputError(f"{path}: the name of a recording ends in {' or '.join(KINDS)}")
    return lambda width, height: Recording(path, width, height)


def y4m(output: BinaryIO) -> Opener:
    return lambda width, height: Y4m(output, width, height)
