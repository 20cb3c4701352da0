"""The speaker that ships says the sample sentence that ships: its network and its front end belong together."""

from collections.abc import Sequence

import numpy as np
import pytest
import soundfile

from models import frontend
from models.engine import OnnxEngine
from models.speaker import open_speaker
from pipeline.audio import CHUNK_SAMPLES, SAMPLE_RATE_HZ, WINDOW_SAMPLES, Samples
from tests.running import ROOT


def apertures(sound: Samples) -> Sequence[float]:
    """What the default speaker's lips do, one value for each chunk of `sound`."""
    speaker = open_speaker("default", ROOT / "models" / "speakers")
    front_end = frontend.get(speaker.manifest.front_end)
    padded = np.concatenate([np.zeros(WINDOW_SAMPLES, np.float32), sound])
    starts = range(CHUNK_SAMPLES, len(sound), CHUNK_SAMPLES)
    features = np.concatenate([front_end(padded[start : start + WINDOW_SAMPLES]) for start in starts])
    channel = speaker.manifest.channels.index("aperture")
    return [float(value) for value in OnnxEngine(speaker).articulate(features)[:, channel]]


def test_the_sample_opens_and_closes_the_mouth() -> None:
    sound, rate_hz = soundfile.read(ROOT / "webclient" / "sample.wav", dtype="float32")
    assert rate_hz == SAMPLE_RATE_HZ
    lips = np.array(apertures(sound))
    assert np.mean(lips > 0.3) > 0.15, "vowels open it"
    assert np.mean(lips < 0.1) > 0.08, "p, b, m and pauses close it"
    assert np.percentile(lips, 95) > 0.4


@pytest.mark.parametrize("loudness", [0.0, 0.001])
def test_noise_without_a_voice_keeps_it_closed(loudness: float) -> None:
    noise = (loudness * np.random.default_rng(0).normal(size=SAMPLE_RATE_HZ)).astype(np.float32)
    assert max(apertures(noise)) < 0.15
