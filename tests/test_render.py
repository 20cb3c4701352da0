"""A sound file becomes a movie: every frame in order, the sound with it, the track beside it."""

import csv
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from pipeline.audio import SAMPLE_RATE_HZ
from tests.running import ROOT, Pipeline, voice

SECONDS = 1.5


def render(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pipeline.render", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=110, check=False)


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    """44.1 kHz stereo: silence, then a voice from 0.5 s on."""
    path = tmp_path / "sound.flac"
    samples = voice(int(SECONDS * SAMPLE_RATE_HZ)) * (np.arange(int(SECONDS * SAMPLE_RATE_HZ)) > 0.5 * SAMPLE_RATE_HZ)
    at_44k = np.interp(np.arange(int(SECONDS * 44_100)) / 44_100, np.arange(len(samples)) / SAMPLE_RATE_HZ, samples)
    soundfile.write(path, np.stack([at_44k, at_44k], 1), 44_100)
    return path


def test_every_moment_of_the_sound_has_its_frame(pipeline: Pipeline, sound: Path, tmp_path: Path) -> None:
    movie, track = tmp_path / "movie.mp4", tmp_path / "track.csv"
    result = render(sound, movie, "--track", track, "--url", pipeline.ws)
    assert result.returncode == 0, result.stderr
    with av.open(str(movie)) as container:
        pictures = list(container.decode(video=0))
        assert [round(float(p.pts * p.time_base) * 25) for p in pictures if p.pts is not None] == list(
            range(len(pictures))
        )
        assert len(pictures) >= SECONDS * 25
        assert (pictures[0].width, pictures[0].height) == (512, 512)
    with av.open(str(movie)) as container:
        heard = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    onset_s = int(np.argmax(np.abs(heard) > 0.05)) / SAMPLE_RATE_HZ
    assert onset_s == pytest.approx(0.5, abs=0.04), "the voice begins where it began in the file"
    rows = list(csv.DictReader(track.open()))
    assert list(rows[0]) == ["time_s", "aperture", "rounding"]
    times = [float(row["time_s"]) for row in rows]
    assert times == pytest.approx([times[0] + k / 25 for k in range(len(times))])
    assert times[-1] >= SECONDS - 0.04


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
