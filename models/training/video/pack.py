"""The speaker's folder: the idle loop's frames, where the mouth lies on each, the networks, the manifest."""

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from models.speaker import Speaker, digests
from models.training.face import idle, view
from models.training.package import form, paint_rest
from models.training.video import read, steady
from models.training.video.errors import VideoError
from models.training.video.landmarks import EYE_CORNERS

QUALITY: Final = 87
"""Of the frames' JPEG, as the shipped speakers'."""
EYES_DOWN: Final = 0.4
"""Share of the frame's height at which the eyes are, as on the shipped faces."""
NOTICE: Final = """\
{title}, a speaker of lipwire, is a real person, made from a video of them. Use it only as they have agreed to.

Speech
    articulator.onnx is the shipped speakers': trained on the LibriSpeech ASR corpus, V. Panayotov, G. Chen, D. Povey,
    S. Khudanpur, ICASSP 2015, https://www.openslr.org/12, CC BY 4.0, https://creativecommons.org/licenses/by/4.0/.
    Changed: degraded by noise, rooms and codecs, and aligned with phones. The network contains no recording.
"""
UNLICENSED: Final = "All rights reserved by the person shown.\n"
"""Where no licence is given: a face is nobody else's."""


@dataclass(frozen=True, slots=True)
class About:
    """What people read of a speaker."""

    name: str
    title: str
    licence: str = UNLICENSED
    """The whole text; its first line stands in the manifest."""


@dataclass(frozen=True, slots=True)
class Window:
    """The square of the video that becomes the speaker's frame of 512 x 512."""

    left: int
    top: int
    side: int

    def cut(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """[512, 512, 3] of a picture."""
        part = picture[self.top : self.top + self.side, self.left : self.left + self.side]
        if self.side == view.SIZE:
            return np.ascontiguousarray(part)
        how = cv2.INTER_AREA if self.side > view.SIZE else cv2.INTER_CUBIC
        return np.asarray(cv2.resize(part, (view.SIZE, view.SIZE), interpolation=how), np.uint8)

    def placement(self, placed: NDArray[np.float64]) -> NDArray[np.float32]:
        """[2, 3] patch -> this frame, from patch -> the video's picture."""
        scale = view.SIZE / self.side
        out = placed * scale
        # pixels are areas: the middle of pixel 0 lies half a pixel from the edge, before and after scaling
        out[:, 2] += (0.5 - np.array([self.left, self.top])) * scale - 0.5
        return out.astype(np.float32)


def window(video: Path, points: NDArray[np.float32], placed: steady.Similarities, facts: read.Facts) -> Window:
    """As much of the picture around the face as the shipped speakers show, or as there is.

    Raises:
        VideoError: the chin or a cheek is cut off, somewhere in the frames of `placed` and `points`.
    """
    reached = steady.corners(placed)
    outside = (reached < 0).any(axis=(1, 2)) | (reached > [facts.width, facts.height]).any(axis=(1, 2))
    if outside.mean() > 0.5:
        second = int(np.argmax(outside)) / read.FPS
        raise VideoError(
            f"{video}, second {second:.1f}: the lower face is cut off by the picture's edge; expected chin and cheeks "
            "in it: film with some room around the head"
        )
    eyes = np.nanmedian(points[:, EYE_CORNERS, :2].mean(1), axis=0)
    size = float(np.median(np.sqrt(np.linalg.det(placed[:, :, :2]))))
    side = min(round(view.SIZE * size), facts.width, facts.height)
    left = int(np.clip(round(eyes[0] - side / 2), 0, facts.width - side))
    top = int(np.clip(round(eyes[1] - EYES_DOWN * side), 0, facts.height - side))
    return Window(left, top, side)


def write_loop(
    video: Path,
    out: Path,
    frames: Sequence[int],
    placed: steady.Similarities,
    shown: Window,
    painter: Path,
    told: Callable[[int], object] = lambda _done: None,
) -> None:
    """`frames/`, `placement.npy` and `mask.png` of the video's frames in this order; their mouths are the painter's own
    at rest, so that silence and a painted rest are the same picture."""
    folder = out / "frames"
    folder.mkdir(parents=True)
    rest, cover = paint_rest(painter), idle.mask()
    jpegs: dict[int, bytes] = {}
    for number, picture in _some(video, set(frames)):
        where = shown.placement(placed[number])
        frame = np.round(idle.lay(shown.cut(picture).astype(np.float32), rest, cover, where)).astype(np.uint8)
        jpegs[number] = simplejpeg.encode_jpeg(
            np.ascontiguousarray(frame), quality=QUALITY, colorspace="RGB", colorsubsampling="420"
        )
        told(len(jpegs))
    for index, number in enumerate(frames):
        (folder / f"{index:03d}.jpg").write_bytes(jpegs[number])
    np.save(out / "placement.npy", np.stack([shown.placement(placed[number]) for number in frames]))
    cv2.imwrite(str(out / "mask.png"), cover)


def write(out: Path, about: About, ears: Speaker, painter: Path, count: int) -> None:
    """The rest of the folder: networks, licence, notice, and the manifest with every file's SHA-256."""
    shutil.copyfile(painter, out / "painter.onnx")
    shutil.copyfile(ears.articulator(), out / "articulator.onnx")
    (out / "LICENSE").write_text(about.licence.rstrip() + "\n", encoding="utf-8")
    (out / "NOTICE").write_text(NOTICE.format(title=about.title), encoding="utf-8")
    described = {
        "format": 1,
        "name": about.name,
        "title": about.title,
        "description": "Made from a video by models.train from-video.",
        "licence": about.licence.strip().splitlines()[0],
        **form(ears.manifest.front_end, ears.manifest.lookahead_ms, count),
        "files": digests(out),
    }
    (out / "manifest.json").write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")


def _some(video: Path, numbers: set[int]) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """The pictures of these frames; no further than the last of them is decoded."""
    for number, picture in enumerate(read.pictures(video)):
        if number in numbers:
            yield number, picture
        if number >= max(numbers):
            return
