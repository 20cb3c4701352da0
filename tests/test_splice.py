"""JPEGs put together from rows: what decodes from them is what whole frames would have given."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models import splice
from models.compose import Composer
from models.engine import OnnxEngine
from models.speaker import open_speaker
from models.splice import BLOCK, BandedFrame, encode, joined

QUALITY = 85


def picture(height: int, width: int, seed: int) -> splice.Pixels:
    """Smooth, with some detail."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), np.uint8)
    return np.ascontiguousarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))


def decoded(jpeg: bytes) -> NDArray[np.int64]:
    pixels = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert pixels is not None
    values: NDArray[np.int64] = pixels.astype(np.int64)
    return values


def whole(pixels: splice.Pixels) -> bytes:
    jpeg: bytes = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()
    return jpeg


@settings(deadline=None)
@given(height=st.integers(1, 200), width=st.integers(1, 120), seed=st.integers(0, 99))
def test_what_is_split_and_joined_is_as_it_was(height: int, width: int, seed: int) -> None:
    pixels = picture(height, width, seed)
    head, rows = encode(pixels, QUALITY)
    assert len(rows) == -(-height // BLOCK)
    np.testing.assert_array_equal(decoded(joined(head, rows)), decoded(whole(pixels)))


@settings(deadline=None)
@given(data=st.data(), height=st.integers(1, 200), width=st.integers(1, 80), seed=st.integers(0, 99))
def test_a_spliced_frame_is_the_frame_that_was_meant(data: st.DataObject, height: int, width: int, seed: int) -> None:
    pixels = picture(height, width, seed)
    top = data.draw(st.integers(0, height - 1))
    bottom = data.draw(st.integers(top + 1, height))
    frame = BandedFrame(pixels, top, bottom, QUALITY)
    np.testing.assert_array_equal(frame.band, pixels[frame.top : frame.top + len(frame.band)])
    assert frame.top <= top
    assert frame.top + len(frame.band) >= bottom
    changed = pixels.copy()
    changed[top:bottom] = picture(height, width, seed + 1)[top:bottom]
    spliced = frame.with_band(changed[frame.top : frame.top + len(frame.band)])
    np.testing.assert_array_equal(decoded(spliced), decoded(whole(changed)))


def test_an_encoder_that_writes_something_else_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = picture(64, 64, 0)
    plain = np.frombuffer(whole(pixels), np.uint8)
    monkeypatch.setattr(cv2, "imencode", lambda *_: (True, plain))
    with pytest.raises(splice.SpliceError, match="rows between restart markers"):
        encode(pixels, QUALITY)


def test_a_composed_frame_has_the_mouth_in_its_box_and_the_base_frame_around_it() -> None:
    speaker = open_speaker("default")
    composer, engine = Composer(speaker), OnnxEngine(speaker)
    mouth = engine.paint(np.array([[0.8, 0.8, 0, 0, 0, 0, 0]], np.float32))[0]
    for base in (0, 77, 249):
        box, mixed = composer.mix(mouth, base)
        frame = decoded(composer.encoded(base, box, mixed))[..., ::-1]
        inside = frame[box.y : box.y + box.height, box.x : box.x + box.width]
        assert np.abs(inside - mixed).mean() < 3  # of 255: JPEG's
        under = decoded(speaker.base_jpeg(base))[..., ::-1]
        outside = np.ones(frame.shape[:2], bool)
        outside[box.y : box.y + box.height, box.x : box.x + box.width] = False
        assert np.abs(frame - under)[outside].mean() < 3
