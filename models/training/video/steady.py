"""Where the head is in each frame, and with it the mouth's crop.

A similarity (turn, size, shift) brings the upright patch of 160 x 160 pixels to the picture. It is measured on points
of the skull alone, and smoothed over a few frames.
"""

from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from models.training.face import view
from models.training.video.landmarks import EYE_CORNERS

STILL: Final = (33, 133, 362, 263, 168, 6, 197, 195, 8, 9, 151, 10, 67, 297, 109, 338, 21, 251, 162, 389)
"""Points that speech does not move: corners of the eyes, bridge of the nose, forehead, temples."""
LIPS: Final = (61, 291, 13, 14)
"""Corners, inner edges: their mean is the mouth's middle."""
EYES_PIXELS: Final = 145.0
"""Of the patch, between the outer eye corners; as on the shipped faces, so that the crop shows as much of a face."""
BELOW: Final = 30.0
"""Pixels of the patch that its middle lies below the mouth's, as on the shipped faces: room for the jaw."""
SMOOTH_FRAMES: Final = 1.5
"""Standard deviation of the Gaussian over the poses: what landmarks shake from frame to frame goes, a nod stays."""
_ROUNDS: Final = 3
"""Of aligning all frames to their mean: the mean of faces does not move any more after two."""

Similarities = NDArray[np.float64]
"""[T, 2, 3]: patch -> picture, as cv2.warpAffine takes it."""


class Head(NamedTuple):
    """The head over a video."""

    placed: Similarities
    """Smoothed; for the pictures."""
    exact: Similarities
    """As measured; for measuring."""


def head(points: NDArray[np.float32]) -> Head:
    """Poses of [T, 478, 3] points; where there is no face (NaN) the neighbours' are taken."""
    filled = _filled(points.astype(np.float64))
    still, lips = filled[:, STILL, :2], filled[:, LIPS, :2].mean(1)
    shape = still[len(still) // 2]
    for _ in range(_ROUNDS):
        poses = similarities(shape, still)
        shape = np.mean([_apply(cv2.invertAffineTransform(m), p) for m, p in zip(poses, still, strict=True)], axis=0)
    poses = similarities(shape, still)
    mouth = np.mean(
        [_apply(cv2.invertAffineTransform(m), p[None])[0] for m, p in zip(poses, lips, strict=True)], axis=0
    )
    to_patch = _patch_of(shape, mouth)
    exact = similarities(_apply(to_patch, shape), still)
    return Head(_smoothed(exact), exact)


def similarities(shape: NDArray[np.float64], seen: NDArray[np.float64]) -> Similarities:
    """[T, 2, 3] the similarities that bring points [n, 2] nearest to [T, n, 2] in the sum of squares (Umeyama 1991)."""
    middle, middles = shape.mean(0), seen.mean(1)
    a, b = shape - middle, seen - middles[:, None]
    size = (a**2).sum()
    cosine = (b * a).sum((1, 2)) / size
    sine = (b[..., 1] * a[:, 0] - b[..., 0] * a[:, 1]).sum(1) / size
    linear = np.stack([np.stack([cosine, -sine], -1), np.stack([sine, cosine], -1)], -2)
    shift = middles - linear @ middle
    return np.concatenate([linear, shift[..., None]], axis=2)


def in_patch(points: NDArray[np.float32], exact: Similarities) -> NDArray[np.float64]:
    """[T, n, 3] points of the picture in pixels of the patch, the head's movement taken out; z in the same unit."""
    linear, shift = exact[..., :2], exact[..., 2]
    flat = np.einsum("tij,tnj->tni", np.linalg.inv(linear), points[..., :2] - shift[:, None])
    depth = points[..., 2:] / np.sqrt(np.linalg.det(linear))[:, None, None]
    return np.concatenate([flat, depth], axis=2)


def crop(picture: NDArray[np.uint8], placed: NDArray[np.float64]) -> NDArray[np.uint8]:
    """[160, 160, 3] the mouth of a picture; smoothed first where the picture is finer than the patch."""
    size = (view.MOUTH, view.MOUTH)
    finer = float(np.sqrt(np.linalg.det(placed[:, :2])))
    if finer > 1.0:
        picture = cv2.GaussianBlur(picture, (0, 0), 0.5 * finer)
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(picture, placed, size, flags=flags, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def corners(placed: Similarities) -> NDArray[np.float64]:
    """[T, 4, 2] the patch's corners in the picture."""
    square = np.array([[0, 0], [view.MOUTH, 0], [0, view.MOUTH], [view.MOUTH, view.MOUTH]], np.float64)
    return np.stack([_apply(each, square) for each in placed])


def _apply(matrix: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    moved: NDArray[np.float64] = points @ matrix[:, :2].T + matrix[:, 2]
    return moved


def _patch_of(shape: NDArray[np.float64], mouth: NDArray[np.float64]) -> NDArray[np.float64]:
    """[2, 3] from the mean face to the patch: eyes level, their distance given, the mouth above the middle."""
    right, left = (shape[STILL.index(each)] for each in EYE_CORNERS)
    along = (left - right) / np.sum((left - right) ** 2) * EYES_PIXELS
    linear = np.array([[along[0], along[1]], [-along[1], along[0]]])
    to = np.array([view.MOUTH / 2, view.MOUTH / 2 - BELOW])
    return np.concatenate([linear, (to - linear @ mouth)[:, None]], axis=1)


def _smoothed(poses: Similarities) -> Similarities:
    """About the patch's middle: smoothing the shift of a far corner would turn a nod into a slide."""
    middle = np.array([view.MOUTH / 2, view.MOUTH / 2])
    linear = gaussian_filter1d(poses[..., :2], SMOOTH_FRAMES, axis=0, mode="nearest")
    centre = gaussian_filter1d(poses[..., :2] @ middle + poses[..., 2], SMOOTH_FRAMES, axis=0, mode="nearest")
    return np.concatenate([linear, (centre - linear @ middle)[..., None]], axis=2)


def _filled(points: NDArray[np.float64]) -> NDArray[np.float64]:
    lost = np.isnan(points[:, 0, 0])
    if not lost.any():
        return points
    known = np.flatnonzero(~lost)
    filled = points.copy()
    place = np.interp(np.flatnonzero(lost), known, np.arange(len(known)))
    lower = np.floor(place).astype(int)
    upper = np.minimum(lower + 1, len(known) - 1)
    share = (place - lower)[:, None, None]
    filled[lost] = (1 - share) * points[known[lower]] + share * points[known[upper]]
    return filled
