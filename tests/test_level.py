"""The contract's level, against the Web Audio algorithm written out slowly, and at points one can work out by hand."""

import numpy as np
import pytest

from pipeline.audio import CHUNK_SAMPLES, SAMPLE_RATE_HZ, WINDOW_SAMPLES, Samples
from pipeline.level import LevelMeter, level_of_window


def analyser(blocks: list[Samples]) -> float:
    """AnalyserNode.getByteFrequencyData as the standard words it, in float64."""
    n = 2048
    k = np.arange(n)
    blackman = 0.42 - 0.5 * np.cos(2 * np.pi * k / n) + 0.08 * np.cos(4 * np.pi * k / n)
    smoothed = np.zeros(n // 2)
    for block in blocks:
        magnitude = np.abs(np.fft.fft(block * blackman))[: n // 2] / n
        smoothed = 0.8 * smoothed + 0.2 * magnitude
    decibels = 20 * np.log10(np.maximum(smoothed, 1e-30))
    octets = np.clip(np.floor(255 / 70 * (decibels + 100)), 0, 255)
    return float(np.sqrt((octets**2).mean()) / 255)


def test_it_is_the_analysers_algorithm() -> None:
    rng = np.random.default_rng(0)
    blocks = [rng.normal(scale=0.1, size=2048).astype(np.float32) for _ in range(6)]
    meter = LevelMeter()
    levels = [meter(block) for block in blocks]
    assert levels[-1] == pytest.approx(analyser(blocks), abs=0.003)  # one step of a byte is 1/255


def test_digital_silence_is_zero_and_speech_is_not() -> None:
    assert level_of_window(np.zeros(WINDOW_SAMPLES, np.float32)) == 0.0
    tone = 0.1 * np.sin(2 * np.pi * 440 * np.arange(WINDOW_SAMPLES) / SAMPLE_RATE_HZ)
    assert level_of_window(tone.astype(np.float32)) > 0.01


def test_louder_is_never_less() -> None:
    noise = np.random.default_rng(1).normal(size=WINDOW_SAMPLES).astype(np.float32)
    levels = [level_of_window(noise * np.float32(gain)) for gain in (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)]
    assert levels == sorted(levels)
    assert levels[0] < 0.01 < levels[-1]


def test_fewer_samples_count_as_preceded_by_silence() -> None:
    short = np.ones(CHUNK_SAMPLES, np.float32)
    padded = np.concatenate([np.zeros(2048 - CHUNK_SAMPLES, np.float32), short])
    assert LevelMeter()(short) == LevelMeter()(padded)


def test_a_window_at_once_is_the_same_as_chunk_by_chunk() -> None:
    for gain in (1e-3, 0.02, 0.5):
        window = (np.random.default_rng(3).normal(size=WINDOW_SAMPLES) * gain).astype(np.float32)
        meter = LevelMeter()
        chunks = [meter(window[:end]) for end in range(CHUNK_SAMPLES, WINDOW_SAMPLES + 1, CHUNK_SAMPLES)]
        assert abs(level_of_window(window) - chunks[-1]) < 1e-4
