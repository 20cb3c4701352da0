"""`python -m pipeline.render IN OUT.mp4`: any audio file spoken by a speaker, through the running stages.

Every chunk gets its frame, in order, none dropped; the sound is muxed in so that each frame is shown at the moment of
the sound that its mouth shows. With --track, the painted articulation goes to a CSV as well.
"""

import argparse
import asyncio
import contextlib
import csv
import io
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import av
import av.error
import numpy as np
import simplejpeg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.audio import CHUNK_MS, CHUNK_SAMPLES, FRAME_RATE_HZ, SAMPLE_RATE_HZ, Samples
from pipeline.client import LipSync, LiveFrame, ServerError, ServerGoneError
from pipeline.protocol.requests import Pace

_STOP_S: Final = 20.0
_CRF: Final = "16"  # x264's constant quality: no visible loss
_TRACK_COLUMNS: Final = ("time_s", "aperture", "rounding")


class RenderError(Exception):
    """The file cannot be rendered; the text says why and what to do."""


def read_audio(path: Path) -> Samples:
    """The first audio stream of any file that FFmpeg reads, as 24 kHz mono float32 [n].

    Raises:
        RenderError: no such file, not audio, or without a sample.
    """
    try:
        with av.open(str(path)) as container:
            if not container.streams.audio:
                raise RenderError(f"{path}: there is no audio in it")
            resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
            pieces = [
                piece.to_ndarray()[0]
                for frame in container.decode(container.streams.audio[0])
                for piece in resampler.resample(frame)
            ]
            pieces += [piece.to_ndarray()[0] for piece in resampler.resample(None)]
    except FileNotFoundError:
        raise RenderError(f"{path}: no such file") from None
    except (av.error.FFmpegError, OSError) as error:
        raise RenderError(f"{path}: not an audio file that FFmpeg reads: {error}") from None
    samples = np.concatenate(pieces) if pieces else np.zeros(0, np.float32)
    if not len(samples):
        raise RenderError(f"{path}: its audio is empty")
    if not np.isfinite(samples).all():
        raise RenderError(f"{path}: it holds NaN or infinite samples")
    return np.clip(samples, -1, 1).astype(np.float32)


def chunks_of(samples: Samples, lookahead_ms: int) -> list[Samples]:
    """Chunks of 960, with silence after the end until the last moment of the sound has its frame."""
    needed = len(samples) + lookahead_ms * SAMPLE_RATE_HZ // 1000
    count = -(-needed // CHUNK_SAMPLES)
    padded = np.zeros(count * CHUNK_SAMPLES, np.float32)
    padded[: len(samples)] = samples
    return list(padded.reshape(count, CHUNK_SAMPLES))


class Movie:
    """An MP4 being written: H.264 at 25 fps and AAC.

    Raises:
        RenderError: it cannot be written.
    """

    def __init__(self, path: Path, width: int, height: int, samples: Samples) -> None:
        try:
            path.open("wb").close()  # PyAV itself opens the file only with the first packet
        except OSError as error:
            raise RenderError(f"{path}: cannot be written: {error}") from None
        self._container = av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"})
        self._video: Any = self._container.add_stream("libx264", rate=FRAME_RATE_HZ, options={"crf": _CRF})
        self._video.width, self._video.height, self._video.pix_fmt = width, height, "yuv420p"
        self._audio: Any = self._container.add_stream("aac", rate=SAMPLE_RATE_HZ, layout="mono")
        self._samples = samples
        self._written = 0
        self._last_pts = -1

    def add(self, frame: LiveFrame) -> None:
        """Write a frame at its moment of the sound, and the sound up to it."""
        pts = round(frame.meta.audio_ms / CHUNK_MS)
        if pts <= self._last_pts:
            return  # before the start: the mouth at rest, shown by the frame at 0
        self._last_pts = pts
        picture = av.VideoFrame.from_ndarray(simplejpeg.decode_jpeg(frame.image, colorspace="RGB"), format="rgb24")
        picture.pts = pts
        self._container.mux(self._video.encode(picture))
        self._add_sound((pts + 1) * CHUNK_SAMPLES)

    def _add_sound(self, until: int) -> None:
        piece = self._samples[self._written : until]
        if len(piece):
            sound = av.AudioFrame.from_ndarray(np.ascontiguousarray(piece)[np.newaxis], format="fltp", layout="mono")
            sound.sample_rate, sound.pts = SAMPLE_RATE_HZ, self._written
            self._container.mux(self._audio.encode(sound))
            self._written += len(piece)

    def close(self) -> None:
        self._add_sound(len(self._samples))
        self._container.mux(self._video.encode(None))
        self._container.mux(self._audio.encode(None))
        self._container.close()


def track_row(frame: LiveFrame) -> tuple[str, str, str]:
    """time_s, aperture, rounding of one frame; a speaker without these channels cannot be tracked.

    Raises:
        RenderError: the channels are missing.
    """
    shown = frame.meta.articulation
    try:
        return f"{frame.meta.audio_ms / 1000:.3f}", f"{shown['aperture']:.4f}", f"{shown['rounding']:.4f}"
    except KeyError as error:
        raise RenderError(f"the speaker '{frame.meta.speaker}' has no channel {error}: leave --track out") from None


@contextlib.contextmanager
def own_pipeline() -> Iterator[str]:
    """A pipeline for this rendering alone, on a free port; gives its WebSocket's address.

    Raises:
        RenderError: it does not start; with its own words.
    """
    command = [sys.executable, "-m", "pipeline.run", "--port", "0"]
    with tempfile.TemporaryFile("w+", errors="replace") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line.startswith("ready http"):
                log.seek(0)
                raise RenderError(f"the pipeline did not start:\n{log.read()}")
            yield line.split()[1].replace("http", "ws", 1) + "/ws"
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(_STOP_S)
            process.stdout.close()


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
        chunks = chunks_of(samples, started.lookahead_ms)
        movie = Movie(out, started.width, started.height, samples)
        try:
            with bar:
                task = bar.add_task(f"{out.name}, {started.speaker}", total=len(chunks))
                async for frame in face.stream(chunks):
                    movie.add(frame)
                    if track:
                        table.writerow(track_row(frame))
                    bar.advance(task)
        finally:
            movie.close()
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
        with contextlib.nullcontext(arguments.url) if arguments.url else own_pipeline() as url:
            track = asyncio.run(
                render(url, samples, arguments.output, arguments.speaker, track=arguments.track is not None)
            )
        if arguments.track is not None:
            arguments.track.write_text(track, encoding="utf-8")
    except (RenderError, ServerError, ServerGoneError, OSError) as error:
        sys.exit(f"lipwire: {error}")


if __name__ == "__main__":
    main()
