"""478 points of a face in every frame: Google's Face Landmarker, its detector to find a face, its mesh to follow it.

The detector (BlazeFace, Bazarevsky et al. 2019) sees the whole picture at 128 x 128; the landmarks (attention mesh,
Grishchenko et al. 2020, whose lips are refined by a part of their own) see the face alone, upright, at 256 x 256. The
geometry between them is MediaPipe's: face_detection and face_landmark graphs, Apache-2.0.
"""

from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.training.video import tflite

POINTS: Final = 478
EYE_CORNERS: Final = (33, 263)
"""Outer corners: the right eye's (left in the picture), the left eye's."""

Points = NDArray[np.float32]
"""[478, 3]: x and y in pixels of the picture, z in the same unit, smaller is nearer to the camera."""
Picture = NDArray[np.uint8]
"""[h, w, 3] RGB."""

SURE: Final = 0.5
"""Probability from which a detection or a followed face is one; MediaPipe's default."""
MARGIN: Final = 1.5
"""The landmarks' square is so many times the face's box; MediaPipe's."""
_LAYERS: Final = ((8, 2), (16, 6))
"""BlazeFace's anchors: stride in pixels, so many on each place."""
_OVERLAP: Final = 0.3
"""Boxes that share more of their area than this are of one face."""


class Face(NamedTuple):
    """A detection, in pixels of the picture."""

    centre: NDArray[np.float32]
    side: float
    """Of the box."""
    angle: float
    """Radians by which the eyes' line is turned, clockwise in the picture."""
    score: float


class Landmarker:
    """Finds faces, and a face's points.

    Raises:
        VideoError: the networks are not installed.
    """

    def __init__(self, threads: int = 1) -> None:
        self._detector = tflite.Network("face_detector.tflite", threads)
        self._mesh = tflite.Network("face_landmarks_detector.tflite", threads)
        self._anchors = _anchors(self._detector.side)

    def faces(self, picture: Picture) -> list[Face]:
        """Every face of a picture, the surest first."""
        side = self._detector.side
        height, width = picture.shape[:2]
        scale = side / max(height, width)
        to = np.array([[scale, 0, (side - width * scale) / 2], [0, scale, (side - height * scale) / 2]], np.float32)
        small = cv2.warpAffine(picture, to, (side, side), flags=cv2.INTER_AREA)
        boxes, scores = self._detector(small.astype(np.float32) / 127.5 - 1)
        probability = 1 / (1 + np.exp(-np.clip(scores[0, :, 0], -60, 60)))
        found: list[Face] = []
        for index in np.argsort(-probability):
            if probability[index] < SURE:
                break
            parts = boxes[0, index].reshape(8, 2) + np.where(np.arange(8)[:, None] == 1, 0, self._anchors[index])
            centre, eyes = (parts[0] - to[:, 2]) / scale, parts[2:4]
            turn = float(np.arctan2(eyes[1, 1] - eyes[0, 1], eyes[1, 0] - eyes[0, 0]))
            face = Face(centre.astype(np.float32), float(parts[1].max() / scale), turn, float(probability[index]))
            if all(_overlap(face, other) < _OVERLAP for other in found):
                found.append(face)
        return found

    def points(self, picture: Picture, face: Face) -> Points | None:
        """The points of a face near there; None where there is none."""
        size = self._mesh.side
        reach = face.side * MARGIN / size
        turn = reach * np.array([[np.cos(face.angle), -np.sin(face.angle)], [np.sin(face.angle), np.cos(face.angle)]])
        back = np.concatenate([turn, (face.centre - turn @ [size / 2, size / 2])[:, None]], axis=1)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        upright = cv2.warpAffine(picture, back, (size, size), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        mesh, presence = self._mesh(upright.astype(np.float32) / 255)[:2]
        if 1 / (1 + np.exp(-float(presence.ravel()[0]))) < SURE:
            return None
        points = mesh.reshape(POINTS, 3)
        flat = points[:, :2] @ back[:, :2].T + back[:, 2]
        return np.concatenate([flat, points[:, 2:] * reach], axis=1).astype(np.float32)


def around(points: Points) -> Face:
    """Where to look for the same face in the next frame."""
    low, high = points[:, :2].min(0), points[:, :2].max(0)
    right, left = points[EYE_CORNERS[0]], points[EYE_CORNERS[1]]
    angle = float(np.arctan2(left[1] - right[1], left[0] - right[0]))
    return Face((low + high) / 2, float((high - low).max()), angle, 1.0)


def eye_distance(points: Points) -> float:
    """Pixels between the outer corners of the eyes: the measure of a face, 9 cm of an adult's."""
    return float(np.linalg.norm(points[EYE_CORNERS[1], :2] - points[EYE_CORNERS[0], :2]))


def _anchors(side: int) -> NDArray[np.float32]:
    """[896, 2] where each of the detector's boxes is measured from, pixels of its picture."""
    rows = []
    for stride, each in _LAYERS:
        count = side // stride
        y, x = np.mgrid[0:count, 0:count]
        places = (np.stack([x.ravel(), y.ravel()], axis=1) + 0.5) * stride
        rows.append(np.repeat(places, each, axis=0))
    return np.concatenate(rows).astype(np.float32)


def _overlap(a: Face, b: Face) -> float:
    """Shared area over the area of both."""
    reach = np.clip((a.side + b.side) / 2 - np.abs(a.centre - b.centre), 0, min(a.side, b.side))
    shared = float(reach[0] * reach[1])
    return shared / (a.side**2 + b.side**2 - shared)
