"""The idle loop: still renders become 10 s in which somebody breathes, blinks and holds the head not quite
still.

Head motion is a smooth warp of one picture. Where the mouth is painted the warp is exactly an affine map,
which is what `Motion.placement` states, so that a painted mouth lands on the head wherever it is; below the
chin the map fades out, and the shoulders breathe. Everything is periodic in the loop's length, so its end
joins its beginning.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from models.training.face import view

Image = npt.NDArray[np.float32]
"""[h, w, 3] RGB, 0..255, as displayed."""
Matrix = npt.NDArray[np.float64]
"""[2, 3]"""

COUNT: Final = 250
FPS: Final = 25
FEATHER: Final = 15
"""Pixels over which a painted mouth fades into the frame."""

BLINK: Final = ("blink2", "blink4", "blink4", "blink3", "blink2", "blink1")
"""Frames of one blink: shut in 80 ms, open again in 160 (a natural blink closes faster than it opens)."""
GLANCES: Final = ((0.452, 0.552, "left"), (0.712, 0.792, "down"))
"""From, until (shares of the loop), where to."""
BLINKS: Final = (0.148, 0.440, 0.548, 0.836)
"""Shares of the loop at which blinks begin: irregular, about 20 a minute with the loop, two of them with a
glance.
"""

# Harmonics of the loop: (cycles, amplitude, phase). Prime cycles, so that no beat is felt.
SWAY: Final = {
    "x": ((1, 1.5, 0.3), (2, 0.8, 1.9), (5, 0.25, 0.7)),
    "y": ((1, 0.8, 2.2), (3, 0.55, 0.9), (7, 0.15, 1.3)),
    "turn": ((1, 0.40, 4.0), (2, 0.28, 2.6), (3, 0.12, 0.2)),
    "lean": ((1, 0.35, 1.1), (2, 0.20, 3.0)),
    "shear": ((1, 0.004, 5.1), (3, 0.002, 0.4)),
}
"""Pixels, pixels, degrees, per cent of size, and sideways shear: the hint of a turn of the head."""
BREATHS: Final = 3
"""In a loop: 18 a minute."""
BREATH: Final = 1.6
"""Pixels that the shoulders rise."""


@dataclass(frozen=True)
class Motion:
    """One frame's."""

    head: Matrix
    """[2, 3] where a point of the still picture goes, pixels."""
    breath: float
    """0..1"""
    eyes: str
    """Which picture of the eyes."""

    @property
    def placement(self) -> npt.NDArray[np.float32]:
        """[2, 3] a pixel of the mouth's crop -> a pixel of the frame, as cv2.warpAffine takes it."""
        placed = self.head.copy()
        placed[:, 2] += self.head[:, :2] @ np.array(view.MOUTH_BOX[:2], np.float64)
        return placed.astype(np.float32)


def _wave(name: str, phase: float, seed: float) -> float:
    return sum(size * float(np.sin(2 * np.pi * n * phase + shift + seed * n)) for n, size, shift in SWAY[name])


def motion(frame: int, count: int = COUNT, seed: float = 0.0) -> Motion:
    """The motion of frame 0..count-1; `seed` (radians) gives each speaker its own."""
    phase = frame / count
    breath = 0.5 - 0.5 * float(np.cos(2 * np.pi * BREATHS * phase))
    turn = np.radians(_wave("turn", phase, seed))
    size = 1 + _wave("lean", phase, seed) / 100
    rotate = size * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = rotate @ np.array([[1.0, _wave("shear", phase, seed)], [0.0, 1.0]])
    pivot = np.array([view.SIZE / 2, view.row(-11.0)], np.float64)
    shift = np.array([_wave("x", phase, seed), _wave("y", phase, seed) - 0.5 * breath])
    head = np.concatenate([linear, (pivot - linear @ pivot + shift)[:, None]], 1)
    eyes = "open"
    for start, end, where in GLANCES:
        if start <= phase < end:
            eyes = where
    for start in BLINKS:
        stage = frame - round(start * count)
        if 0 <= stage < len(BLINK):
            eyes = BLINK[stage]
    return Motion(head, breath, eyes)


def _smooth(x: npt.ArrayLike) -> Image:
    t = np.clip(np.asarray(x, np.float32), 0, 1)
    return np.asarray(t * t * (3 - 2 * t)).astype(np.float32)


def mask(size: int = view.MOUTH, feather: int = FEATHER) -> npt.NDArray[np.uint8]:
    """[size, size] how much of a painted mouth shows: 255 inside, 0 at the border, rounded corners."""
    inward = np.minimum(np.arange(size), np.arange(size)[::-1]).astype(np.float32)
    # distance to a rounded square: corners of radius 3 feathers
    radius = 3.0 * feather
    deep = np.maximum(radius - inward, 0)
    distance = np.where(
        (deep[:, None] > 0) & (deep[None] > 0),
        radius - np.hypot(deep[:, None], deep[None]),
        np.minimum(inward[:, None], inward[None]),
    )
    return np.asarray(np.round(255 * _smooth((distance - 1) / feather)), np.uint8)


def head_weight(size: int = view.SIZE) -> Image:
    """[size, size] 1 where the head's motion holds whole, 0 on the shirt, smooth between."""
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    aside = _smooth((np.abs(columns - size / 2) - view.MOUTH / 2 - 6) / 55)
    begin = view.MOUTH_BOX[3] + 2 - 45 * aside
    return np.asarray(1 - _smooth((rows - begin) / 58)).astype(np.float32)


def warp(still: Image, background: Image, move: Motion) -> Image:
    """The still picture, moved; what is background stays where it is."""
    size = still.shape[0]
    rows, columns = np.mgrid[0:size, 0:size].astype(np.float32)
    inverse = cv2.invertAffineTransform(move.head).astype(np.float32)
    weight = head_weight(size)
    from_x = inverse[0, 0] * columns + inverse[0, 1] * rows + inverse[0, 2]
    from_y = inverse[1, 0] * columns + inverse[1, 1] * rows + inverse[1, 2]
    shoulders = (1 - weight) * BREATH * move.breath
    map_x = columns + weight * (from_x - columns)
    map_y = rows + weight * (from_y - rows) + shoulders
    moved = cv2.remap(still - background, map_x, map_y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(np.clip(moved + background, 0, 255), np.float32)


def lay(frame: Image, patch: Image, cover: npt.NDArray[np.uint8], placement: npt.ArrayLike) -> Image:
    """A mouth's patch [160, 160, 3] over a frame, through the feathered mask, where the placement says."""
    size = (frame.shape[1], frame.shape[0])
    matrix = np.asarray(placement, np.float64)
    moved = cv2.warpAffine(patch, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    amount = cv2.warpAffine(cover.astype(np.float32) / 255, matrix, size, flags=cv2.INTER_LINEAR)[..., None]
    return np.asarray(frame * (1 - amount) + moved * amount, np.float32)


def read(path: Path) -> Image:
    """A picture as floats."""
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise FileNotFoundError(f"{path} is missing or no picture: render it first")
    return np.asarray(picture[..., ::-1], np.float32)


def _paste(frame: Image, patch: Image, box: view.Box, feather: int) -> None:
    """A patch over its box of a frame, feathered, in place."""
    left, top, right, bottom = box
    height, width = bottom - top, right - left
    y = np.minimum(np.arange(height), np.arange(height)[::-1])
    x = np.minimum(np.arange(width), np.arange(width)[::-1])
    amount = _smooth(np.minimum(y[:, None], x[None]) / feather)[..., None]
    part = frame[top:bottom, left:right]
    part += amount * (patch - part)


@dataclass(frozen=True)
class Stills:
    """Everything of one speaker that the loop is made from."""

    background: Image
    faces: dict[str, Image]
    """Whole frames by the name of their eyes, the mouth at rest."""


def stills(renders: Path, rest: Image | None = None) -> Stills:
    """Put eyes, and the mouth at rest (painted, or else rendered), into the full render."""
    face = read(renders / "full" / "neutral.png")
    mouth = rest if rest is not None else read(renders / "mouth" / "00000.png")
    left, top, right, bottom = view.MOUTH_BOX
    cover = mask().astype(np.float32)[..., None] / 255
    face[top:bottom, left:right] += cover * (mouth - face[top:bottom, left:right])
    faces = {}
    for name in ("open", *sorted({*BLINK, *(where for _, _, where in GLANCES)})):
        faces[name] = face.copy()
        _paste(faces[name], read(renders / "eyes" / f"{name}.png"), view.EYES_BOX, 10)
    return Stills(read(renders / "full" / "background.png"), faces)


def frame(source: Stills, move: Motion, rest: Image) -> npt.NDArray[np.uint8]:
    """[512, 512, 3] RGB: one frame of the loop; the mouth at rest is laid on as a painted one will be."""
    moved = warp(source.faces[move.eyes], source.background, move)
    return np.round(lay(moved, rest, mask(), move.placement)).astype(np.uint8)
