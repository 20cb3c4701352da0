"""Lays a painted mouth into a speaker's base frame, where the head is at that moment, feathered and without a seam."""

from collections import OrderedDict
from typing import Final, NamedTuple

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from models.engine import Pixels
from models.speaker import Speaker

_DECODED_FRAMES: Final = 16  # of 768 KB each at 512 x 512; enough for sessions at different places of the loop


class Box(NamedTuple):
    """Pixels of the frame."""

    x: int
    y: int
    width: int
    height: int


class Placed(NamedTuple):
    """Where the mouth lies in one base frame, and how it is mixed in."""

    box: Box
    matrix: NDArray[np.float32]  # patch -> box
    weight: NDArray[np.float32]  # of the patch, [box.height, box.width]
    complement: NDArray[np.float32]


class Composer:
    """All base frames of one speaker; decoded and placed when first needed."""

    def __init__(self, speaker: Speaker) -> None:
        self._speaker = speaker
        self._placement = speaker.placement()
        self._mask = speaker.mask()
        self._decoded: OrderedDict[int, Pixels] = OrderedDict()
        self._placed: dict[int, Placed] = {}
        self.count = speaker.manifest.base.count

    def prepare(self, base: int) -> None:
        """Decode a base frame ahead of its time, for instance the next of a running session."""
        self._frame(base % self.count)

    def _frame(self, base: int) -> Pixels:
        frame = self._decoded.get(base)
        if frame is None:
            frame = simplejpeg.decode_jpeg(self._speaker.base_jpeg(base), colorspace="RGB")
            self._decoded[base] = frame
            if len(self._decoded) > _DECODED_FRAMES:
                self._decoded.popitem(last=False)
        self._decoded.move_to_end(base)
        return frame

    def _place(self, base: int) -> Placed:
        placed = self._placed.get(base)
        if placed is None:
            spec, mouth = self._speaker.manifest.base, self._speaker.manifest.mouth
            matrix = self._placement[base].copy()
            corners = np.array([[0, mouth.width, 0, mouth.width], [0, 0, mouth.height, mouth.height], [1, 1, 1, 1]])
            reached = matrix @ corners
            left, top = np.maximum(np.floor(reached.min(axis=1)), 0).astype(int)
            right, bottom = np.minimum(np.ceil(reached.max(axis=1)), (spec.width, spec.height)).astype(int)
            box = Box(int(left), int(top), int(right - left), int(bottom - top))
            matrix[:, 2] -= (box.x, box.y)
            weight = cv2.warpAffine(self._mask, matrix, (box.width, box.height), flags=cv2.INTER_LINEAR)
            placed = self._placed[base] = Placed(box, matrix, weight, 1 - weight)
        return placed

    def mix(self, pixels: Pixels, base: int) -> tuple[Box, Pixels]:
        """The box of base frame `base` that the patch `pixels` [h, w, 3] changes, and its new pixels."""
        box, matrix, weight, complement = self._place(base)
        under = np.ascontiguousarray(self._frame(base)[box.y : box.y + box.height, box.x : box.x + box.width])
        patch = cv2.warpAffine(
            pixels, matrix, (box.width, box.height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return box, cv2.blendLinear(patch, under, weight, complement)

    def whole(self, base: int, box: Box, mixed: Pixels) -> Pixels:
        """The whole frame [H, W, 3] with `mixed` in its box; a copy, so that the base frame stays as it is."""
        frame = self._frame(base).copy()
        frame[box.y : box.y + box.height, box.x : box.x + box.width] = mixed
        return frame
