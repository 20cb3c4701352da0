"""A tongue of its own: the kit's is a short ridge in one piece with the gums, and cannot reach the teeth.

Elliptic rings along a quadratic curve from the root over the middle to the tip. Root, middle and tip ride on
the jaw; raised, the tip leaves it for a fixed place under the edge of the upper incisors, where /l/ and /th/
hold it.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from models.training.face.ict import LOWER_INCISORS, Floats, Ints
from models.training.face.rig import Rig

ALONG: Final = 28
AROUND: Final = 24
HALF_WIDTH_CM: Final = 1.7
HALF_HEIGHT_CM: Final = 0.52


class Tongue:
    """The tongue of one rig."""

    def __init__(self, rig: Rig) -> None:
        incisors = rig.neutral[slice(*LOWER_INCISORS)]
        self._edge = float(incisors[:, 1].max())
        self._back = float(incisors[:, 2].min())
        kit = rig.tongue
        depth = rig.neutral[kit, 2]
        self._jaw = np.stack([np.polyfit(depth, rig.fields["jaw"][kit, axis], 1) for axis in range(3)])

    def _carried(self, point: Floats, jaw: float) -> Floats:
        """A point that rides on the jaw: the kit's displacement is linear in depth along the tongue."""
        return np.asarray(point + jaw * (self._jaw[:, 0] * point[2] + self._jaw[:, 1]))

    def points(self, weights: Mapping[str, float]) -> Floats:
        """[ALONG * AROUND, 3] for rig weights: uses `jaw` and `tongue`."""
        jaw, raised = weights.get("jaw", 0.0), weights.get("tongue", 0.0)
        edge, back = self._edge, self._back
        root = self._carried(np.array([0.0, edge - 0.9, 4.0]), jaw)
        middle = self._carried(np.array([0.0, edge + 0.35, back - 2.2]), jaw)
        middle = middle + raised * np.array([0.0, 0.55, 0.3])
        low = self._carried(np.array([0.0, edge - 0.75, back + 0.1]), jaw)
        tip = low * (1 - raised) + np.array([0.0, edge - 0.30, back + 0.85]) * raised
        t = np.linspace(0, 1, ALONG)[:, None]
        spine = root * (1 - t) ** 2 + 2 * middle * t * (1 - t) + tip * t**2
        slope = 2 * (middle - root) * (1 - t) + 2 * (tip - middle) * t
        slope /= np.linalg.norm(slope, axis=1, keepdims=True)
        up = np.stack([np.zeros(ALONG), slope[:, 2], -slope[:, 1]], 1)
        taper = np.sqrt(np.clip(1 - np.clip((t[:, 0] - 0.5) / 0.5, 0, 1) ** 2.4, 0, 1))
        width = HALF_WIDTH_CM * taper * (1 - 0.18 * t[:, 0])
        height = HALF_HEIGHT_CM * np.sqrt(taper) * (1 - 0.25 * t[:, 0])
        height[-1] = 0
        angle = np.linspace(0, 2 * np.pi, AROUND + 1)[:-1]
        groove = 0.16 * np.exp(-((np.cos(angle) / 0.22) ** 2)) * (np.sin(angle) > 0)
        across = np.outer(width, np.cos(angle))
        above = np.outer(height, np.sin(angle) - groove)
        rings = spine[:, None] + up[:, None] * above[..., None]
        rings[..., 0] += across
        return np.asarray(rings.reshape(-1, 3))

    @staticmethod
    def quads() -> Ints:
        """[q, 4] faces."""
        ring, spoke = np.meshgrid(np.arange(ALONG - 1), np.arange(AROUND), indexing="ij")
        a, b = ring * AROUND + spoke, ring * AROUND + (spoke + 1) % AROUND
        return np.stack([a, b, b + AROUND, a + AROUND], -1).reshape(-1, 4).astype(np.int32)
