"""SyncTalk_2D's dataset of one person: `full_body_img/N.jpg`, `landmarks/N.lms`, optionally `parsing/N.png`, N from 0.

A `.lms` file has a landmark on each line, x and y in pixels. The mouth's crop is a square: from the landmark 1 to 31
across, downwards from the landmark 52.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from models.speaker import SpeakerError

Pixels = NDArray[np.uint8]

IMAGES: Final = "full_body_img"
LANDMARKS: Final = "landmarks"
PARSING: Final = "parsing"
LEFT, TOP, RIGHT = 1, 52, 31
"""The landmarks at the crop's left edge, its top and its right edge."""
BORDER: Final = 4
"""Pixels around what is painted, in the crop scaled to the network's size and twice this."""
KEPT: Final = ((255, 0, 0), (255, 255, 255))
"""RGB in a parsing picture: what is never painted over (written there as BGR 0 0 255 and white)."""


class Square(NamedTuple):
    """Pixels of the frame."""

    x: int
    y: int
    side: int


class Frame(NamedTuple):
    """One frame of the dataset."""

    number: int
    jpeg: Path
    size: tuple[int, int]
    """Width, height."""
    square: Square
    crop: Pixels
    """[side + 8, side + 8, 3] RGB: the square, scaled to the network's size with its border."""
    seen: Pixels
    """[side, side] 255 where the painting shows, 0 where the frame does; all 255 without parsing."""


def count(folder: Path) -> int:
    """How many frames there are.

    Raises:
        SpeakerError: no dataset, or one with holes: the message names the missing file.
    """
    if not (folder / IMAGES).is_dir() or not (folder / LANDMARKS).is_dir():
        raise SpeakerError(f"{folder}: no SyncTalk_2D dataset: expected the folders {IMAGES}/ and {LANDMARKS}/ in it")
    there = sum(path.suffix == ".jpg" for path in (folder / IMAGES).iterdir())
    for number in range(there):
        for path in (_image(folder, number), _landmarks(folder, number)):
            if not path.is_file():
                raise SpeakerError(f"{path}: missing: frames are numbered 0.jpg, 1.jpg, ... without holes")
    if there < 1:
        raise SpeakerError(f"{folder / IMAGES}: no frame 0.jpg in it")
    return there


def frames(folder: Path, side: int, most: int) -> Iterator[Frame]:
    """The first ``most`` frames for a network of ``side`` pixels.

    Raises:
        SpeakerError: as :func:`count`; or a picture or a list of landmarks that cannot be used.
    """
    # The original takes another interpolation for each size.
    smooth = cv2.INTER_LINEAR if side < _CUBIC_FROM else cv2.INTER_CUBIC
    for number in range(min(most, count(folder))):
        path = _image(folder, number)
        picture = _read(path)
        square = _square(_landmarks(folder, number), picture)
        inside = (slice(square.y, square.y + square.side), slice(square.x, square.x + square.side))
        whole = (side + 2 * BORDER,) * 2
        crop = cv2.resize(picture[inside], whole, interpolation=smooth).astype(np.uint8, copy=False)
        seen = _seen(folder, number, picture.shape[:2], inside, whole)[BORDER:-BORDER, BORDER:-BORDER]
        yield Frame(number, path, (picture.shape[1], picture.shape[0]), square, crop, seen)


_CUBIC_FROM: Final = 320


def _image(folder: Path, number: int) -> Path:
    return folder / IMAGES / f"{number}.jpg"


def _landmarks(folder: Path, number: int) -> Path:
    return folder / LANDMARKS / f"{number}.lms"


def _read(path: Path) -> Pixels:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if picture is None:
        raise SpeakerError(f"{path}: not a picture that can be read; make the dataset again")
    pixels: Pixels = picture.astype(np.uint8, copy=False)
    return pixels


def _square(path: Path, picture: Pixels) -> Square:
    try:
        points = np.array([line.split() for line in path.read_text(encoding="ascii").splitlines()], np.float32)
    except ValueError as error:
        raise SpeakerError(f"{path}: expected x and y on each line: {error}") from None
    if points.ndim != 2 or points.shape[1] != 2 or len(points) <= TOP:
        raise SpeakerError(f"{path}: {points.shape} landmarks, expected (110, 2): x and y on each line")
    (left, _), (_, top), (right, _) = points[[LEFT, TOP, RIGHT]].astype(np.int32).tolist()
    square = Square(left, top, right - left)
    height, width = picture.shape[:2]
    if square.side < 1 or left < 0 or top < 0 or right > width or top + square.side > height:
        raise SpeakerError(
            f"{path}: the mouth's square {tuple(square)} (left, top, side) does not lie in the frame of "
            f"{width} x {height} pixels: landmark 1 has to be left of 31, and 52 above the chin"
        )
    return square


def _seen(
    folder: Path, number: int, size: tuple[int, ...], inside: tuple[slice, slice], whole: tuple[int, int]
) -> Pixels:
    if not (folder / PARSING).is_dir():
        return np.full(whole, 255, np.uint8)
    path = folder / PARSING / f"{number}.png"
    if not path.is_file():
        raise SpeakerError(f"{path}: missing: with a folder {PARSING}/, every frame has a picture in it")
    parsing = _read(path)
    if parsing.shape[:2] != size:
        raise SpeakerError(
            f"{path}: {parsing.shape[1]} x {parsing.shape[0]} pixels, the frame has {size[1]} x {size[0]}"
        )
    kept = np.zeros(size, bool)
    for colour in KEPT:
        kept |= (parsing == colour).all(axis=2)
    shown = np.where(kept, 0, 255).astype(np.uint8)[inside]
    scaled: Pixels = cv2.resize(shown, whole, interpolation=cv2.INTER_NEAREST).astype(np.uint8, copy=False)
    return scaled
