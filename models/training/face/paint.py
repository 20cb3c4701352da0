"""Vertex colours of the head: [n, 3] linear RGB, and where it is wet or bearded, from geometry alone."""

from dataclasses import dataclass

import numpy as np

from models.training.face.ict import (
    FACE_VERTICES,
    GUM_VERTICES,
    LANDMARKS,
    MUCOSA_VERTICES,
    OUTER_VERTICES,
    SOCKET_VERTICES,
    TOOTH_VERTICES,
    Floats,
)
from models.training.face.identities import Rgb
from models.training.face.rig import Rig, smooth


@dataclass(frozen=True)
class Paint:
    """Per vertex."""

    colour: Floats
    """[n, 3] linear RGB."""
    wet: Floats
    """[n] 0 dry skin, 1 wet lip or mouth."""
    beard: Floats
    """[n] 0..1 where stubble grows."""
    lip: Floats
    """[n] 0..1"""


def linear(rgb: Rgb) -> Floats:
    """[3] linear light of an sRGB colour of 0..255 (IEC 61966-2-1)."""
    c = np.asarray(rgb, np.float64) / 255
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)


def outline_distance(points: Floats, outline: Floats) -> Floats:
    """[n] signed distance in the x-y plane to a closed outline [k, 2]: negative inside."""
    x, y = points[:, 0], points[:, 1]
    inside = np.zeros(len(points), bool)
    nearest = np.full(len(points), 1e9)
    for a, b in zip(outline, np.roll(outline, -1, 0), strict=True):
        edge = b - a
        t = np.clip(((x - a[0]) * edge[0] + (y - a[1]) * edge[1]) / (edge @ edge), 0, 1)
        nearest = np.minimum(nearest, np.hypot(x - a[0] - t * edge[0], y - a[1] - t * edge[1]))
        crosses = (a[1] > y) != (b[1] > y)
        inside ^= crosses & (x < (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1] + 1e-12) + a[0])
    return np.where(inside, -nearest, nearest)


def rounded(outline: Floats, steps: int = 6) -> Floats:
    """[k * steps, 2] a closed Catmull-Rom curve through an outline's points."""
    t = (np.arange(steps) / steps)[:, None]
    pieces = []
    for i in range(len(outline)):
        a, b, c, d = (outline[(i + k) % len(outline)] for k in (-1, 0, 1, 2))
        pieces.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.concatenate(pieces)


def paint(rig: Rig) -> Paint:
    """The colours of a rig's look."""
    v, skin = rig.neutral, rig.look.skin
    x, y, z = np.abs(v[:, 0]), v[:, 1], v[:, 2]
    marks = v[LANDMARKS]
    colour = np.tile(linear(skin.base), (len(v), 1))

    def blend(weight: Floats, rgb: Rgb, amount: float) -> None:
        w = (weight * amount)[:, None]
        colour[:] = colour * (1 - w) + linear(rgb) * w

    def blob(cx: float, cy: float, sx: float, sy: float) -> Floats:
        return np.asarray(np.exp(-(((x - cx) / sx) ** 2) - ((y - cy) / sy) ** 2))

    front = smooth(z, 2, 5)
    blend(blob(4.9, -0.4, 1.9, 1.7) * front, skin.flush, 0.55)
    blend(blob(0, 0.2, 1.5, 1.2) * smooth(z, 9, 11), skin.flush, 0.50)
    blend(blob(0, -6.3, 1.6, 1.0) * front, skin.flush, 0.22)
    blend(blob(0, 8.5, 5, 2.5) * front, skin.forehead, 0.35)
    blend(blob(3.2, 3.3, 1.9, 1.25), skin.lid, 0.42)
    blend(blob(2.9, 2.2, 1.5, 0.7), skin.under_eye, 0.24)
    ear = smooth(x, 7.3, 8.2) * smooth(y, -2.5, -1) * (1 - smooth(y, 6, 7))
    blend(ear, skin.flush, 0.5)
    beard = (1 - smooth(y, -2.4, -1.2)) * smooth(y, -10.5, -8.5) * smooth(z, 1.5, 5)
    beard = beard * (1 - np.exp(-(((x - 4.2) / 1.5) ** 2) - ((y + 2.0) / 1.6) ** 2))
    blend(1 - smooth(y, -10, -8.5), skin.neck, 0.5)

    lip_distance = outline_distance(v[:, :2], rounded(marks[48:60, :2]))
    lip = np.where(z > 9.0, 1 - smooth(lip_distance, -0.20, 0.10), 0)
    lip[OUTER_VERTICES[1] :] = 0
    beard = beard * smooth(lip_distance, 0.05, 0.5)
    beard[OUTER_VERTICES[1] :] = 0
    blend(beard, skin.beard, skin.beard_amount)
    blend(lip, skin.lip, 0.78)
    blend(lip * smooth(-lip_distance, 0.2, 0.6), skin.lip_inner, 0.35)

    inside = slice(*MUCOSA_VERTICES)
    depth = smooth(z, 6.5, 10.2)[:, None]
    mucosa = linear((138, 60, 58)) * (1 - depth) + linear((172, 80, 80)) * depth
    colour[inside] = mucosa[inside]
    colour[slice(*SOCKET_VERTICES)] = linear((190, 110, 100))
    for first in (36, 42):
        rim = outline_distance(v[:, :2], rounded(marks[first : first + 6, :2]))
        tear_line = np.where(z > 7.5, np.exp(-((rim / 0.13) ** 2)), 0)
        tear_line[FACE_VERTICES[1] :] = 0
        blend(tear_line, (168, 92, 84), 0.55)
    wet = lip * 0.75
    wet[inside] = 1

    gums, teeth = slice(*GUM_VERTICES), slice(*TOOTH_VERTICES)
    colour[gums] = (linear((196, 104, 104)) * (0.55 + 0.45 * smooth(z, 4, 9.5))[:, None])[gums]
    tongue = (linear((196, 104, 104)) * (0.62 + 0.38 * smooth(z, 5, 9.5))[:, None])[rig.tongue]
    colour[rig.tongue] = tongue
    colour[teeth] = (linear((238, 230, 216)) * (0.5 + 0.5 * smooth(z, 6.0, 9.6))[:, None])[teeth]
    return Paint(colour=colour, wet=np.clip(wet, 0, 1), beard=np.clip(beard, 0, 1), lip=lip)
