"""The microphone: real devices of a real sound server, taken away and given back; clocks that do not agree."""

import asyncio
import json
import subprocess
import sys
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect

from pipeline.audio import CHUNK_SAMPLES, SAMPLE_RATE_HZ, Samples, samples_from_int16
from pipeline.history import History
from pipeline.protocol import binary, live
from pipeline.protocol.binary import BinaryType
from pipeline.protocol.live import FrameMeta
from stages.mic import Source, options_of
from stages.microphone.clock import Chunker
from stages.microphone.devices import Device, MicError, find
from stages.microphone.recorder import Block
from tests import soundcard
from tests.running import ROOT, Pipeline, instance_folders_of, running, start, wait_until
from tests.soundcard import SoundCard

SPOKEN_S = 3
FRAMES_A_SECOND = 25


# ---- a real sound server ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def card(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SoundCard]:
    assert soundcard.is_possible(), "PulseAudio is missing: scripts/system-packages.sh tests"
    made = SoundCard(tmp_path_factory.mktemp("soundcard"))
    made.start()
    yield made
    made.stop()


def python(card: SoundCard, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=card.environment, capture_output=True, text=True, timeout=60, check=False
    )


def sentence(folder: Path) -> tuple[Path, Samples]:
    """The beginning of the page's sample, as a file and as samples."""
    path = folder / "sentence.wav"
    with wave.open(str(ROOT / "webclient" / "sample.wav")) as sample, wave.open(str(path), "wb") as cut:
        cut.setparams(sample.getparams())
        raw = sample.readframes(SPOKEN_S * SAMPLE_RATE_HZ)
        cut.writeframes(raw)
    return path, samples_from_int16(raw)


def newest(pipeline: Pipeline, seconds: float) -> Samples:
    """What ingest has heard lately of the only session there is: its memory is shared."""
    (folder,) = instance_folders_of(pipeline.popen.pid)
    (path,) = folder.glob("session.*")
    history = History(path)
    chunks = history._chunks.copy()
    numbers = np.arange(history.next - round(seconds * FRAMES_A_SECOND), history.next) % 500
    return np.asarray(chunks[numbers].reshape(-1))


def likeness(heard: Samples, said: Samples) -> float:
    """1 where ``said`` is somewhere in ``heard`` as it was."""
    products = scipy.signal.correlate(heard, said, "valid")
    energies = scipy.signal.correlate(np.square(heard), np.ones_like(said), "valid")
    best = int(np.argmax(products))
    return float(products[best] / np.sqrt(energies[best] * np.sum(np.square(said))))


def has_heard(pipeline: Pipeline, said: Samples) -> bool:
    """Whether ``said`` is in the last seconds of what the microphone heard, a server's delay included."""
    return likeness(newest(pipeline, 2 * SPOKEN_S + 1), said) > 0.9


async def watch(pipeline: Pipeline) -> ClientConnection:
    socket = await connect(pipeline.ws)
    await socket.send(json.dumps({"action": "watch", "version": 1, "name": "mic"}))
    answer = json.loads(await socket.recv())
    assert answer["success"], answer
    return socket


async def frames(socket: ClientConnection, count: int) -> list[FrameMeta]:
    metas: list[FrameMeta] = []
    while len(metas) < count:
        message = await asyncio.wait_for(socket.recv(), 20)
        if isinstance(message, bytes):
            decoded = binary.decode(message)
            assert decoded.type is BinaryType.LIVE_FRAME
            metas.append(live.decode_frame_payload(decoded.payload)[0])
    return metas


async def spoken(card: SoundCard, socket: ClientConnection, recording: Path) -> list[FrameMeta]:
    """The frames while a recording is played into the microphone."""
    player = card.play(recording)
    metas = await frames(socket, (SPOKEN_S + 1) * FRAMES_A_SECOND)
    assert player.wait(10) == 0
    return metas


async def test_a_microphone_speaks_is_unplugged_and_comes_back(card: SoundCard, tmp_path: Path) -> None:
    recording, said = sentence(tmp_path)
    log = tmp_path / "log.txt"
    with running(log, "--mic", environment=card.environment) as pipeline:
        wait_until(lambda: "event=recording" in log.read_text() and pipeline.health()["sessions"] == 1)
        async with await watch(pipeline) as socket:
            await frames(socket, 2 * FRAMES_A_SECOND)  # the sound server wakes the device up
            metas = await spoken(card, socket, recording)
            wait_until(lambda: has_heard(pipeline, said), within_s=10)
            assert max(meta.articulation["aperture"] for meta in metas) > 0.3, "it spoke"

            card.unplug()
            wait_until(lambda: "microphone lost" in log.read_text())
            away = await frames(socket, FRAMES_A_SECOND)
            assert all(meta.silent for meta in away[-10:]), "the face rests, and frames go on"
            card.plug_in()
            wait_until(lambda: log.read_text().count("event=recording") >= 2)

            card.stop()  # the whole server this time
            wait_until(lambda: log.read_text().count("microphone lost") >= 2)
            card.start()
            recordings = log.read_text().count("event=recording")
            wait_until(lambda: log.read_text().count("event=recording") > recordings)
            await frames(socket, 3 * FRAMES_A_SECOND)
            await spoken(card, socket, recording)
            wait_until(lambda: has_heard(pipeline, said), within_s=10)
        assert pipeline.health()["stages"]["mic.0"]["restarts"] == 0, "the process lived through all of it"


def test_the_list_shows_it_and_what_is_not_there_is_refused(card: SoundCard) -> None:
    shown = python(card, "stages.mic", "--list")
    assert shown.returncode == 0
    assert "default" in shown.stdout
    known = json.loads(python(card, "stages.mic", "--list", "--json").stdout)
    assert {"index", "name", "host_api", "channels", "rate_hz", "is_default"} <= set(known[0])
    refused = python(card, "pipeline.run", "--port", "0", "--mic", "no such thing")
    assert refused.returncode == 1
    assert "there is no microphone 'no such thing'" in refused.stderr
    assert known[0]["name"] in refused.stderr


def test_without_the_process_in_the_configuration_it_says_so(tmp_path: Path) -> None:
    text = (ROOT / "supervisor.toml").read_text()
    begin, end = text.index("[process.mic]"), text.index("# ---- sockets")
    config = tmp_path / "supervisor.toml"
    config.write_text(text[:begin] + text[end:])
    refused = start("--config", str(config), "--mic")
    _, said = refused.communicate(timeout=30)
    assert refused.returncode == 1
    assert "no [process.mic]" in said


# ---- devices ---------------------------------------------------------------------------------------------------------


def device(index: int, name: str, **changes: Any) -> Device:
    usual = Device(index=index, name=name, host_api="ALSA", channels=1, rate_hz=48_000, is_default=False)
    return msgspec.structs.replace(usual, **changes)


DEVICES = [device(0, "Webcam"), device(3, "USB microphone", is_default=True), device(4, "USB line")]


@pytest.mark.parametrize(("wanted", "index"), [("", 3), ("0", 0), ("webcam", 0), ("line", 4), ("USB LINE", 4)])
def test_a_device_is_found_by_index_or_name(wanted: str, index: int) -> None:
    assert find(wanted, DEVICES).index == index


@pytest.mark.parametrize("wanted", ["usb", "7", "phone booth"])
def test_what_is_not_one_device_is_refused_with_those_there_are(wanted: str) -> None:
    with pytest.raises(MicError, match="3: USB microphone"):
        find(wanted, DEVICES)


def test_an_option_that_there_is_not_is_refused() -> None:
    with pytest.raises(MicError, match="devise"):
        options_of({"devise": "x"})


# ---- clocks ----------------------------------------------------------------------------------------------------------


RESAMPLER_KEEPS_S = 0.0301
"""libsoxr's filters of a variable rate: 240 samples of a device at 8 kHz, the slowest; 5 to 15 ms at the others."""


@settings(deadline=None, max_examples=25)
@given(
    rate_hz=st.sampled_from([8_000, 16_000, 22_050, 44_100, 48_000, 96_000]),
    blocks=st.lists(st.integers(1, 3_000), min_size=1, max_size=60),
)
def test_any_rate_in_blocks_of_any_size_gives_whole_chunks_and_loses_nothing(rate_hz: int, blocks: list[int]) -> None:
    chunker = Chunker(rate_hz, 0.0)
    t = np.arange(sum(blocks)) / rate_hz
    tone = (0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
    chunks: list[Samples] = []
    taken = 0
    for size in blocks:
        chunks += chunker.add(tone[taken : taken + size], (taken + size) / rate_hz)
        taken += size
    assert all(chunk.shape == (CHUNK_SAMPLES,) for chunk in chunks)
    owed = taken / rate_hz * SAMPLE_RATE_HZ
    held = owed - len(chunks) * CHUNK_SAMPLES
    assert -1 <= held <= CHUNK_SAMPLES + RESAMPLER_KEEPS_S * SAMPLE_RATE_HZ, "less than a chunk, and the resampler's"


@pytest.mark.parametrize("off_ppm", [300, -300, 0])
def test_a_device_whose_clock_is_wrong_gives_25_chunks_a_second_all_the_same(off_ppm: int) -> None:
    """Ten minutes, in bursts that come up to 20 ms late."""
    rng = np.random.default_rng(1)
    rate_hz, block = 16_000, 800
    chunker = Chunker(rate_hz, 0.0)
    silence = np.zeros(block, np.float32)
    count = 0
    for number in range(1, 600 * rate_hz // block):
        true_s = number * block / (rate_hz * (1 + off_ppm * 1e-6))
        count += len(chunker.add(silence, true_s + rng.uniform(0, 0.02)))
        assert abs(count - FRAMES_A_SECOND * true_s) < 2
    assert chunker.drift.ppm == pytest.approx(off_ppm, abs=20)


def blocks_of(source: Source, times: int, *, overflowed: bool = False) -> int:
    """How many chunks come of so many blocks of 10 ms."""
    source.open(48_000)
    raw = np.ones(480, np.float32).tobytes()
    return sum(len(source.add(Block(raw, source._until_s + 0.01, overflowed))) for _ in range(times))


def test_silence_takes_the_place_of_a_device_that_is_away() -> None:
    dropped: list[str] = []
    source = Source(dropped.append)
    assert 48 <= blocks_of(source, 200) <= 50
    began_s = source._until_s
    assert source.silence(began_s + 0.15) == [], "a server's burst may be late"
    chunks = [chunk for step in range(25) for chunk in source.silence(began_s + 0.04 * (step + 1))]
    assert 24 <= len(chunks) <= 25
    assert not np.any(chunks)
    assert source.drift_ppm is None
    assert 48 <= blocks_of(source, 200) <= 50
    assert dropped == []


def test_an_overflow_is_counted() -> None:
    dropped: list[str] = []
    blocks_of(Source(dropped.append), 3, overflowed=True)
    assert dropped == ["overflow"] * 3
