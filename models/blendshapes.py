"""The articulation for other faces: as ARKit's blendshapes, or as weights of Oculus' 15 visemes.

lipwire sends with every frame what the mouth does (``articulation`` in docs/protocol.md), so a 3D avatar can be driven
without the picture. docs/articulation.md tells it to users, with both tables.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from models.articulation import CHANNELS

_JAW: Final = 0.43
"""jawOpen at jaw = 1: ARKit's full jawOpen is a yawn. The weights below are those of the shipped faces' own rig
(models/training/face/rig.py), whose shapes have ARKit's names."""

# fmt: off
ARKIT: Final[Mapping[str, Mapping[str, float]]] = MappingProxyType({
    "jawOpen":             {"jaw": _JAW},
    "mouthFunnel":         {"rounding": 0.25},
    "mouthPucker":         {"rounding": 0.85, "pursed": 0.30},
    "mouthStretchLeft":    {"spread": 0.42},
    "mouthStretchRight":   {"spread": 0.42},
    "mouthSmileLeft":      {"spread": 0.36},
    "mouthSmileRight":     {"spread": 0.36},
    "mouthUpperUpLeft":    {"aperture": 0.34, "tuck": 0.25},
    "mouthUpperUpRight":   {"aperture": 0.34, "tuck": 0.25},
    "mouthLowerDownLeft":  {"aperture": 0.40},
    "mouthLowerDownRight": {"aperture": 0.40},
    "mouthPressLeft":      {"press": 0.22},
    "mouthPressRight":     {"press": 0.22},
    "mouthRollUpper":      {"press": 0.20},
    "mouthRollLower":      {"press": 0.26, "tuck": 0.42},
    "mouthShrugLower":     {"press": 0.10, "tuck": 0.16},
    "tongueOut":           {"tongue": 0.15},
})
"""Blendshape -> its weight at 1 of each channel; ``spread`` and ``pursed`` are the two sides of ``width``."""

VISEMES: Final[Mapping[str, tuple[float, ...]]] = MappingProxyType({
    #       jaw  aperture width rounding tuck press tongue
    "sil": (0.00, 0.00, 0.00, 0.00, 0.0, 0.0, 0.0),
    "PP":  (0.12, 0.00, 0.00, 0.00, 0.0, 1.0, 0.0),
    "FF":  (0.15, 0.13, 0.10, 0.00, 1.0, 0.0, 0.0),
    "TH":  (0.22, 0.25, 0.10, 0.00, 0.0, 0.0, 1.0),
    "DD":  (0.18, 0.25, 0.10, 0.00, 0.0, 0.0, 0.6),
    "kk":  (0.26, 0.30, 0.05, 0.00, 0.0, 0.0, 0.0),
    "CH":  (0.08, 0.26, -0.35, 0.55, 0.0, 0.0, 0.25),
    "SS":  (0.06, 0.21, 0.30, 0.00, 0.0, 0.0, 0.3),
    "nn":  (0.25, 0.30, 0.10, 0.00, 0.0, 0.0, 0.75),
    "RR":  (0.22, 0.27, -0.30, 0.50, 0.0, 0.0, 0.2),
    "aa":  (0.80, 0.87, 0.15, 0.00, 0.0, 0.0, 0.0),
    "E":   (0.50, 0.58, 0.30, 0.00, 0.0, 0.0, 0.0),
    "ih":  (0.22, 0.30, 0.50, 0.00, 0.0, 0.0, 0.0),
    "oh":  (0.62, 0.65, -0.35, 0.55, 0.0, 0.0, 0.0),
    "ou":  (0.18, 0.20, -0.70, 0.95, 0.0, 0.0, 0.0),
})
# fmt: on
"""Oculus' viseme -> the articulation it stands for, in the order of ``CHANNELS``: the targets of its phones in
models/training/articulate.py."""

_SHARPNESS: Final = 0.03
"""Squared distance at which a viseme's weight has fallen to a third: neighbours mix, strangers do not."""


def arkit(articulation: Mapping[str, float]) -> dict[str, float]:
    """ARKit's mouth blendshapes, each 0..1, of an articulation as a frame carries it.

    ``mouthClose`` takes back what the jaw opens and the lips do not: it is what closes the lips over an open jaw.
    Raises KeyError if a channel is missing.
    """
    width = articulation["width"]
    felt = {**articulation, "spread": max(width, 0.0), "pursed": max(-width, 0.0)}
    shapes = {
        shape: min(1.0, sum(weight * felt[channel] for channel, weight in weights.items()))
        for shape, weights in ARKIT.items()
    }
    shapes["mouthClose"] = max(0.0, shapes["jawOpen"] - _JAW * articulation["aperture"])
    return shapes


def visemes(articulation: Mapping[str, float]) -> dict[str, float]:
    """Weights of Oculus' 15 visemes, which sum to 1, of an articulation as a frame carries it.

    Raises KeyError if a channel is missing.
    """
    mouth = [articulation[channel] for channel in CHANNELS]
    near = {name: math.exp(-(math.dist(mouth, shape) ** 2) / _SHARPNESS) for name, shape in VISEMES.items()}
    total = sum(near.values())
    if total < math.ulp(1.0):  # far from all: the nearest alone
        nearest = min(VISEMES, key=lambda name: math.dist(mouth, VISEMES[name]))
        return {name: float(name == nearest) for name in VISEMES}
    return {name: weight / total for name, weight in near.items()}
