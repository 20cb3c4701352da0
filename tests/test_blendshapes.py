"""The articulation as ARKit's blendshapes and as Oculus' visemes."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.articulation import CHANNELS
from models.blendshapes import ARKIT, VISEMES, arkit, visemes

DOCUMENT = Path(__file__).parents[1] / "docs" / "articulation.md"
CLOSED = dict.fromkeys(CHANNELS, 0.0)
mouths = st.fixed_dictionaries({name: st.floats(-1 if name == "width" else 0, 1) for name in CHANNELS})


@given(mouths)
def test_any_mouth_has_shapes_in_range_and_visemes_that_sum_to_one(mouth: dict[str, float]) -> None:
    assert all(0 <= weight <= 1 for weight in arkit(mouth).values())
    assert sum(visemes(mouth).values()) == pytest.approx(1)


@pytest.mark.parametrize("name", VISEMES)
def test_a_viseme_is_recognised_in_its_own_articulation(name: str) -> None:
    weights = visemes(dict(zip(CHANNELS, VISEMES[name], strict=True)))
    assert max(weights, key=lambda each: weights[each]) == name


def test_lips_close_over_an_open_jaw_and_rest_is_no_shape_at_all() -> None:
    assert not any(arkit(CLOSED).values())
    closed = arkit({**CLOSED, "jaw": 0.5})
    assert closed["mouthClose"] == closed["jawOpen"] > 0
    assert arkit({**CLOSED, "jaw": 0.5, "aperture": 0.5})["mouthClose"] == 0


def test_the_document_has_both_tables() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    for shape, weights in ARKIT.items():
        said = " + ".join(f"{weight:g} {channel}" for channel, weight in weights.items())
        assert f"| `{shape}` | {said} |" in text
    for name, mouth in VISEMES.items():
        assert f"| `{name}` | {' | '.join(f'{value:g}' for value in mouth)} |" in text
