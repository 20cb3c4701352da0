"""A sound file becomes a movie: every frame in order, the sound with it, the track beside it."""

import csv
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from pipeline.audio import CHUNK_MS, CHUNK_SAMPLES, SAMPLE_RATE_HZ
from pipeline.render import Plan, RenderError, read_audio
from tests.running import ROOT, Pipeline, voice

SECONDS = 1.5


def render(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pipeline.render", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)


def decoded(movie: Path) -> "tuple[np.ndarray[Any, Any], int]":
    with av.open(str(movie)) as container:
        frames = list(container.decode(audio=0))
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]), frames[0].sample_rate


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """44.1 kHz stereo: silence, then a voice from 0.5 s on."""
    path = tmp_path / "sound.flac"
    samples = voice(int(SECONDS * SAMPLE_RATE_HZ)) * (np.arange(int(SECONDS * SAMPLE_RATE_HZ)) > 0.5 * SAMPLE_RATE_HZ)
    at_44k = np.interp(np.arange(int(SECONDS * 44_100)) / 44_100, np.arange(len(samples)) / SAMPLE_RATE_HZ, samples)
    soundfile.write(path, np.stack([at_44k, at_44k], 1), 44_100)
    return path


@given(samples=st.integers(1, 5_000), lookahead_ms=st.integers(0, 130))
def test_every_frame_lies_on_the_grid_whatever_the_lookahead(samples: int, lookahead_ms: int) -> None:
    plan = Plan(samples, lookahead_ms)
    sound = np.arange(1, samples + 1, dtype=np.float32)
    sent = np.concatenate(plan.chunks(sound))
    times = [plan.time_ms((k + 1) * CHUNK_MS - lookahead_ms) for k in range(plan.count)]
    assert [time for time in times if time >= 0] == [k * CHUNK_MS for k in range(plan.frames)]
    assert plan.frames == -(-samples // CHUNK_SAMPLES)
    heard = sent[sent > 0]
    assert np.array_equal(heard, sound[: len(heard)])
    assert len(heard) == samples or lookahead_ms == 0 or len(heard) >= samples - CHUNK_SAMPLES


def test_every_moment_of_the_sound_has_its_frame(pipeline: Pipeline, sound: Path, tmp_path: Path) -> None:
    movie, track = tmp_path / "movie.mp4", tmp_path / "track.csv"
    result = render(sound, movie, "--track", track, "--url", pipeline.ws)
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""
    with av.open(str(movie)) as container:
        pictures = list(container.decode(video=0))
    times = [float(p.pts * p.time_base) for p in pictures if p.pts is not None and p.time_base is not None]
    assert times == pytest.approx([k / 25 for k in range(math.ceil(SECONDS * 25))])
    assert (pictures[0].width, pictures[0].height) == (512, 512)

    heard, rate_hz = decoded(movie)
    assert rate_hz == SAMPLE_RATE_HZ
    assert len(heard) / rate_hz == pytest.approx(SECONDS, abs=0.05)
    original = read_audio(sound)
    shift = np.argmax(np.correlate(heard, original[:20_000], "full")) - (20_000 - 1)
    assert abs(shift) <= 24, "the sound lies within a millisecond of where it was"

    rows = list(csv.DictReader(track.open()))
    assert list(rows[0]) == ["time_s", "aperture", "rounding"]
    assert [float(row["time_s"]) for row in rows] == pytest.approx(times)
    assert list(tmp_path.glob(".*")) == [], "nothing half-made is left"


@pytest.mark.parametrize(("suffix", "options"), [(".mp3", {}), (".ogg", {}), (".wav", {"subtype": "FLOAT"})])
def test_the_same_samples_are_read_from_any_format(tmp_path: Path, suffix: str, options: dict[str, str]) -> None:
    samples = voice(SAMPLE_RATE_HZ) * 0.5
    path = tmp_path / f"sound{suffix}"
    soundfile.write(path, samples, SAMPLE_RATE_HZ, **options)
    read = read_audio(path)
    assert read.dtype == np.float32
    assert len(read) == pytest.approx(len(samples), abs=2_500)  # MP3 pads
    size = min(len(read), len(samples))
    assert np.corrcoef(read[:size], samples[:size])[0, 1] > 0.98


def test_what_only_libsndfile_reads_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sound.mat"
    soundfile.write(path, np.linspace(-0.5, 0.5, 4_800), 48_000, format="MAT5")
    assert len(read_audio(path)) == 2_400


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_samples_that_no_microphone_gives_are_refused(tmp_path: Path, bad: float) -> None:
    path = tmp_path / "sound.wav"
    soundfile.write(path, np.array([0, bad, 0], np.float32), 24_000, subtype="FLOAT")
    with pytest.raises(RenderError, match="NaN"):
        read_audio(path)


def test_a_movie_that_fails_leaves_the_old_one_alone(sound: Path, tmp_path: Path) -> None:
    old = tmp_path / "movie.mp4"
    old.write_bytes(b"the old one")
    result = render(sound, old, "--url", "ws://127.0.0.1:9/ws")
    assert result.returncode != 0
    assert "ws://127.0.0.1:9/ws" in result.stderr
    assert old.read_bytes() == b"the old one"


def test_it_starts_a_pipeline_of_its_own(sound: Path, tmp_path: Path) -> None:
    result = render(sound, tmp_path / "movie.mp4")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "movie.mp4").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("content", "words"), [(None, "no such file"), (b"no sound in here", "not an audio file")], ids=["missing", "text"]
)
def test_what_is_no_audio_is_said(pipeline: Pipeline, tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "input.wav"
    if content is not None:
        path.write_bytes(content)
    result = render(path, tmp_path / "movie.mp4", "--url", pipeline.ws)
    assert result.returncode != 0
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_an_unknown_speaker_is_said(pipeline: Pipeline, sound: Path, tmp_path: Path) -> None:
    result = render(sound, tmp_path / "movie.mp4", "--speaker", "nobody", "--url", pipeline.ws)
    assert result.returncode != 0
    assert "installed: " in result.stderr


def test_where_nothing_can_be_written_is_said(pipeline: Pipeline, sound: Path, tmp_path: Path) -> None:
    result = render(sound, tmp_path / "no" / "folder.mp4", "--url", pipeline.ws)
    assert result.returncode != 0
    assert "cannot be written" in result.stderr
