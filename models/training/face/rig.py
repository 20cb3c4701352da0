"""The rig: an articulation of `models.articulation` becomes vertex positions.

Every articulator is a linear displacement field, so the distance of the inner lips is linear in the weights
too, and `Rig.weights` solves for the lips so that the distance is `aperture` times a constant, however far
the jaw is open.
"""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from models.articulation import CHANNELS
from models.training.face.ict import (
    GUM_VERTICES,
    LANDMARKS,
    LOWER_INCISORS,
    OUTER_VERTICES,
    Floats,
    Ict,
)
from models.training.face.identities import Look

JAW_AT_FULL: Final = 0.43
"""Weight of the kit's jawOpen at jaw = 1: its full jawOpen is a yawn, and would carry the chin out of the
crop.
"""
APERTURE_CM: Final = 1.55
"""Inner-lip distance at aperture = 1 beyond the closed lips'."""

UNCOUNTED: Final = ("roll_low", "chin_up", "tongue")
"""Weights that do not count as opening: these press or tuck lips that stay where they are."""

SIDE_APERTURE: Final = 0.84
"""Inner-lip distance halfway to the corners, as a share of that in the middle: an ellipse's."""

Weights = dict[str, float]


def smooth(x: Floats, low: float, high: float) -> Floats:
    """The smoothstep 3t^2 - 2t^3 between low and high."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def vertex_normals(ict: Ict, vertices: Floats) -> Floats:
    """[n, 3] unit normals, the polygons' mean."""
    normals = np.zeros_like(vertices)
    starts = ict.starts
    for size in (3, 4):
        quads = ict.corners[starts[:-1][ict.sizes == size][:, None] + np.arange(size)]
        p = vertices[quads]
        cross = np.cross(p[:, 2] - p[:, 0], p[:, -1] - p[:, 1] if size == 4 else p[:, 1] - p[:, 0])
        cross *= 1.0 if size == 4 else -1.0
        for corner in range(size):
            np.add.at(normals, quads[:, corner], cross)
    return np.asarray(normals / (np.linalg.norm(normals, axis=1, keepdims=True) + 1e-9))


class Rig:
    """One speaker's neutral mesh and its articulators."""

    def __init__(self, ict: Ict, look: Look) -> None:
        self.ict = ict
        self.look = look
        self.neutral = self._neutral()
        self.normals = vertex_normals(ict, self.neutral)
        self.tongue = self._tongue_mask()
        self.fields = self._fields()
        self._window = self._crop_window()
        travel = np.linalg.norm(self.fields["blink"], axis=1)[:, None]
        self._lids = travel / (travel.max() + 1e-9) * np.array([0.0, 0.0, 1.0])
        self._lip_gap = {name: self._gap(field) for name, field in self.fields.items()}
        self._side_gap = {name: self._gap(field, side=True) for name, field in self.fields.items()}

    def _neutral(self) -> Floats:
        """The mean face plus the look's identity mix, averaged with its mirror: the mouth is symmetric."""
        from scipy.spatial import cKDTree

        mean = self.ict.vertices
        flip = np.array([-1.0, 1.0, 1.0])
        mirror = cKDTree(mean).query(mean * flip)[1]
        mix = np.zeros_like(mean)
        for mode, weight in self.look.identity.items():
            mix += weight * self.ict.identities[mode]
        mixed = mean + (mix + mix[mirror] * flip) / 2
        if self.look.aligned:
            heights = [(p[LANDMARKS[36:48], 1].mean(), p[LANDMARKS[60:68], 1].mean()) for p in (mean, mixed)]
            (eyes, mouth), (its_eyes, its_mouth) = heights
            size = (eyes - mouth) / (its_eyes - its_mouth)
            forward = mean[LANDMARKS[48:60], 2].mean() - size * mixed[LANDMARKS[48:60], 2].mean()
            mixed = mixed * size + np.array([0.0, eyes - size * its_eyes, forward])
        return np.asarray(mixed)

    def _tongue_mask(self) -> Floats:
        """[n] bool: the tongue's vertices, which the kit keeps in one piece with the gums."""
        v = self.neutral
        incisors = v[slice(*LOWER_INCISORS)]
        back, top = incisors[:, 2].min(), incisors[:, 1].max()
        mask = np.zeros(len(v), bool)
        mask[slice(*GUM_VERTICES)] = True
        mask &= np.linalg.norm(self.ict.expressions["jawOpen"], axis=1) > 1.0
        mask &= (v[:, 2] < back + 0.1) & (v[:, 1] > top - 1.6)
        mask &= np.abs(v[:, 0]) < 2.3 * np.sqrt(np.clip((back + 0.3 - v[:, 2]) / 5, 0.05, 1))
        return mask

    def _fields(self) -> dict[str, Floats]:
        e = self.ict.expressions

        def both(name: str) -> Floats:
            return e[name + "_L"] + e[name + "_R"]

        v = self.neutral
        zero = np.zeros(len(v))
        lips = v[LANDMARKS[48:60]].mean(0)
        near = np.exp(-((v[:, 0] / 3.4) ** 2) - ((v[:, 1] - lips[1]) / 1.9) ** 2) * smooth(v[:, 2], 7, 10)
        side = v[:, 0] ** 2 * np.exp(1 - v[:, 0] ** 2)  # 0 in the middle, 1 at 1 cm, 0 at the corners
        near[slice(*GUM_VERTICES)] = 0
        near[GUM_VERTICES[1] :] = 0
        return {
            "jaw": e["jawOpen"],
            "close": e["mouthClose"],
            "funnel": e["mouthFunnel"],
            "pucker": e["mouthPucker"],
            "narrow": np.stack([-0.5 * v[:, 0] * near, zero, zero], 1),
            "wide": both("mouthStretch"),
            "smile": both("mouthSmile"),
            "dimple": both("mouthDimple"),
            "upper_up": both("mouthUpperUp"),
            "lower_down": both("mouthLowerDown"),
            "arch": (both("mouthLowerDown") + 0.6 * both("mouthUpperUp")) * side[:, None],
            "press": both("mouthPress"),
            "roll_up": e["mouthRollUpper"],
            "roll_low": e["mouthRollLower"],
            "chin_up": e["mouthShrugLower"],
            "jaw_forward": e["jawForward"],
            "blink": both("eyeBlink"),
            "eye_wide": both("eyeWide"),
            "squint": both("eyeSquint"),
            "brow_up": both("browOuterUp") + both("browInnerUp"),
            "look_left": e["eyeLookOut_L"] + e["eyeLookIn_R"],
            "look_right": e["eyeLookIn_L"] + e["eyeLookOut_R"],
            "look_down": both("eyeLookDown"),
            "look_up": both("eyeLookUp"),
        }

    def _crop_window(self) -> Floats:
        """[n, 1] 1 around the mouth and chin, 0 where the painted crop ends, so that no motion crosses its
        border.
        """
        x, y = np.abs(self.neutral[:, 0]), self.neutral[:, 1]
        window = (1 - smooth(x, 3.6, 5.0)) * (1 - smooth(y, -1.6, 0.2)) * smooth(y, -10.0, -8.4)
        window[OUTER_VERTICES[1] :] = 1
        return np.asarray(window[:, None])

    @staticmethod
    def _gap(points: Floats, side: bool = False) -> float:
        """Vertical distance of the inner lips in the middle, or halfway to the corners, centimetres."""
        upper, lower = (61, 67) if side else (62, 66)
        return float(points[LANDMARKS[upper], 1] - points[LANDMARKS[lower], 1])

    def gap(self, vertices: Floats) -> float:
        """Inner-lip distance beyond the neutral face's, centimetres."""
        return self._gap(vertices) - self._gap(self.neutral)

    def weights(self, articulation: Sequence[float]) -> Weights:
        """Rig weights of an articulation (the channels of `models.articulation`, in their order)."""
        a = dict(zip(CHANNELS, (float(x) for x in articulation), strict=True))
        spread, purse = max(a["width"], 0.0), max(-a["width"], 0.0)
        rounding, tuck, press = a["rounding"], a["tuck"], a["press"]
        aperture = a["aperture"]
        lifted = tuck * (1 - 0.7 * press) * (1 - 0.6 * aperture)  # the upper lip, off the lower, to bare the teeth
        bare = 1 - 0.75 * rounding  # rounded lips hide the teeth
        w: Weights = {
            "jaw": JAW_AT_FULL * a["jaw"],
            "pucker": 0.85 * rounding + 0.35 * purse * (1 - 0.7 * rounding),
            "funnel": 0.34 * rounding * (0.35 + 0.65 * min(1.0, aperture * 2)),
            "narrow": 0.20 * rounding + 0.16 * purse,
            "wide": 0.42 * spread,
            "smile": 0.36 * spread,
            "press": 0.22 * press,
            "roll_up": 0.20 * press,
            "roll_low": 0.26 * press + 0.42 * tuck * (1 - 0.6 * press),
            "chin_up": 0.10 * press + 0.16 * tuck * (1 - press),
            "jaw_forward": -0.25 * tuck,
            "upper_up": aperture * 0.34 * bare + 0.37 * lifted,
            "lower_down": aperture * 0.40 * bare + 0.25 * a["tongue"] * aperture,
            "tongue": a["tongue"],
        }
        want = aperture * APERTURE_CM - 0.03 * press - self.look.lips_closer
        have = sum(weight * self._lip_gap[name] for name, weight in w.items() if name not in UNCOUNTED)
        have -= 0.26 * lifted * self._lip_gap["upper_up"]
        missing = want - have
        if missing > 0:
            lift, drop = self._lip_gap["upper_up"], self._lip_gap["lower_down"]
            w["upper_up"] += 0.35 * missing / (0.35 * lift + 0.65 * drop)
            w["lower_down"] += 0.65 * missing / (0.35 * lift + 0.65 * drop)
        else:
            w["close"] = missing / self._lip_gap["close"]
        # without this, jaw and close together shut the sides first, and the opening becomes a V
        sides = sum(weight * self._side_gap[name] for name, weight in w.items() if name not in UNCOUNTED)
        sides -= 0.26 * lifted * self._side_gap["upper_up"]
        w["arch"] = (SIDE_APERTURE * want - sides) / self._side_gap["arch"]
        return w

    def shape(self, weights: Mapping[str, float], eyes: Mapping[str, float] | None = None) -> Floats:
        """[n, 3] vertices: mouth weights (from `weights`) windowed to the crop, the rest and the eyes' over
        everything.
        """
        base = self.neutral.copy()
        lids = dict(eyes or {})
        blink = lids.get("blink", 0.0)
        lids["blink"] = blink * self.look.lid_reach
        base += self.look.lid_arc * 4 * blink * (1 - 0.8 * blink) * self._lids
        lids.setdefault("eye_wide", 0.22 * (1 - blink))
        for name, weight in (*self.look.rest.items(), *lids.items()):
            base += weight * self.fields[name]
        moved = np.zeros_like(base)
        for name, weight in weights.items():
            if name in self.fields:
                moved += weight * self.fields[name]
        return np.asarray(base + self._window * moved)
