"""Front ends: defined once, the numbers of librosa itself, the same in training as in serving."""

import librosa
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from librosa.filters import mel as librosa_filters

from models import frontend
from models.frontend import BANDS, FRONT_ENDS, HOP, MEL_BANDS, MEL_FRAMES, STEPS, WIN_LENGTH
from pipeline.audio import CHUNK_SAMPLES, SAMPLE_RATE_HZ, WINDOW_SAMPLES, Samples
from tests.running import voice


def librosa_mel(window: Samples) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    """[77, 80], as the contract words it."""
    mel = librosa.feature.melspectrogram(
        y=window, sr=SAMPLE_RATE_HZ, n_mels=MEL_BANDS, hop_length=HOP, win_length=WIN_LENGTH
    )
    return np.asarray(mel.T, np.float32)


def test_the_constants_are_the_contracts() -> None:
    assert (frontend.SAMPLE_RATE, frontend.CHUNK, frontend.WINDOW) == (SAMPLE_RATE_HZ, CHUNK_SAMPLES, WINDOW_SAMPLES)
    assert librosa_mel(voice()).shape == (MEL_FRAMES, MEL_BANDS) == (77, 80)


def test_the_shipped_filter_bank_is_librosas() -> None:
    bank = librosa_filters(sr=SAMPLE_RATE_HZ, n_fft=frontend.N_FFT, n_mels=MEL_BANDS)
    np.testing.assert_allclose(frontend.mel_bank(), bank, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_original_is_the_literal_crop_of_librosas_mel(seed: int) -> None:
    window = voice(seed=seed)
    expected = librosa_mel(window)[:STEPS, :BANDS].T[np.newaxis]
    actual = frontend.get("original")(window)
    assert actual.shape == (1, 32, 16)
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6 * expected.max())


@pytest.mark.parametrize("name", FRONT_ENDS)
@pytest.mark.parametrize("window", [np.zeros(WINDOW_SAMPLES, np.float32), np.ones(WINDOW_SAMPLES, np.float32), voice()])
def test_every_front_end_gives_finite_numbers_of_the_fixed_shape(name: str, window: Samples) -> None:
    tensor = frontend.get(name)(window)
    assert tensor.shape == (1, BANDS, STEPS)
    assert tensor.dtype == np.float32
    assert np.isfinite(tensor).all()


@pytest.mark.parametrize("name", FRONT_ENDS)
@settings(max_examples=5, deadline=None)
@given(first=st.integers(1, 20_000), seed=st.integers(0, 100))
def test_over_a_recording_each_window_is_what_serving_would_see(name: str, first: int, seed: int) -> None:
    recording = voice(30_000, seed)
    ends = np.arange(first, 30_000, 4_321, dtype=np.int64)
    front_end = frontend.get(name)
    together = front_end.over(recording, ends)
    for end, row in zip(ends, together, strict=True):
        window = np.zeros(WINDOW_SAMPLES, np.float32)
        heard = recording[max(0, end - WINDOW_SAMPLES) : end]
        window[WINDOW_SAMPLES - len(heard) :] = heard
        np.testing.assert_allclose(row, front_end(window)[0], rtol=1e-3, atol=1e-4 * np.abs(row).max())


@pytest.mark.parametrize("name", [name for name in FRONT_ENDS if name != "original"])
def test_the_newest_audio_is_heard(name: str) -> None:
    quiet = voice() * np.float32(0.1)
    burst = quiet.copy()
    burst[-CHUNK_SAMPLES:] = voice(CHUNK_SAMPLES, seed=5)
    assert np.abs(frontend.get(name)(burst) - frontend.get(name)(quiet)).max() > 0.05


def test_the_original_cannot_hear_it() -> None:
    burst = voice()
    burst[-CHUNK_SAMPLES:] = 0
    np.testing.assert_array_equal(frontend.get("original")(burst), frontend.get("original")(voice()))


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises((KeyError, ValueError), match="original"):
        frontend.get("cochlea")
