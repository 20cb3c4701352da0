"""Hair, brows and lashes as curves [strands, points, 3] in the kit's coordinates."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.spatial import Delaunay, cKDTree

from models.training.face.ict import (
    FACE_VERTICES,
    LANDMARKS,
    LASH_POLYGONS,
    LASH_STRIP,
    LASH_VERTICES,
    MUCOSA_POLYGONS,
    OUTER_VERTICES,
    Floats,
    Ints,
)
from models.training.face.rig import Rig, smooth

HAIRLINE_DEGREES: Final = (0, 12, 24, 34, 42, 50, 58, 64, 70, 80, 90, 110, 125, 150, 180)
HAIRLINE_HEIGHT: Final = (10.2, 10.25, 10.4, 10.2, 9.2, 7.6, 5.9, 3.2, 1.4, 1.8, 5.2, 5.0, 1.5, -4.2, -5.0)
"""Height of the hairline by angle around the head, 0 in front."""


@dataclass(frozen=True)
class Strands:
    """Curves and their radii."""

    points: Floats
    """[s, k, 3]"""
    radii: Floats
    """[s, k] centimetres"""


def hairline(points: Floats) -> Floats:
    """[n] 0..1 how densely hair grows at points of the scalp."""
    x, y, z = points.T
    around = np.degrees(np.arctan2(np.abs(x), z - 0.8))
    height = np.interp(around, HAIRLINE_DEGREES, HAIRLINE_HEIGHT) + 0.14 * np.sin(x * 5.1) + 0.2 * np.sin(x * 11.3 + 1)
    ears = (np.abs(x) > 7.55) & (y < 5.6) & (around > 62) & (around < 128)
    return np.where(ears, 0.0, np.clip((y - height) / 0.9, 0, 1))


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + 1e-9))


def _scatter(rig: Rig, count: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Roots and normals [count, 3], spread over the scalp by area and density."""
    triangles = rig.ict.triangles(0, MUCOSA_POLYGONS[0])
    corners = rig.neutral[triangles]
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    area = area * hairline(corners.mean(1))
    chosen = rng.choice(len(triangles), count, p=area / area.sum())
    cut = np.sort(rng.random((count, 2)), axis=1)
    share = np.c_[cut[:, 0], cut[:, 1] - cut[:, 0], 1 - cut[:, 1]][:, :, None]
    return (corners[chosen] * share).sum(1), _unit((rig.normals[triangles[chosen]] * share).sum(1))


def hair(rig: Rig) -> Strands:
    """The look's haircut: `short` is parted and swept, `tied` combed back tightly from the hairline."""
    look = rig.look
    rng = np.random.default_rng(look.seed)
    count, points = look.hair.strands, 7
    root, normal = _scatter(rig, count, rng)
    x, y, z = root.T
    top = smooth(y, 8.2, 12.0)
    ones = np.ones(count)
    if look.hair.style == "tied":
        flow = np.stack([0.10 * x * top, -0.25 + 0.35 * smooth(8.0 - y, 0, 6), -1.0 * ones], 1)
        lift: Floats = 0.10 + 0.16 * top
        reach = (4.2 + 1.5 * top) * (0.55 + 0.45 * hairline(root))
        rise, spread, clumping, wobble = 0.10, 0.14, 0.45, 0.025
    else:
        parted = smooth(x, -4.4, -2.0)[:, None]
        swept = np.array([0.85, 0.35, -0.55]) * parted + np.array([-0.45, -0.15, -0.75]) * (1 - parted)
        sides = np.stack([0.10 * np.sign(x), -0.95 * ones, -0.45 * ones], 1)
        flow = swept * top[:, None] + sides * (1 - top[:, None])
        fringe = smooth(z, 6.0, 9.5) * top
        lift = 0.45 + 0.40 * top + 0.40 * fringe
        reach = 1.5 + 2.5 * top + 1.1 * fringe
        reach = reach * (1 - 0.35 * (1 - parted[:, 0])) * (0.45 + 0.55 * hairline(root))
        rise, spread, clumping, wobble = 0.48, 0.22, 0.55, 0.05
    flow -= normal * (flow * normal).sum(1, keepdims=True) * 0.8
    flow = _unit(flow)
    length = np.asarray(reach * (0.75 + 0.4 * rng.random(count)))
    leaders = rng.choice(count, 1500, replace=False)
    clump = cKDTree(root[leaders]).query(root)[1]
    stray = rng.normal(size=(1500, 3)) * spread
    heading = _unit(normal * lift[:, None] + flow + stray[clump] + rng.normal(size=(count, 3)) * 0.10)
    strands = np.zeros((count, points, 3))
    strands[:, 0] = root - normal * 0.05
    scalp, scalp_normals = rig.neutral[: OUTER_VERTICES[1]], rig.normals[: OUTER_VERTICES[1]]
    tree = cKDTree(scalp)
    for step in range(1, points):
        t = step / (points - 1)
        here = strands[:, step - 1] + heading * (length / (points - 1))[:, None]
        nearest = tree.query(here)[1]
        away = scalp_normals[nearest]
        off = ((here - scalp[nearest]) * away).sum(1)
        strands[:, step] = here + away * np.clip(0.10 + rise * t * top + 0.38 * t - off, 0, 1)[:, None]
        goal = flow + np.array([0, -0.30, 0]) - 0.15 * away * (off > 1.6)[:, None]
        if look.hair.style == "tied":
            goal = _unit(np.array([0.0, 1.0, -7.5]) - here) * 1.2 - 0.5 * away * (off > 0.5)[:, None]
        heading = _unit(heading * 0.72 + goal * 0.28 + rng.normal(size=(count, 3)) * wobble)
    along = np.linspace(0, 1, points)[None, :, None]
    gather = clumping * along**1.2
    strands = strands * (1 - gather) + strands[leaders][clump] * gather
    if look.hair.style == "tied":
        strands = np.concatenate([strands, _bun(count // 6, points, rng)])
    return Strands(strands, np.linspace(1, 0.35, points)[None] * np.full((len(strands), 1), 0.0066))


def _bun(count: int, points: int, rng: np.random.Generator) -> Floats:
    """[count, points, 3] arcs wound around an ellipsoid on the crown, most of them the same way."""
    start = _unit(rng.normal(size=(count, 3)))
    axis = _unit(np.array([0.25, 1.0, 0.35]) + rng.normal(size=(count, 3)) * 0.35)
    along = _unit(np.cross(axis, start))
    angle = (np.linspace(0, 1, points) * np.radians(130))[None, :, None]
    arcs = start[:, None] * np.cos(angle) + along[:, None] * np.sin(angle)
    depth = (1 - 0.12 * rng.random((count, 1, 1)) ** 2) * (1 + 0.03 * rng.normal(size=(count, 1, 1)))
    return np.asarray(np.array([0.0, 15.6, -2.6]) + arcs * depth * np.array([3.3, 2.0, 2.5]))


def brows(rig: Rig) -> tuple[Strands, Ints]:
    """The brows, and for each strand the face vertex that it moves with."""
    look, points = rig.look, 4
    rng = np.random.default_rng(look.seed + 1)
    count = look.hair.brow_strands // 2
    line = rig.neutral[LANDMARKS[22:27]].copy()
    line += [[-0.05, -0.25, 0], [0, -0.25, 0], [0, -0.22, 0], [0, -0.2, 0], [0.1, -0.1, -0.1]]
    skin, normals = rig.neutral[: FACE_VERTICES[1]], rig.normals[: FACE_VERTICES[1]]
    tree = cKDTree(skin)
    sides = []
    for sign in (1.0, -1.0):
        t = rng.beta(1.45, 1.35, count)
        root = np.stack([np.interp(t * 4, np.arange(5), line[:, axis]) for axis in range(3)], 1)
        thick = np.interp(t, [0, 0.12, 0.45, 0.8, 1], [0.16, 0.26, 0.26, 0.17, 0.05]) * look.hair.brow_thickness
        off = rng.random(count) * 2 - 1
        off = off * thick * 0.6 + np.clip(rng.normal(size=count), -2, 2) * thick * 0.35
        root[:, 1] += off - look.hair.brow_drop
        root[:, 0] = root[:, 0] * sign + rng.normal(size=count) * 0.11
        angle = np.interp(t, [0, 0.15, 0.5, 1], [80, 48, 14, -14]) + rng.normal(size=count) * 9 - off * 45
        angle = np.radians(angle)
        heading = np.stack([np.cos(angle) * sign, np.sin(angle), 0 * t], 1)
        length = np.interp(t, [0, 0.3, 0.8, 1], [0.42, 0.62, 0.55, 0.35]) * (0.7 + 0.5 * rng.random(count))
        strands = np.zeros((count, points, 3))
        for step in range(points):
            here = root + heading * (length * step / (points - 1))[:, None]
            nearest = tree.query(here)[1]
            away = normals[nearest]
            here = here - away * ((here - skin[nearest]) * away).sum(1, keepdims=True)
            strands[:, step] = here + away * (0.01 + 0.045 * np.sin(np.pi * min(step / (points - 1), 0.8)))
        sides.append(strands)
    both = np.concatenate(sides)
    radii = np.linspace(1, 0.3, points)[None] * np.full((len(both), 1), 0.0078)
    return Strands(both, radii), tree.query(both[:, 0])[1].astype(np.int32)


@dataclass(frozen=True)
class Lashes:
    """Lashes as barycentric mixes of the kit's lash strips, so that they follow the lids."""

    corners: Ints
    """[s, k, 3] vertices"""
    shares: Floats
    """[s, k, 3]"""
    radii: Floats
    """[s, k]"""

    def points(self, vertices: Floats) -> Floats:
        """[s, k, 3] for a shape of the mesh."""
        return np.asarray((vertices[self.corners] * self.shares[..., None]).sum(2))


def lashes(rig: Rig) -> Lashes:
    """Six strips an eye, three of each lid."""
    ict, look, points = rig.ict, rig.look, 6
    rng = np.random.default_rng(look.seed + 2)
    starts = ict.starts
    polygons = range(*LASH_POLYGONS)
    corners, shares, widths = [], [], []
    for first in (eye + LASH_STRIP * strip for eye in LASH_VERTICES for strip in range(6)):
        upper = (first - min(e for e in LASH_VERTICES if first - e < 6 * LASH_STRIP and first >= e)) < 3 * LASH_STRIP
        uv = np.zeros((LASH_STRIP, 2))
        for polygon in polygons:
            span = slice(starts[polygon], starts[polygon + 1])
            if first <= ict.corners[span][0] < first + LASH_STRIP:
                uv[ict.corners[span] - first] = ict.uvs[ict.corner_uvs[span]]
        mesh = Delaunay(uv)
        low, size = uv.min(0), np.ptp(uv, axis=0)
        high = uv.max(0)
        count = 58 if upper else 26
        along = np.sort(rng.random(count)) * 0.96 + 0.02
        length = (0.88 if upper else 0.62) * (0.72 + 0.4 * rng.random(count)) * look.hair.lash_length
        curl = rng.normal(size=count) * 0.03
        t = np.linspace(0, 1, points)
        for place, reach, bend in zip(along, np.minimum(length, 0.99), curl, strict=True):
            where = np.stack(
                [
                    low[0] + size[0] * np.clip(place + bend * t, 0.01, 0.99),
                    high[1] - size[1] * np.clip(reach * t, 0.004, 0.99),
                ],
                1,
            )
            simplex = mesh.find_simplex(where)
            simplex[simplex < 0] = 0
            transform = mesh.transform[simplex]
            bary = np.einsum("ijk,ik->ij", transform[:, :2], where - transform[:, 2])
            corners.append(mesh.simplices[simplex] + first)
            shares.append(np.c_[bary, 1 - bary.sum(1)])
            widths.append(1.0 if upper else 0.45)
    radii = np.linspace(1, 0.25, points)[None] * look.hair.lash_radius * np.array(widths)[:, None]
    return Lashes(np.array(corners, np.int32), np.array(shares), radii)
