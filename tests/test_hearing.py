"""Sound processing and the voice gates: what each does to a stream's sound, and that it is late by what it says."""

import itertools
import wave
from collections.abc import AsyncIterator, Sequence

import numpy as np
import pytest
import scipy.signal
from hypothesis import given
from hypothesis import strategies as st

from pipeline.audio import CHUNK_MS, CHUNK_SAMPLES, SAMPLE_RATE_HZ, Samples, samples_from_int16
from pipeline.client import LipSync, LiveFrame, ServerError
from pipeline.level import FFT_SIZE, LevelMeter
from pipeline.protocol.errors import ErrorCode
from pipeline.protocol.requests import Hearing, Pace, Processing, VoiceActivity
from stages.hearing import voice
from stages.hearing.processing import Processor, delay_ms
from tests.running import ROOT, Pipeline

COMBINATIONS = [steps for count in range(5) for steps in itertools.combinations(Processing, count)]
NEURAL = Hearing(0.01)


def sample() -> Samples:
    with wave.open(str(ROOT / "webclient" / "sample.wav")) as file:
        return samples_from_int16(file.readframes(file.getnframes()))


def in_chunks(sound: Samples) -> list[Samples]:
    return [sound[start : start + CHUNK_SAMPLES] for start in range(0, len(sound) - CHUNK_SAMPLES + 1, CHUNK_SAMPLES)]


def processed(steps: Sequence[Processing], near: Samples, far: Samples | None = None) -> Samples:
    processor = Processor(steps)
    done = []
    for number, chunk in enumerate(in_chunks(near)):
        if far is not None:
            processor.hear_far_end(in_chunks(far)[number])
        done.append(processor(chunk))
    return np.concatenate(done)


def rms_db(sound: Samples) -> float:
    return float(10 * np.log10(np.mean(np.square(sound, dtype=np.float64)) + 1e-12))


@pytest.mark.parametrize("steps", COMBINATIONS[1:], ids="+".join)
def test_processed_sound_is_late_by_what_it_says(steps: tuple[Processing, ...]) -> None:
    band = scipy.signal.butter(4, [700, 6_000], "bandpass", fs=SAMPLE_RATE_HZ, output="sos")  # where phases are flat
    sound = np.concatenate(in_chunks(sample()))
    before, after = (scipy.signal.sosfilt(band, each) for each in (sound, processed(steps, sound)))
    likeness = scipy.signal.correlate(after, before)[len(before) - 1 :][: SAMPLE_RATE_HZ // 10]
    assert abs(1000 * np.argmax(likeness) / SAMPLE_RATE_HZ - delay_ms(steps)) <= 0.5


def test_nothing_wanted_is_no_delay() -> None:
    assert delay_ms(()) == 0


def test_the_high_pass_takes_away_direct_current_and_rumble() -> None:
    t = np.arange(2 * SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    rumble = (0.2 + 0.2 * np.sin(2 * np.pi * 20 * t)).astype(np.float32)
    assert rms_db(processed([Processing.HIGH_PASS], rumble)[SAMPLE_RATE_HZ:]) < rms_db(rumble) - 20


def test_noise_is_taken_away_and_the_voice_is_left() -> None:
    speech = np.tile(sample(), 2)
    noise = np.random.default_rng(0).normal(0, 0.01, len(speech)).astype(np.float32)
    quiet = processed([Processing.NOISE], noise)[-SAMPLE_RATE_HZ:]
    assert rms_db(quiet) < rms_db(noise) - 8
    assert rms_db(processed([Processing.NOISE], speech + noise)) > rms_db(speech) - 3


def test_quiet_people_are_brought_up() -> None:
    speech = np.tile(sample(), 3)
    loud, soft = (rms_db(processed([Processing.GAIN], speech * gain)[-len(sample()) :]) for gain in (0.5, 0.05))
    assert loud - soft < 10, "20 dB lay between them"


def test_the_far_ends_echo_is_taken_away() -> None:
    far = np.tile(sample(), 2)
    echo = np.concatenate([np.zeros(1_440, np.float32), far])[: len(far)] * np.float32(0.4)
    left = processed([Processing.ECHO], echo, far)[-SAMPLE_RATE_HZ * 2 :]
    assert rms_db(left) < rms_db(echo[-SAMPLE_RATE_HZ * 2 :]) - 15
    assert rms_db(processed([Processing.ECHO], echo)[-SAMPLE_RATE_HZ * 2 :]) > rms_db(echo) - 6, (
        "it is the far end that says so"
    )


def opened(hearing: Hearing, sound: Samples, *, live: bool = True, listens_every: int = 1) -> list[bool]:
    """Chunk by chunk, whether the gate takes it for a voice. It is let listen after every so many chunks; 0: never."""
    gate, meter = voice.gate_of(hearing, live=live), LevelMeter()
    heard = np.zeros(FFT_SIZE, np.float32)
    gates = []
    for number, chunk in enumerate(in_chunks(sound), start=1):
        heard = np.concatenate([heard, chunk])[-FFT_SIZE:]
        gates.append(not gate.is_silent(chunk, meter(heard)))
        if listens_every and number % listens_every == 0:
            voice.listen([gate])
    return gates


def noise(seconds: float, seed: int = 1) -> Samples:
    return np.random.default_rng(seed).normal(0, 0.005, int(seconds * SAMPLE_RATE_HZ)).astype(np.float32)


def test_the_neural_gate_opens_for_a_voice_in_noise_and_shuts_after_it() -> None:
    """The level gate does not: noise is louder than its threshold."""
    sound = np.concatenate([noise(2), sample() + noise(len(sample()) / SAMPLE_RATE_HZ)[: len(sample())], noise(2)])
    neural = opened(NEURAL, sound)
    speech = slice(2_000 // CHUNK_MS + 15, 2_000 // CHUNK_MS + 60)  # before its pause
    assert not any(neural[10 : 2_000 // CHUNK_MS]), "noise alone"
    assert np.mean(neural[speech]) > 0.95
    assert not any(neural[-10:]), "noise alone again"
    assert all(opened(Hearing(0.01, (), VoiceActivity.LEVEL), sound))


def test_the_first_phone_is_not_cut() -> None:
    """In a quiet room the gate opens with the chunk in which the sound begins, before the detector is sure."""
    begins = np.flatnonzero(np.abs(sample()) > 0.02)[0]
    sound = np.concatenate([noise(1, 2) * np.float32(0.02), sample()[begins:]])
    onset = int(SAMPLE_RATE_HZ / CHUNK_SAMPLES)
    assert opened(NEURAL, sound)[onset]


def test_digital_silence_before_noise_does_not_hold_the_gate_open() -> None:
    sound = np.concatenate([np.zeros(SAMPLE_RATE_HZ, np.float32), noise(6)])
    assert not any(opened(NEURAL, sound)[-10:])


@given(st.lists(st.floats(0, 0.02), min_size=1, max_size=40))
def test_the_level_gate_needs_200_ms_of_quiet(levels: list[float]) -> None:
    gate = voice.LevelGate(0.01)
    chunk = np.zeros(CHUNK_SAMPLES, np.float32)
    silent = [gate.is_silent(chunk, level) for level in levels]
    for number, is_silent in enumerate(silent):
        newest = levels[max(0, number - 4) : number + 1]
        assert is_silent == (len(newest) == 5 and all(level < 0.01 for level in newest))


def test_a_gate_that_is_not_let_listen_listens_by_itself() -> None:
    """As where a client sends faster than in real time: what is put off is bounded in sound, not by the clock."""
    sound = np.concatenate([noise(1), sample()[: 60 * CHUNK_SAMPLES] + noise(2.4), noise(3, 3)])
    prompt, late = (opened(NEURAL, sound, listens_every=every) for every in (1, 0))
    shuts = [len(gates) - gates[::-1].index(True) for gates in (prompt, late)]
    assert 0 <= shuts[1] - shuts[0] <= voice.MOST_UNHEARD_CHUNKS


@pytest.mark.parametrize("listens_every", [0, 1, 3])
def test_a_files_gate_does_not_depend_on_when_it_is_let_listen(listens_every: int) -> None:
    sound = np.concatenate([sample()[20 * CHUNK_SAMPLES : 60 * CHUNK_SAMPLES] + noise(1.6), noise(1, 3)])
    expected = opened(NEURAL, sound, live=False)
    assert opened(NEURAL, sound, live=False, listens_every=listens_every) == expected


def test_streams_do_not_hear_one_another() -> None:
    """They share the detector's network, not its state."""
    alone = opened(NEURAL, sample())
    gate, other, meter = voice.gate_of(NEURAL, live=True), voice.gate_of(NEURAL, live=True), LevelMeter()
    heard = np.zeros(FFT_SIZE, np.float32)
    together = []
    for chunk, others in zip(in_chunks(sample()), in_chunks(np.roll(sample(), SAMPLE_RATE_HZ)), strict=True):
        other.is_silent(others, 0.02)
        heard = np.concatenate([heard, chunk])[-FFT_SIZE:]
        together.append(not gate.is_silent(chunk, meter(heard)))
        voice.listen([gate, other])
    assert together == alone


async def frames(face: LipSync, sound: Samples) -> list[LiveFrame]:
    async def chunks() -> AsyncIterator[Samples]:
        for chunk in in_chunks(sound):
            if Processing.ECHO in (face.started.processing if face.started else ()):
                await face.send_far_end(np.zeros(CHUNK_SAMPLES, np.float32))
            yield chunk

    return [frame async for frame in face.stream(chunks())]


async def test_a_session_has_its_sound_processed_and_is_told_of_the_delay(pipeline: Pipeline) -> None:
    sound = sample()[: 30 * CHUNK_SAMPLES]
    async with LipSync(pipeline.ws, pace=Pace.LOSSLESS, processing=list(Processing)) as face:
        assert face.started is not None
        assert face.started.processing == tuple(Processing)
        late = face.started.lookahead_ms
        first = (await frames(face, sound))[0]
    async with LipSync(pipeline.ws, pace=Pace.LOSSLESS) as face:
        assert face.started is not None
        assert late == face.started.lookahead_ms + delay_ms(list(Processing))
    assert first.meta.audio_ms == CHUNK_MS - late


async def test_far_end_sound_needs_echo_cancellation(pipeline: Pipeline) -> None:
    async with LipSync(pipeline.ws, processing=[Processing.NOISE]) as face:
        await face.send_far_end(np.zeros(CHUNK_SAMPLES, np.float32))
        with pytest.raises(ServerError, match="echo") as refused:
            await face.receive()
        assert refused.value.code is ErrorCode.INVALID_REQUEST


async def test_after_the_voice_the_mouth_is_at_rest_within_200_ms_and_nothing_is_inferred(pipeline: Pipeline) -> None:
    """In noise that the level gate would take for a voice; no step on the way to rest is a jump."""
    spoken = sample()[: 60 * CHUNK_SAMPLES]
    sound = np.concatenate([spoken + noise(2.4)[: len(spoken)], noise(3, 3)])
    async with LipSync(pipeline.ws, pace=Pace.LOSSLESS, voice_activity=VoiceActivity.NEURAL) as face:
        shown = await frames(face, sound)
    silent = [frame.meta.silent for frame in shown]
    begin = len(silent) - silent[::-1].index(False)
    assert all(silent[begin:])
    assert begin < 60 + 25, "the gate shuts within a second"
    apertures = [frame.meta.articulation["aperture"] for frame in shown]
    at_rest = apertures[-1]
    assert max(apertures[:60]) > at_rest + 0.2, "it spoke"
    assert apertures[begin + 4 :] == pytest.approx([at_rest] * len(apertures[begin + 4 :]), abs=1e-3)
    assert np.abs(np.diff(apertures[begin - 1 :])).max() <= 0.2 + 1e-3
