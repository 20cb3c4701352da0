"""The rig: lips open by what `aperture` says, whatever the rest of the mouth does."""

import numpy as np
import pytest

from models.training.face import ict, rig, visemes
from models.training.face.identities import DEFAULT
from models.training.face.paint import paint
from models.training.face.tongue import ALONG, AROUND, Tongue

VERTICES = 26720
MIDDLE = """
    jawOpen mouthClose mouthFunnel mouthPucker mouthRollUpper mouthRollLower mouthShrugLower jawForward
"""
PAIRS = """
    mouthStretch mouthSmile mouthDimple mouthUpperUp mouthLowerDown mouthPress eyeBlink eyeWide eyeSquint
    eyeLookOut eyeLookIn eyeLookDown eyeLookUp browOuterUp browInnerUp
"""
EXPRESSIONS = [*MIDDLE.split(), *(f"{name}_{side}" for name in PAIRS.split() for side in "LR")]


@pytest.fixture(scope="module")
def kit() -> ict.Ict:
    """A kit of the right size: its lips are where lips are, its expressions noise with a direction."""
    rng = np.random.default_rng(0)
    v = rng.normal((0.0, -4.0, 9.0), (2.0, 2.0, 1.0), (VERTICES, 3))
    for mark, (x, y) in zip(
        ict.LANDMARKS[48:68], [(np.cos(a) * 2, -3.4 + np.sin(a)) for a in np.linspace(0, 6, 20)], strict=True
    ):
        v[mark] = (x, y, 11.0)
    v[ict.LANDMARKS[[60, 61, 62, 63, 64, 65, 66, 67]]] = [
        (-2.2, -3.5, 10), (-1, -3.3, 11), (0, -3.3, 11), (1, -3.3, 11),
        (2.2, -3.5, 10), (1, -3.4, 11), (0, -3.4, 11), (-1, -3.4, 11),
    ]  # fmt: skip
    upper, lower = ict.LANDMARKS[[61, 62, 63]], ict.LANDMARKS[[65, 66, 67]]
    v[slice(*ict.LOWER_INCISORS), 2] = rng.uniform(9.1, 10.4, ict.LOWER_INCISORS[1] - ict.LOWER_INCISORS[0])
    fields = {}
    for name in EXPRESSIONS:
        field = rng.normal(size=(VERTICES, 3)) * 0.05
        wide = {"jawOpen": 3.3, "mouthClose": -3.9, "mouthUpperUp_L": 0.4, "mouthLowerDown_L": 0.35}.get(name, 0.1)
        field[upper, 1] = wide / 2
        field[lower, 1] = -wide / 2
        fields[name] = field
    fields["jawOpen"][slice(*ict.GUM_VERTICES)] = (0, -2.0, -1.0)
    quads = np.arange(VERTICES, dtype=np.int32)
    return ict.Ict(
        vertices=v,
        sizes=np.full(VERTICES // 4, 4, np.int32),
        corners=quads,
        corner_uvs=quads,
        uvs=rng.random((VERTICES, 2)),
        expressions=fields,
        identities=[rng.normal(size=(VERTICES, 3)) * 0.01 for _ in range(30)],
    )


@pytest.fixture(scope="module")
def face(kit: ict.Ict) -> rig.Rig:
    return rig.Rig(kit, DEFAULT)


@pytest.mark.parametrize("name", ["rest", "aa", "eh", "ee", "oh", "oo", "th", "l", "sh", "ss"])
def test_lips_open_by_the_aperture_whatever_the_jaw(face: rig.Rig, name: str) -> None:
    channels = visemes.VISEMES[name]
    opened = face.shape(face.weights(visemes.articulation(**channels)))
    shut = face.shape({})
    gap = face.gap(opened) - face.gap(shut)
    assert gap == pytest.approx(channels.get("aperture", 0.0) * rig.APERTURE_CM, abs=1e-6)


@pytest.mark.parametrize("jaw", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("rounding", [0.0, 1.0])
def test_aperture_zero_is_shut_in_the_middle_and_at_the_sides(face: rig.Rig, jaw: float, rounding: float) -> None:
    weights = face.weights(visemes.articulation(jaw=jaw, rounding=rounding, width=-rounding))
    moved = face.shape(weights) - face.shape({})
    for upper, lower in ((62, 66), (61, 67)):
        assert moved[ict.LANDMARKS[upper], 1] - moved[ict.LANDMARKS[lower], 1] == pytest.approx(0, abs=1e-6)


def test_nothing_outside_the_crop_moves(face: rig.Rig) -> None:
    moved = face.shape(face.weights(visemes.articulation(**visemes.VISEMES["aa"]))) - face.shape({})
    skin = slice(*ict.OUTER_VERTICES)
    far = (np.abs(face.neutral[skin, 0]) > 5.0) | (face.neutral[skin, 1] > 0.2)
    assert far.any()
    assert not moved[skin][far].any()


def test_the_tongue_rides_on_the_jaw_until_it_is_raised(face: rig.Rig) -> None:
    tongue = Tongue(face)
    shut, low, high = (tongue.points(w) for w in ({}, {"jaw": 0.4}, {"jaw": 0.4, "tongue": 1.0}))
    assert shut.shape == (ALONG * AROUND, 3)
    assert tongue.quads().max() == len(shut) - 1
    assert low[-1, 1] < shut[-1, 1] < high[-1, 1]


def test_a_head_is_painted_by_where_things_are(face: rig.Rig) -> None:
    painted = paint(face)
    assert painted.colour.shape == (VERTICES, 3)
    assert painted.colour.min() >= 0
    assert painted.colour.max() <= 1
    inside, teeth, gums = slice(*ict.MUCOSA_VERTICES), slice(*ict.TOOTH_VERTICES), slice(*ict.GUM_VERTICES)
    assert (painted.wet[inside] == 1).all(), "the mouth's inside"
    assert painted.colour[teeth].mean() > painted.colour[gums].mean()
    lip = painted.lip > 0.9
    assert lip.any()
    redness = painted.colour[:, 0] / painted.colour[:, 1]
    skin = np.zeros(VERTICES, bool)
    skin[slice(*ict.FACE_VERTICES)] = True
    assert redness[lip].mean() > redness[skin & (painted.lip < 0.1)].mean()
    assert painted.beard[lip].max() < 0.1, "none grows on lips"
    assert painted.beard.max() > 0.2
