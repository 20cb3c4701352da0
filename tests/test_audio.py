import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from pipeline import audio


def test_quantities_are_the_contracts() -> None:
    assert audio.CHUNK_SAMPLES == 960
    assert audio.WINDOW_SAMPLES == 15_360
    assert audio.CHUNK_MS * audio.FRAME_RATE_HZ == 1000
    assert audio.HISTORY_CHUNKS * audio.CHUNK_MS == 20_000


@given(arrays.arrays(np.int16, st.integers(0, 64)))
def test_int16_survives_the_way_there_and_back(values: "np.typing.NDArray[np.int16]") -> None:
    raw = values.astype("<i2").tobytes()
    samples = audio.samples_from_int16(raw)
    assert samples.dtype == np.float32
    assert np.all((samples >= -1) & (samples < 1))
    assert audio.int16_from_samples(samples) == raw


@given(arrays.arrays(np.float32, st.integers(0, 64), elements=st.floats(-1, 1, width=32)))
def test_float32_is_read_without_a_copy_and_without_a_change(
    values: "np.typing.NDArray[np.float32]",
) -> None:
    raw = values.astype("<f4").tobytes()
    samples = audio.samples_from_float32(raw)
    assert samples.tobytes() == raw
    assert not samples.flags.owndata


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [0, 100, 959])
def test_nan_and_infinity_are_refused_wherever_they_are(bad: float, at: int) -> None:
    samples = np.zeros(audio.CHUNK_SAMPLES, dtype="<f4")
    samples[at] = bad
    with pytest.raises(audio.InvalidSamplesError, match="finite"):
        audio.samples_from_float32(samples.tobytes())


def test_float32_louder_than_full_scale_is_clipped() -> None:
    samples = np.array([3e38, -3e38, 1.5, 0.5], "<f4")
    assert audio.samples_from_float32(samples.tobytes()).tolist() == [1, -1, 1, 0.5]


def test_louder_than_full_scale_is_clipped_and_does_not_wrap() -> None:
    raw = audio.int16_from_samples(np.array([1.0, 1e9, -1.0, -1e9, 0.0], dtype=np.float32))
    assert np.frombuffer(raw, "<i2").tolist() == [32_767, 32_767, -32_768, -32_768, 0]


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="buffer size"):
        audio.samples_from_float32(b"\0\0\0")


@given(arrays.arrays(np.int16, audio.CHUNK_SAMPLES))
def test_a_chunk_is_the_same_as_int16_and_as_float32(values: "np.typing.NDArray[np.int16]") -> None:
    integers = values.astype("<i2").tobytes()
    floats = audio.samples_from_int16(integers).astype("<f4").tobytes()
    assert audio.int16_of_chunk(integers) == audio.int16_of_chunk(floats) == integers
    np.testing.assert_array_equal(audio.samples_of_chunk(integers), audio.samples_of_chunk(floats))
