"""Precomputed features: a row for each 40 ms, the very tensor that serving makes of that window."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import websockets
from numpy.typing import NDArray

from models import features as precomputed
from models import frontend
from models.features import FeaturesError, attach, features, read_sound
from models.frontend import CHUNK, SAMPLE_RATE, WINDOW
from models.install import install
from models.speaker import SPEAKERS_DIR, SpeakerError, open_speaker
from tests.running import ROOT, running
from tests.running import voice as spoken


def voice(seconds: float) -> NDArray[np.float32]:
    return (0.1 * np.random.default_rng(1).standard_normal(int(seconds * SAMPLE_RATE))).astype(np.float32)


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "models", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", sorted(frontend.FRONT_ENDS))
def test_row_t_is_the_window_that_ends_with_chunk_t(name: str) -> None:
    front_end, samples = frontend.get(name), voice(1.0)
    table = features(samples, front_end)
    assert table.shape == (25, 512)
    assert table.dtype == np.float32
    padded = np.concatenate([np.zeros(WINDOW, np.float32), samples])
    for row in (0, 7, 24):
        window = padded[(row + 1) * CHUNK : (row + 1) * CHUNK + WINDOW]
        np.testing.assert_allclose(table[row].reshape(1, 32, 16), front_end(window), rtol=1e-4, atol=1e-5)


def test_the_last_chunk_is_filled_up_with_silence() -> None:
    front_end = frontend.get("near")
    assert len(features(voice(0.05), front_end)) == 2
    assert len(features(voice(0.04), front_end)) == 1


def test_a_front_end_of_another_shape_is_refused() -> None:
    class Wide:
        name, summaries = "wide", 0

        def __call__(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.zeros((1, 80, 77), np.float32)

        def over(self, recording: NDArray[np.float32], ends: NDArray[np.int64]) -> NDArray[np.float32]:
            return np.zeros((len(ends), 80, 77), np.float32)

    with pytest.raises(FeaturesError, match=r"'wide' gives \(80, 77\).*512 values"):
        features(voice(0.1), Wide())


def test_bad_recordings_are_named(tmp_path: Path) -> None:
    with pytest.raises(FeaturesError, match="no such file"):
        read_sound(tmp_path / "missing.wav")
    text = tmp_path / "text.wav"
    text.write_text("hello")
    with pytest.raises(FeaturesError, match=r"text\.wav: no recording"):
        read_sound(text)
    empty = tmp_path / "empty.wav"
    soundfile.write(empty, np.zeros(0, np.float32), SAMPLE_RATE)
    with pytest.raises(FeaturesError, match="no sound in it"):
        read_sound(empty)
    broken = tmp_path / "nan.wav"
    soundfile.write(broken, np.array([0, np.nan], np.float32), SAMPLE_RATE, subtype="FLOAT")
    with pytest.raises(FeaturesError, match="NaN"):
        read_sound(broken)


def test_the_command_writes_what_the_manifest_can_name(tmp_path: Path) -> None:
    recording, out, speakers = tmp_path / "in.wav", tmp_path / "features.npy", tmp_path / "speakers"
    soundfile.write(recording, voice(0.4), SAMPLE_RATE)
    install(SPEAKERS_DIR / "amara", speakers)
    where = ("--speakers-dir", str(speakers), "features", str(recording), "--speaker")
    done = command(*where, "amara", "-o", str(out), "--attach")
    assert done.returncode == 0, done.stderr
    assert "10 rows of 512 values" in done.stdout
    speaker = open_speaker("amara", speakers)  # checksums included
    assert speaker.manifest.features == precomputed.FILE
    np.testing.assert_array_equal(speaker.features(), np.load(out))
    unknown = command(*where, "nobody", "-o", str(out))
    assert unknown.returncode == 1
    assert "there is no speaker 'nobody'" in unknown.stderr
    assert command(*where, "amara").returncode == 2, "neither -o nor --attach"
    unwritable = command(*where, "amara", "-o", str(tmp_path / "no" / "folder.npy"))
    assert "cannot be written" in unwritable.stderr


async def test_a_running_pipeline_paints_from_them(tmp_path: Path) -> None:
    speakers = tmp_path / "speakers"
    install(SPEAKERS_DIR / "default", speakers)
    speaker = open_speaker("default", speakers)
    attach(speaker, features(spoken(WINDOW), frontend.get(speaker.manifest.front_end)))
    config = tmp_path / "supervisor.toml"
    text = (ROOT / "supervisor.toml").read_text()
    config.write_text(text.replace("[pipeline]", f'[pipeline]\nspeakers_dir = "{speakers}"', 1))
    request = {"action": "generate_frame", "audio_data": "", "use_real_audio": False}
    with running(tmp_path / "log.txt", "--config", str(config)) as pipeline:
        async with websockets.connect(pipeline.ws, max_size=None) as socket:
            for row in (3, 15):
                await socket.send(json.dumps(request | {"frame_id": row}))
                answer = json.loads(await asyncio.wait_for(socket.recv(), 30))
                assert (answer["success"], answer["frame_id"]) == (True, row)
            await socket.send(json.dumps(request | {"frame_id": 16}))
            refused = json.loads(await asyncio.wait_for(socket.recv(), 30))
    assert refused["error"] == "invalid_frame_id"
    assert "0..15" in refused["message"]


def test_a_table_of_another_width_is_refused_when_read(tmp_path: Path) -> None:
    install(SPEAKERS_DIR / "amara", tmp_path)
    speaker = attach(open_speaker("amara", tmp_path), np.zeros((3, 500), np.float32))
    with pytest.raises(SpeakerError, match=r"expected \(T, 512\)"):
        speaker.features()
