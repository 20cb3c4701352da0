"""ICT-FaceKit's mesh, expressions and identity modes, from a clone's `FaceXModel` folder or from a packed
.npz.

Coordinates are the kit's own: centimetres, x to the face's left, y up, z out of the face. One OBJ holds the
whole head; the ranges below say which vertices and polygons are what (they were read off the kit's
`vertex_indices.json`).
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]

SKIN_POLYGONS: Final = (0, 14034)
MUCOSA_POLYGONS: Final = (11144, 13226)
GUM_POLYGONS: Final = (14034, 17006)
TOOTH_POLYGONS: Final = (17006, 21496)
EYE_POLYGONS: Final = ((21496, 22296), (23094, 23894))
TEAR_POLYGONS: Final = (24692, 25018)
LASH_POLYGONS: Final = (25304, 26384)

FACE_VERTICES: Final = (0, 9409)
OUTER_VERTICES: Final = (0, 11248)
MUCOSA_VERTICES: Final = (11248, 13294)
SOCKET_VERTICES: Final = (13294, 14062)
GUM_VERTICES: Final = (14062, 17039)
TOOTH_VERTICES: Final = (17039, 21451)
LOWER_INCISORS: Final = (20263, 20435)
PUPIL_VERTICES: Final = (22221, 23791)
LASH_VERTICES: Final = (25351, 26035)
LASH_STRIP: Final = 114

LANDMARKS: Final = np.array([
    1225, 1888, 1052, 367, 1719, 1722, 2199, 1447, 966, 3661, 4390, 3927, 3924, 2608, 3272, 4088, 3443,
    268, 493, 1914, 2044, 1401, 3615, 4240, 4114, 2734, 2509, 978, 4527, 4942, 4857, 1140, 2075, 1147,
    4269, 3360, 1507, 1542, 1537, 1528, 1518, 1511, 3742, 3751, 3756, 3721, 3725, 3732, 5708, 5695, 2081,
    0, 4275, 6200, 6213, 6346, 6461, 5518, 5957, 5841, 5702, 5711, 5533, 6216, 6207, 6470, 5517, 5966,
])  # fmt: skip
"""Vertex numbers of the 68 landmarks of iBUG 300-W: 36..47 eyes, 48..59 outer lips, 60..67 inner lips."""


@dataclass(frozen=True)
class Ict:
    """The kit as arrays: n vertices, p polygons, l corners in all."""

    vertices: Floats
    """[n, 3] neutral."""
    sizes: Ints
    """[p] corners of each polygon."""
    corners: Ints
    """[l] vertex of each corner."""
    corner_uvs: Ints
    """[l] texture coordinate of each corner."""
    uvs: Floats
    """[t, 2]"""
    expressions: dict[str, Floats]
    """ARKit-like name -> [n, 3] displacement at full weight."""
    identities: list[Floats]
    """[n, 3] displacement of each identity mode, one standard deviation."""

    @property
    def starts(self) -> Ints:
        """[p + 1] where each polygon's corners begin."""
        return np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int32)

    def triangles(self, first: int, last: int) -> Ints:
        """[m, 3] the polygons first..last-1, quads cut in two."""
        starts = self.starts
        out = []
        for index in range(first, last):
            quad = self.corners[starts[index] : starts[index + 1]]
            out.append(quad[:3])
            if len(quad) == 4:
                out.append(quad[[0, 2, 3]])
        return np.array(out, np.int32)


def load(path: Path) -> Ict:
    """Read a packed .npz, or the `FaceXModel` folder of a clone of ICT-VGL/ICT-FaceKit."""
    return _from_npz(path) if path.is_file() else _from_clone(path)


def _from_npz(path: Path) -> Ict:
    with np.load(path, allow_pickle=False) as packed:
        return Ict(
            vertices=packed["V"].astype(np.float64),
            sizes=packed["L"],
            corners=packed["F"],
            corner_uvs=packed["FT"],
            uvs=packed["T"].astype(np.float64),
            expressions={k[2:]: packed[k].astype(np.float64) for k in packed.files if k.startswith("E_")},
            identities=[packed[k].astype(np.float64) for k in sorted(packed.files) if k.startswith("I_")],
        )


def _positions(path: Path) -> Floats:
    with path.open() as lines:
        return np.array([line.split()[1:4] for line in lines if line.startswith("v ")], np.float64)


def _from_clone(folder: Path, modes: int = 30) -> Ict:
    if (folder / "FaceXModel").is_dir():
        folder = folder / "FaceXModel"
    base = folder / "generic_neutral_mesh.obj"
    if not base.is_file():
        raise FileNotFoundError(f"{folder} is no FaceXModel folder of ICT-FaceKit: it has no {base.name}")
    uvs: list[list[str]] = []
    polygons: list[list[list[str]]] = []
    with base.open() as lines:
        for line in lines:
            words = line.split()
            if words and words[0] == "vt":
                uvs.append(words[1:3])
            elif words and words[0] == "f":
                polygons.append([word.split("/") for word in words[1:]])
    vertices = _positions(base)
    names = json.loads((folder / "vertex_indices.json").read_text())["expressions"]
    return Ict(
        vertices=vertices,
        sizes=np.array([len(p) for p in polygons], np.int32),
        corners=np.array([int(c[0]) - 1 for p in polygons for c in p], np.int32),
        corner_uvs=np.array([int(c[1]) - 1 for p in polygons for c in p], np.int32),
        uvs=np.array(uvs, np.float64),
        expressions={
            name: _positions(folder / f"{name}.obj")[: len(vertices)] - vertices
            for name in names
            if (folder / f"{name}.obj").is_file()
        },
        identities=[_positions(folder / f"identity{i:03d}.obj")[: len(vertices)] - vertices for i in range(modes)],
    )
