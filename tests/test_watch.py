"""Sessions outside the browser: movies, Y4M and cameras, opened by FFmpeg; sound and picture together in each."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvirtualcam
import scipy.signal
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.audio import CHUNK_MS, CHUNK_SAMPLES, SAMPLE_RATE_HZ, Samples, samples_from_int16
from pipeline.client import LipSync, LiveFrame
from pipeline.movie import Picture
from pipeline.protocol.live import FrameMeta
from pipeline.watch import outputs
from pipeline.watch.__main__ import watch
from pipeline.watch.outputs import OutputError
from pipeline.watch.timeline import Timeline
from pipeline.watch.viewer import Sound
from tests.running import ROOT, Pipeline

SPOKEN_S = 5
SIDE = 512
MOST_OFF_MS = 30  # a picture at the wrong place is 40
WHOLE_PIECES = 3  # of a second each, of a recording that is cut off


def sentence() -> Samples:
    with wave.open(str(ROOT / "webclient" / "sample.wav")) as sample:
        return samples_from_int16(sample.readframes(SPOKEN_S * SAMPLE_RATE_HZ))


async def speak(pipeline: Pipeline, name: str, sound: Samples) -> list[FrameMeta]:
    """In real time; what each frame showed."""
    chunks = list(sound[: len(sound) // CHUNK_SAMPLES * CHUNK_SAMPLES].reshape(-1, CHUNK_SAMPLES))
    async with LipSync(pipeline.ws, name=name) as face:
        return [frame.meta async for frame in face.stream(chunks)]


def watcher(pipeline: Pipeline, name: str, *arguments: str, **streams: Any) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "pipeline.watch", name, "--url", pipeline.ws, "--wait", *arguments]
    return subprocess.Popen(command, cwd=ROOT, **streams)


def ffmpeg(*arguments: str) -> bytes:
    return subprocess.run(["ffmpeg", "-v", "error", *arguments], capture_output=True, check=True, timeout=60).stdout


def ffmpeg_reading(*arguments: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["ffmpeg", "-v", "error", *arguments], stdin=subprocess.PIPE)


def probe(movie: Path) -> dict[str, Any]:
    command = ["ffprobe", "-v", "error", "-show_streams", "-count_frames", "-of", "json", str(movie)]
    streams = json.loads(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)["streams"]
    return {stream["codec_type"]: stream for stream in streams}


def sound_of(movie: Path) -> Samples:
    """As a player hears it from the movie's beginning."""
    raw = ffmpeg(
        "-i", str(movie), "-af", "aresample=async=1:first_pts=0", "-f", "s16le", "-ar", "24000", "-ac", "1", "-"
    )
    return samples_from_int16(raw)


def pictures_of(movie: Path) -> NDArray[np.uint8]:
    """[n, 512, 512] grey, one every 40 ms from the movie's beginning."""
    raw = ffmpeg("-i", str(movie), "-vf", "fps=25:start_time=0", "-f", "rawvideo", "-pix_fmt", "gray", "-")
    return np.frombuffer(raw, np.uint8).reshape(-1, SIDE, SIDE)


def best_shift(long: NDArray[Any], short: NDArray[Any]) -> int:
    """Where in ``long`` ``short`` fits best."""
    return int(np.argmax(scipy.signal.correlate(long, short, "valid")))


def offset_ms(movie: Path, said: Samples, metas: list[FrameMeta]) -> float:
    """By how much the mouth comes later than the sound that it shows.

    The mouth's opening is seen as the darkness within the lips; what it was at every moment of the sound, the frames
    said themselves. Both are laid against what the movie shows and sounds like.
    """
    inside = pictures_of(movie)[:, 320:350, 236:276].astype(np.float32).mean((1, 2))
    fine = 4  # pictures are 40 ms apart: between them, straight lines
    seen = np.interp(np.arange(0, len(inside), 1 / fine), np.arange(len(inside)), -inside)
    seen -= scipy.signal.medfilt(seen, 2 * 25 * fine + 1)  # the head moves, slowly
    moments = np.array([meta.audio_ms for meta in metas])
    opening = np.array([meta.articulation["aperture"] for meta in metas])
    begin_ms = 1_000.0
    times = np.arange(begin_ms, moments[-1] - 1_000, CHUNK_MS / fine)
    shown = np.interp(times, moments, opening)
    picture_ms = best_shift(seen, shown - shown.mean()) * CHUNK_MS / fine
    heard = sound_of(movie)
    piece = said[round(begin_ms * 24) : round((moments[-1] - 1_000) * 24)]
    return picture_ms - best_shift(heard, piece) / 24


async def test_a_session_goes_into_movies_and_to_ffmpeg_in_sync(pipeline: Pipeline, tmp_path: Path) -> None:
    mp4, mkv, through = tmp_path / "a.mp4", tmp_path / "b.mkv", tmp_path / "c.mp4"
    reader = ffmpeg_reading("-f", "yuv4mpegpipe", "-i", "-", "-c:v", "libx264", str(through))
    assert reader.stdin is not None
    recorder = watcher(pipeline, "show", "--record", str(mp4), "--record", str(mkv), "--y4m", "-", stdout=reader.stdin)
    reader.stdin.close()
    await asyncio.sleep(1.5)  # it is there and waits
    metas = await speak(pipeline, "show", sentence())
    assert recorder.wait(20) == 0
    assert reader.wait(20) == 0
    for movie in (mp4, mkv):
        streams = probe(movie)
        assert streams["video"]["codec_name"] == "h264"
        assert streams["audio"]["codec_name"] == "aac"
        assert streams["video"]["r_frame_rate"] == "25/1"
        assert abs(int(streams["video"]["nb_read_frames"]) - SPOKEN_S * 25) < 25, "it waits half a second between looks"
        assert abs(len(sound_of(movie)) / SAMPLE_RATE_HZ - len(pictures_of(movie)) / 25) < 0.2
        off = offset_ms(movie, sentence(), metas)
        assert abs(off) < MOST_OFF_MS, movie.name
    piped = probe(through)
    assert piped["video"]["nb_read_frames"] == probe(mp4)["video"]["nb_read_frames"]
    assert (piped["video"]["width"], piped["video"]["height"]) == (SIDE, SIDE)
    brightness = [pictures_of(movie).mean() for movie in (mp4, through)]
    assert brightness[0] == pytest.approx(brightness[1], abs=1.0), "the same range of colours"


async def test_what_was_recorded_till_a_kill_can_be_played(pipeline: Pipeline, tmp_path: Path) -> None:
    mp4, mkv = tmp_path / "a.mp4", tmp_path / "b.mkv"
    recorder = watcher(pipeline, "cut", "--record", str(mp4), "--record", str(mkv))
    speaking = asyncio.create_task(speak(pipeline, "cut", sentence()))
    while not mp4.exists() or mp4.read_bytes().count(b"moof") < WHOLE_PIECES:
        await asyncio.sleep(0.2)
        assert not speaking.done(), "the recorder has written too little"
    recorder.send_signal(signal.SIGKILL)
    recorder.wait()
    await speaking
    for movie in (mp4, mkv):
        assert int(probe(movie)["video"]["nb_read_frames"]) >= 25


async def test_ctrl_c_ends_a_recording_in_good_order_and_others_watch_on(pipeline: Pipeline, tmp_path: Path) -> None:
    movie = tmp_path / "a.mkv"
    recorder = watcher(pipeline, "stop", "--record", str(movie))
    speaking = asyncio.create_task(speak(pipeline, "stop", sentence()[: 4 * SAMPLE_RATE_HZ]))
    await asyncio.sleep(2.5)
    recorder.send_signal(signal.SIGINT)
    assert await asyncio.to_thread(recorder.wait, 10) == 0
    assert len(await speaking) > 90
    assert int(probe(movie)["video"]["nb_read_frames"]) >= 10


# ---- cameras ---------------------------------------------------------------------------------------------------------


def camera_backend(path: Path) -> type:
    """A virtual camera that is a file of raw pictures: what a loopback device does, without the kernel's part."""

    class Backend:
        def __init__(self, *, width: int, height: int, fps: float, fourcc: int, device: str | None, **_: Any) -> None:
            assert (width, height, fps) == (SIDE, SIDE, 25)
            assert device in (None, "face")
            self._file = path.open("wb")

        def send(self, frame: NDArray[np.uint8]) -> None:
            self._file.write(frame.tobytes())

        def close(self) -> None:
            self._file.close()

        def device(self) -> str:
            return "face"

        def native_fourcc(self) -> int | None:
            return None

    return Backend


async def test_a_virtual_camera_shows_the_session(pipeline: Pipeline, tmp_path: Path) -> None:
    """By pyvirtualcam's own interface for cameras, read by FFmpeg while it runs."""
    pipe, seen = tmp_path / "camera.rgb", tmp_path / "seen.mp4"
    os.mkfifo(pipe)
    size = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{SIDE}x{SIDE}", "-r", "25"]
    reader = ffmpeg_reading(*size, "-i", str(pipe), "-c:v", "libx264", str(seen))
    pyvirtualcam.camera.register_backend("file", camera_backend(pipe))
    try:
        timeline = Timeline([outputs.camera("face")])
        speaking = asyncio.create_task(speak(pipeline, "camera", sentence()[: 2 * SAMPLE_RATE_HZ]))
        await watch(pipeline.ws, "camera", timeline, wait=True)
        timeline.finish()
        await speaking
    finally:
        pyvirtualcam.camera.BACKENDS.pop("file")
    assert reader.wait(20) == 0
    assert int(probe(seen)["video"]["nb_read_frames"]) == timeline.pictures > 25


LOOPBACKS = sorted(Path("/dev").glob("video*"))


@pytest.mark.skipif(not LOOPBACKS, reason="no v4l2loopback device: needs the kernel's module")
async def test_a_loopback_device_shows_the_session(pipeline: Pipeline, tmp_path: Path) -> None:
    device = LOOPBACKS[0]
    camera = watcher(pipeline, "camera", "--camera", str(device))
    speaking = asyncio.create_task(speak(pipeline, "camera", sentence()))
    await asyncio.sleep(2)
    seen = tmp_path / "seen.mp4"
    await asyncio.to_thread(ffmpeg, "-f", "v4l2", "-i", str(device), "-frames:v", "25", str(seen))
    await speaking
    assert camera.wait(10) == 0
    assert int(probe(seen)["video"]["nb_read_frames"]) == 25


# ---- what is wrong is said -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nobody", "--record", "x.mkv"], "no session is named 'nobody'"),
        (["nobody", "--record", "x.avi"], "ends in .mp4 or .mkv"),
        (["nobody"], "say where to"),
        (["nobody", "--y4m", "/no/such/folder/x.y4m"], "No such file"),
    ],
)
def test_what_cannot_be_done_is_said(pipeline: Pipeline, tmp_path: Path, arguments: list[str], said: str) -> None:
    command = [sys.executable, "-m", "pipeline.watch", *arguments, "--url", pipeline.ws]
    path = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=path, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir()), "nothing is left behind"


def test_no_camera_says_how_to_get_one() -> None:
    if LOOPBACKS:
        pytest.skip("there is one here")
    with pytest.raises(OutputError, match="v4l2loopback"):
        outputs.camera(None)(SIDE, SIDE)


# ---- the timeline --------------------------------------------------------------------------------------------------


class Kept:
    """An output that keeps what it is given: of each picture, the level of grey that it is."""

    def __init__(self) -> None:
        self.pictures: list[int] = []
        self.samples: list[float] = []
        self.sizes: set[tuple[int, ...]] = set()
        self.closed = False

    def picture(self, picture: Picture) -> None:
        self.pictures.append(round(float(picture[picture.shape[0] // 2, picture.shape[1] // 2, 0]) / 4))
        self.sizes.add(picture.shape)

    def sound(self, samples: Samples) -> None:
        self.samples.extend(samples.tolist())

    def close(self) -> None:
        self.closed = True


class Broken(Kept):
    def picture(self, picture: Picture) -> None:
        raise OutputError("broken")


def frame(number: int, lookahead_ms: int, side: int = 16) -> LiveFrame:
    grey = np.full((side, side, 3), 4 * (number % 64), np.uint8)
    image = simplejpeg.encode_jpeg(grey, quality=95)
    meta = FrameMeta(
        chunk=number, audio_ms=CHUNK_MS * (number + 1) - lookahead_ms, server_ms=1, level=0, base=0, speaker="x"
    )
    return LiveFrame(meta, image)


def sound(chunk: int) -> Sound:
    """Whose samples say where in the stream they are."""
    first = chunk * CHUNK_SAMPLES
    return Sound(chunk, np.arange(first, first + CHUNK_SAMPLES, dtype=np.float32))


def through(kept: Kept, received: list[LiveFrame | Sound]) -> Timeline:
    openers: list[Callable[[int, int], outputs.Output]] = [lambda _width, _height: kept]
    timeline = Timeline(openers)
    for item in received:
        timeline.frame(item) if isinstance(item, LiveFrame) else timeline.sound(item)
    timeline.finish()
    return timeline


@settings(deadline=None, max_examples=15)
@given(
    joined=st.integers(0, 30),
    lookahead_ms=st.sampled_from([0, 15, 40, 47, 120]),
    missing=st.sets(st.integers(0, 39), max_size=30),
)
def test_whatever_is_missing_pictures_and_sound_stay_together(
    joined: int, lookahead_ms: int, missing: set[int]
) -> None:
    count = 40
    received: list[LiveFrame | Sound] = []
    for number in range(joined, joined + count):
        received.append(sound(number))
        if number - joined not in missing:
            received.append(frame(number, lookahead_ms))
    kept = Kept()
    timeline = through(kept, received)
    there = [number for number in range(joined, joined + count) if number - joined not in missing]
    if not there:
        return
    begin = round((CHUNK_MS * (there[0] + 1) - lookahead_ms) * 24)
    spoken = [value for value in kept.samples if value]
    assert spoken == [
        value for value in range(max(begin, joined * CHUNK_SAMPLES), (joined + count) * CHUNK_SAMPLES) if value
    ]
    assert len(kept.samples) == (joined + count) * CHUNK_SAMPLES - begin, "silence where there was no sound yet"
    owed = -(-len(kept.samples) // CHUNK_SAMPLES)
    assert owed <= len(kept.pictures) <= owed + 1, "without lookahead the last picture shows the sound's very end"
    assert timeline.repeated == timeline.pictures - len([number for number in there if number >= there[0]])
    for place, shown in enumerate(kept.pictures[: there[-1] - there[0] + 1]):
        newest = max(number for number in there if number <= there[0] + place)
        assert abs(shown - newest % 64) <= 1, "each picture at its place, or the one before it once more"
    assert kept.closed


def test_a_speaker_of_another_size_is_fitted_into_the_first_ones() -> None:
    kept = Kept()
    through(kept, [sound(0), frame(0, 40), sound(1), frame(1, 40, side=32)])
    assert kept.sizes == {(16, 16, 3)}


def test_an_output_that_fails_does_not_end_the_others() -> None:
    kept = Kept()
    timeline = Timeline([lambda _width, _height: Broken(), lambda _width, _height: kept])
    for number in range(5):
        timeline.sound(sound(number))
        timeline.frame(frame(number, 40))
    timeline.finish()
    assert len(kept.pictures) == 5
    assert [str(failure) for failure in timeline.failures] == ["broken"]


def test_when_none_is_left_it_ends() -> None:
    timeline = Timeline([lambda _width, _height: Broken()])
    with pytest.raises(OutputError):
        timeline.frame(frame(0, 40))
