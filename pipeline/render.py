"""`python -m pipeline.render IN OUT.mp4`: any audio file spoken by a speaker, through the running stages.

Every chunk gets its frame, in order, none dropped; the sound is muxed in so that each frame is shown at the moment of
the sound that its mouth shows. With --track, the painted articulation goes to a CSV as well.
"""

import argparse
import asyncio
import contextlib
import csv
import io
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av
import av.error
import numpy as np
import simplejpeg
import soundfile
import soxr
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.audio import CHUNK_MS, CHUNK_SAMPLES, SAMPLE_RATE_HZ, Samples
from pipeline.client import LipSync, LiveFrame, ServerError, ServerGoneError
from pipeline.movie import FINE, WHOLE, MovieWriter
from pipeline.protocol.requests import Pace
from pipeline.spawn import SpawnError, spawned

_SAMPLES_PER_MS: Final = SAMPLE_RATE_HZ // 1000
_TRACK_COLUMNS: Final = ("time_s", "aperture", "rounding")


class RenderError(Exception):
    """The file cannot be rendered; the text says why and what to do."""


def read_audio(path: Path) -> Samples:
    """The first audio stream of any file that FFmpeg or libsndfile reads, as 24 kHz mono float32 [n].

    Raises:
        RenderError: no such file, not audio, or without a sample.
    """
    if not path.is_file():
        raise RenderError(f"{path}: no such file")
    try:
        samples, rate_hz = _read_with_ffmpeg(path)
    except (av.error.FFmpegError, OSError) as error:
        try:
            stereo, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, OSError):
            raise RenderError(f"{path}: not an audio file that FFmpeg or libsndfile reads: {error}") from None
        samples = stereo.mean(1)
    if not len(samples):
        raise RenderError(f"{path}: its audio is empty")
    if not np.isfinite(samples).all():
        raise RenderError(f"{path}: it holds NaN or infinite samples")
    resampled: Samples = np.clip(soxr.resample(samples, rate_hz, SAMPLE_RATE_HZ), -1, 1).astype(np.float32)
    return resampled


def _read_with_ffmpeg(path: Path) -> tuple[Samples, int]:
    with av.open(str(path)) as container:
        if not container.streams.audio:
            raise RenderError(f"{path}: there is no audio in it")
        stream = container.streams.audio[0]
        to_mono = av.AudioResampler(format="flt", layout="mono", rate=stream.rate)
        pieces = [piece.to_ndarray()[0] for frame in container.decode(stream) for piece in to_mono.resample(frame)]
        pieces += [piece.to_ndarray()[0] for piece in to_mono.resample(None)]
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32), stream.rate


@dataclass(frozen=True, slots=True)
class Plan:
    """How a sound is cut into chunks so that every moment of it has its frame, and frames lie at 0, 40, 80 ms.

    A frame shows the moment `lookahead_ms` before its chunk's end. Silence before the sound brings these moments onto
    the movie's grid, silence after it lets the last of them have its frame.
    """

    samples: int
    lookahead_ms: int

    @property
    def before_ms(self) -> int:
        """Of silence; with it the first frame that is not before the sound shows its very beginning."""
        return -self.lookahead_ms % CHUNK_MS if self.lookahead_ms else CHUNK_MS

    @property
    def frames(self) -> int:
        """Frames that the movie has."""
        return -(-self.samples // CHUNK_SAMPLES)

    @property
    def count(self) -> int:
        """Chunks to send."""
        return self.frames + (self.before_ms + self.lookahead_ms) // CHUNK_MS - 1

    def chunks(self, samples: Samples) -> list[Samples]:
        padded = np.zeros(self.count * CHUNK_SAMPLES, np.float32)
        begin = self.before_ms * _SAMPLES_PER_MS
        padded[begin : begin + len(samples)] = samples[: len(padded) - begin]
        return list(padded.reshape(self.count, CHUNK_SAMPLES))

    def time_ms(self, audio_ms: float) -> float:
        """The moment of the file that a frame shows; below 0 for the mouth at rest before it."""
        return audio_ms - self.before_ms


class Movie:
    """A rendering being written as MP4. It has its name only once it is whole.

    Raises:
        RenderError: it cannot be written.
    """

    def __init__(self, path: Path, width: int, height: int, samples: Samples) -> None:
        check_writable(path)
        self._path = path
        self._part = path.with_name(f".{path.name}.part")
        self._writer = MovieWriter(self._part, "mp4", (width, height), FINE, WHOLE)
        self._samples = samples

    @property
    def frames(self) -> int:
        return self._writer.pictures

    def add(self, image: bytes, time_ms: float) -> None:
        """Write a frame at its moment of the sound, and the sound up to its end."""
        pts = round(time_ms / CHUNK_MS)
        if pts != self.frames:
            raise RenderError(f"the server sent the frame of {time_ms:.0f} ms where frame {self.frames} was due")
        self._writer.add_picture(simplejpeg.decode_jpeg(image, colorspace="RGB"))
        self._add_sound((pts + 1) * CHUNK_SAMPLES)

    def _add_sound(self, until: int) -> None:
        self._writer.add_sound(self._samples[self._writer.samples : until])

    def finish(self) -> None:
        """Write what is left, and give the movie its name."""
        self._add_sound(len(self._samples))
        self._writer.finish()
        self._part.replace(self._path)

    def discard(self) -> None:
        """Leave nothing behind; after `finish` there is nothing to discard."""
        with contextlib.suppress(av.error.FFmpegError, OSError):
            self._writer.abandon()
        self._part.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """Find out before the work, and leave what is there as it is.

    Raises:
        RenderError: no file can be made there.
    """
    if path.is_dir():
        raise RenderError(f"{path}: cannot be written: it is a folder; name a file in it")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
        if path.exists():
            path.open("ab").close()
    except OSError as error:
        raise RenderError(f"{path}: cannot be written: {error.strerror or error}") from None


def track_row(frame: LiveFrame, time_ms: float) -> tuple[str, str, str]:
    """time_s, aperture, rounding of one frame; a speaker without these channels cannot be tracked.

    Raises:
        RenderError: the channels are missing.
    """
    shown = frame.meta.articulation
    try:
        return f"{time_ms / 1000:.3f}", f"{shown['aperture']:.4f}", f"{shown['rounding']:.4f}"
    except KeyError as error:
        raise RenderError(f"the speaker '{frame.meta.speaker}' has no channel {error}: leave --track out") from None


@contextlib.contextmanager
def server(url: str | None) -> Iterator[str]:
    """The WebSocket's address of the server at `url`, or of a pipeline for this rendering alone.

    Raises:
        SpawnError: it does not start; with its own words.
    """
    if url is not None:
        yield url
        return
    with spawned() as own:
        yield own.url


async def render(url: str, samples: Samples, out: Path, speaker: str | None, *, track: bool) -> str:
    """Send everything, write everything; returns the track as CSV, header included.

    Raises:
        RenderError, ServerError, ServerGoneError.
    """
    rows = io.StringIO()
    table = csv.writer(rows, lineterminator="\n")
    table.writerow(_TRACK_COLUMNS)
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    async with LipSync(url, speaker=speaker, pace=Pace.LOSSLESS) as face:
        started = face.started
        assert started is not None
        plan = Plan(len(samples), started.lookahead_ms)
        movie = Movie(out, started.width, started.height, samples)
        try:
            with bar:
                task = bar.add_task(f"{out.name}, {started.speaker}", total=plan.count)
                async for frame in face.stream(plan.chunks(samples)):
                    bar.advance(task)
                    time_ms = plan.time_ms(frame.meta.audio_ms)
                    if time_ms < 0:
                        continue  # before the sound begins
                    movie.add(frame.image, time_ms)
                    if track:
                        table.writerow(track_row(frame, time_ms))
            if movie.frames != plan.frames:
                raise RenderError(f"only {movie.frames} of {plan.frames} frames came")
            movie.finish()
        finally:
            movie.discard()
    return rows.getvalue()


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m pipeline.render", description="Render an audio file to a movie.")
    parser.add_argument("input", type=Path, metavar="IN", help="any audio or video file")
    parser.add_argument("output", type=Path, metavar="OUT.mp4")
    parser.add_argument("--speaker", help="whose face (default: the server's choice)")
    parser.add_argument("--track", type=Path, metavar="TRACK.csv", help="write time_s,aperture,rounding of each frame")
    parser.add_argument("--url", help="WebSocket of a running pipeline (default: start one for this rendering)")
    arguments = parser.parse_args()
    try:
        samples = read_audio(arguments.input)
        for path in (arguments.output, arguments.track):
            if path is not None:
                check_writable(path)
        with server(arguments.url) as url:
            track = asyncio.run(
                render(url, samples, arguments.output, arguments.speaker, track=arguments.track is not None)
            )
        if arguments.track is not None:
            arguments.track.write_text(track, encoding="utf-8")
    except (RenderError, SpawnError, ServerError, ServerGoneError, av.error.FFmpegError, OSError) as error:
        sys.exit(f"lipwire: {error}")
    except KeyboardInterrupt:
        sys.exit("lipwire: stopped; nothing was written")


if __name__ == "__main__":
    main()
