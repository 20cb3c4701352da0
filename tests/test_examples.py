"""The examples of docs/extending.md, run as they stand there: a stage, a speaker, a client in another language."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import soundfile

from pipeline.audio import CHUNK_SAMPLES
from pipeline.client import LipSync, LiveFrame
from pipeline.protocol.requests import Pace
from tests.running import ROOT, Pipeline, kill, running, wait_until

EXAMPLES = ROOT / "examples"
SAMPLE = ROOT / "webclient" / "sample.wav"


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("log") / "log.txt"


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory, log: Path) -> Iterator[Pipeline]:
    """One pipeline with all of them."""
    folder = tmp_path_factory.mktemp("examples")
    made = folder / "speakers" / "puppet"
    subprocess.run([sys.executable, str(EXAMPLES / "puppet" / "make.py"), str(made)], cwd=ROOT, check=True)
    (folder / "puppet.toml").write_text(
        f'[pipeline]\nspeaker = "puppet"\nspeakers_dir = "{made.parent}"\n'
        '[process.infer]\noptions = { backend = "onnxruntime" }\n'  # nothing to be measured first
    )
    syllables = EXAMPLES / "syllables" / "syllables.toml"
    with running(log, "--with", str(syllables), "--with", str(folder / "puppet.toml")) as pipeline:
        yield pipeline


async def speak(pipeline: Pipeline) -> list[LiveFrame]:
    """The sample's frames, from its last whole chunk on back."""
    sound, _ = soundfile.read(SAMPLE, dtype="float32")
    chunks = sound[: len(sound) // CHUNK_SAMPLES * CHUNK_SAMPLES].reshape(-1, CHUNK_SAMPLES)
    async with LipSync(pipeline.ws, pace=Pace.LOSSLESS) as face:
        frames = [frame async for frame in face.stream(list(chunks))]
    assert len(frames) == len(chunks)
    return frames


def syllables(log: Path) -> list[int]:
    return [int(number) for number in re.findall(r"process=syllables event=counted .*syllables=(\d+)", log.read_text())]


async def test_the_stage_that_listens_in_counts_syllables(examples: Pipeline, log: Path) -> None:
    before = len(syllables(log))
    await speak(examples)
    wait_until(lambda: len(syllables(log)) > before)
    assert 11 <= syllables(log)[-1] <= 33  # the two sentences have 22


async def test_its_death_costs_nobody_a_frame(examples: Pipeline) -> None:
    listening = examples.pid_of("syllables")
    kill(listening)
    await speak(examples)
    examples.wait_ready(but_not_pid=listening)


def dark_between_the_lips(frame: LiveFrame) -> int:
    """Pixels."""
    picture = cv2.imdecode(np.frombuffer(frame.image, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture is not None
    return int((picture[320:400, 206:306] < 50).sum())


async def test_the_drawn_face_speaks(examples: Pipeline) -> None:
    frames = await speak(examples)
    assert {frame.meta.speaker for frame in frames} == {"puppet"}
    by_aperture = sorted(frames, key=lambda frame: frame.meta.articulation["aperture"])
    closed, wide = (dark_between_the_lips(frame) for frame in (by_aperture[0], by_aperture[-1]))
    assert wide > 2 * closed


def node(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = ["node", str(EXAMPLES / "node-client" / "client.mjs"), *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)


def test_the_node_client_saves_a_frame_for_every_chunk(examples: Pipeline, tmp_path: Path) -> None:
    done = node(examples.ws, str(SAMPLE), str(tmp_path))
    assert done.returncode == 0, done.stderr
    chunks = -(-soundfile.info(SAMPLE).frames // CHUNK_SAMPLES)
    pictures = [path.read_bytes() for path in sorted(tmp_path.iterdir())]
    assert len(pictures) == chunks
    assert {picture[:2] for picture in pictures} == {b"\xff\xd8"}
    assert len(set(pictures)) > chunks // 2  # the mouth moves


def test_the_node_client_says_what_it_cannot_do(examples: Pipeline, tmp_path: Path) -> None:
    told = node(examples.ws, str(ROOT / "README.md"), str(tmp_path))
    assert (told.returncode, told.stdout) == (1, "")
    assert "client: " in told.stderr
    assert "ffmpeg" in told.stderr
