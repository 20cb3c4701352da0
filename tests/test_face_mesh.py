"""Reading the kit, painting it, and where things land in the picture."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from models.training.face import ict, identities, paint, view

SQUARE = ["v 0 0 0", "v 1 0 0", "v 1 1 0", "v 0 1 0", "v 2 0 0"]
FACES = ["vt 0 0", "vt 1 0", "vt 1 1", "vt 0 1", "f 1/1 2/2 3/3 4/4", "f 2/1 5/2 3/3"]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A FaceXModel folder of a square and a triangle, one expression, two identity modes."""
    folder = tmp_path / "FaceXModel"
    folder.mkdir()
    (folder / "generic_neutral_mesh.obj").write_text("\n".join([*SQUARE, *FACES]))
    (folder / "vertex_indices.json").write_text(json.dumps({"expressions": ["jawOpen", "missing"]}))
    (folder / "jawOpen.obj").write_text("\n".join(["v 0 -1 0", *SQUARE[1:]]))
    for mode in range(30):
        (folder / f"identity{mode:03d}.obj").write_text("\n".join([f"v 0 0 {mode}", *SQUARE[1:]]))
    return tmp_path


def test_a_clone_is_read(clone: Path) -> None:
    kit = ict.load(clone)
    assert kit.vertices.shape == (5, 3)
    assert kit.sizes.tolist() == [4, 3]
    assert kit.starts.tolist() == [0, 4, 7]
    assert kit.corners.tolist() == [0, 1, 2, 3, 1, 4, 2]
    assert list(kit.expressions) == ["jawOpen"]
    np.testing.assert_array_equal(kit.expressions["jawOpen"][0], (0, -1, 0))
    assert [mode[0, 2] for mode in kit.identities] == list(range(30))
    assert kit.triangles(0, 2).tolist() == [[0, 1, 2], [0, 2, 3], [1, 4, 2]]


def test_a_packed_kit_is_the_same(clone: Path, tmp_path: Path) -> None:
    kit = ict.load(clone)
    packed = tmp_path / "kit.npz"
    arrays: dict[str, npt.NDArray[Any]] = {
        "V": kit.vertices,
        "L": kit.sizes,
        "F": kit.corners,
        "FT": kit.corner_uvs,
        "T": kit.uvs,
    }
    arrays |= {"E_jawOpen": kit.expressions["jawOpen"]}
    arrays |= {f"I_{i:03d}": mode for i, mode in enumerate(kit.identities)}
    np.savez(packed, allow_pickle=False, **arrays)
    again = ict.load(packed)
    np.testing.assert_array_equal(again.vertices, kit.vertices)
    np.testing.assert_array_equal(again.identities[7], kit.identities[7])
    assert list(again.expressions) == ["jawOpen"]


def test_another_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="generic_neutral_mesh"):
        ict.load(tmp_path)


def test_colours_are_linear_light() -> None:
    np.testing.assert_allclose(paint.linear((0, 255, 188)), (0, 1, 0.502886), atol=1e-5)


def test_distance_to_an_outline_is_negative_inside() -> None:
    square = np.array([(0.0, 0.0), (2.0, 0.0), (2.0, 2.0), (0.0, 2.0)])
    points = np.array([(1.0, 1.0, 0.0), (3.0, 1.0, 0.0), (1.0, 1.75, 0.0)])
    np.testing.assert_allclose(paint.outline_distance(points, square), (-1, 1, -0.25))
    curve = paint.rounded(square)
    np.testing.assert_allclose(curve[::6], square)


def test_the_crop_and_the_eyes_lie_in_the_picture_and_apart() -> None:
    for left, top, right, bottom in (view.MOUTH_BOX, view.EYES_BOX):
        assert 0 <= left < right <= view.SIZE
        assert 0 <= top < bottom <= view.SIZE
    assert view.MOUTH_BOX[2] - view.MOUTH_BOX[0] == view.MOUTH_BOX[3] - view.MOUTH_BOX[1] == view.MOUTH
    assert view.EYES_BOX[3] < view.MOUTH_BOX[1]


def test_every_look_is_named_as_it_is_listed() -> None:
    assert "default" in identities.LOOKS
    assert all(look.name == name for name, look in identities.LOOKS.items())
    assert len({look.seed for look in identities.LOOKS.values()}) == len(identities.LOOKS)
