"""The landmarks of a whole video, a part of 20 s at a time, so that an interruption costs no more than one."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.training.video import read
from models.training.video.errors import VideoError
from models.training.video.landmarks import POINTS, Face, Landmarker, Picture, Points, around, eye_distance

PART: Final = 500
"""Frames in a part."""
LOOK_EVERY: Final = 25
"""Frames after which the whole picture is looked at again for a second face: once a second."""
SECOND_SHARE: Final = 0.5
"""A second face counts from this share of the first one's size on: nobody minds a picture on the wall."""
SECOND_SURE: Final = 0.75
"""And only when the detector is this sure: hands and patterns are faces at 0.5."""
LOST_SHARE: Final = 0.05
"""Of the frames may show no face (a hand before it, a turned head); they are left out."""
LEAST_EYES: Final = 50.0
"""Pixels between the outer eye corners that a video must have: the mouth's crop then has a third of its final width."""


def track(
    video: Path, parts: Path, landmarker: Landmarker, told: Callable[[int], object] = lambda _done: None
) -> NDArray[np.float32]:
    """[T, 478, 3] the points in every frame, NaN where no face is; parts that are stored already are not made again.

    Raises:
        VideoError: no face, two of them, one that is too small, a video that cannot be decoded.
    """
    parts.mkdir(parents=True, exist_ok=True)
    made: list[Points] = []
    where: Face | None = None
    stored = _stored(parts)
    for number, picture in enumerate(read.pictures(video)):
        if number < len(stored):
            continue
        if number == len(stored) and number and not np.isnan(stored[-1]).any():
            where = around(stored[-1])
        if where is None or number % LOOK_EVERY == 0:
            found = _found(video, number, landmarker.faces(picture))
            # a face that is followed is better placed by its own landmarks than by the detector's box
            where = where or _refined(landmarker, picture, found)
        points = None if where is None else landmarker.points(picture, where)
        where = None if points is None else around(points)
        made.append(np.full((POINTS, 3), np.nan, np.float32) if points is None else points)
        if len(made) == PART:
            _store(parts, (number + 1) // PART - 1, made)
            made = []
        told(number + 1)
    whole = _stored(parts)
    points = np.concatenate([whole, np.stack(made)]) if made else whole
    _check(video, points)
    return points


def _refined(landmarker: Landmarker, picture: Picture, found: Face | None) -> Face | None:
    """Where the landmarks put a face that the detector found."""
    points = None if found is None else landmarker.points(picture, found)
    return None if points is None else around(points)


def _found(video: Path, number: int, faces: list[Face]) -> Face | None:
    """The one face of a picture."""
    if not faces:
        return None
    largest = max(faces, key=lambda face: face.side)
    others = [
        face
        for face in faces
        if face is not largest and face.side >= SECOND_SHARE * largest.side and face.score >= SECOND_SURE
    ]
    if others and largest.score >= SECOND_SURE:
        raise VideoError(
            f"{video}, second {number / read.FPS:.1f}: {len(others) + 1} faces; expected one person alone: "
            "cut the video, or crop it to the one who talks"
        )
    return largest


def _check(video: Path, points: NDArray[np.float32]) -> None:
    if not len(points):
        raise VideoError(f"{video}: there is no picture in it")
    lost = np.isnan(points[:, 0, 0])
    if lost.mean() > LOST_SHARE:
        first, length = _longest(lost)
        raise VideoError(
            f"{video}, second {first / read.FPS:.1f}: no face for {length / read.FPS:.1f} s, and none in "
            f"{lost.mean():.0%} of the whole video (at most {LOST_SHARE:.0%} will do); film one person from the front, "
            "the whole face in the picture and nothing before it, or cut that part out"
        )
    sizes = np.array([eye_distance(each) for each in points[~lost]])
    size = float(np.median(sizes))
    if size < LEAST_EYES:
        smallest = int(np.flatnonzero(~lost)[np.argmin(sizes)])
        raise VideoError(
            f"{video}, second {smallest / read.FPS:.1f}: the face is too small: {size:.0f} pixels between the outer "
            f"corners of the eyes in most frames; expected {LEAST_EYES:.0f} and more: go nearer, or film in a higher "
            "resolution"
        )


def _longest(lost: NDArray[np.bool_]) -> tuple[int, int]:
    """Where the longest run of True begins, and how long it is."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], lost, [False]]).astype(int)))
    starts, ends = edges[::2], edges[1::2]
    best = int(np.argmax(ends - starts))
    return int(starts[best]), int(ends[best] - starts[best])


def _store(parts: Path, index: int, made: list[Points]) -> None:
    partial = parts / "partial.npy"
    np.save(partial, np.stack(made))
    partial.replace(parts / f"{index:04d}.npy")


def _stored(parts: Path) -> NDArray[np.float32]:
    """[n, 478, 3] of the parts from the first to the first that is missing."""
    made: list[NDArray[np.float32]] = []
    while (path := parts / f"{len(made):04d}.npy").is_file():
        made.append(np.load(path))
    return np.concatenate(made) if made else np.zeros((0, POINTS, 3), np.float32)
