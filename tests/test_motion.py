"""From one frame's articulation to the next."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.articulation import CHANNELS
from models.motion import moved, moved_along

PRESS = CHANNELS.index("press")
mouths = arrays(np.float32, len(CHANNELS), elements=st.floats(0, 1, width=32))


@given(mouths, mouths)
def test_what_is_shown_lies_between_what_was_and_what_is_to_be(last: np.ndarray, target: np.ndarray) -> None:
    shown = moved(last, target)
    assert (shown >= np.minimum(last, target) - 1e-6).all()
    assert (shown <= np.maximum(last, target) + 1e-6).all()


@given(mouths, mouths)
def test_a_closure_comes_at_once(last: np.ndarray, target: np.ndarray) -> None:
    target[PRESS] = 1
    np.testing.assert_allclose(moved(last, target), target, atol=1e-6)


@given(mouths, mouths)
def test_it_arrives(last: np.ndarray, target: np.ndarray) -> None:
    np.testing.assert_allclose(moved_along(np.stack([last] + [target] * 12))[-1], target, atol=1e-6)
