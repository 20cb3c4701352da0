"""Lays a painted mouth into a speaker's base frame, where the head is at that moment, feathered and without a seam, and
encodes the frame."""

from collections import OrderedDict
from typing import Final, NamedTuple

import cv2
import numpy as np
import simplejpeg
from numpy.typing import NDArray

from models.engine import Pixels
from models.speaker import Speaker
from models.splice import BandedFrame

JPEG_QUALITY: Final = 85
"""Of the frames that leave: 20 to 30 KB for 512 x 512; artefacts are not visible at 25 fps."""
TUNED_QUALITY: Final = 60
"""Of patches, where the machine has too much to do: half the bytes."""
_CHANNELS: Final = 3
_KEPT_FRAMES: Final = 512
"""Of one speaker, with their bands: 0.3 MB each at 512 x 512; a loop of 20 s stays whole."""


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
        self._masked_alike = "{" not in speaker.manifest.mouth.mask
        self._frames: OrderedDict[int, BandedFrame] = OrderedDict()
        self._placed: dict[int, Placed] = {}
        self.count = speaker.manifest.base.count
        mouth = speaker.manifest.mouth
        self.mouth_shape = (mouth.height, mouth.width, _CHANNELS)
        # The first frame is a user's: everything has run once by then.
        box, mixed = self.mix(np.zeros(self.mouth_shape, np.uint8), 0)
        self.encoded(0, box, mixed)

    @property
    def most_bytes(self) -> int:
        """What its base frames hold once all have been shown, near enough: the pixels of their bands."""
        return min(self.count, _KEPT_FRAMES) * self._frame(0).band.nbytes

    def base_of(self, frame_id: int) -> int:
        """The base frame under frame ``frame_id``."""
        return self._speaker.manifest.base.index(frame_id)

    def prepare(self, frame_id: int) -> None:
        """Decode and encode a base frame ahead of its time, for instance the next of a running session."""
        self._frame(self.base_of(frame_id))

    def prepare_another(self) -> bool:
        """Decode one base frame that has not been needed yet; whether there are more."""
        most = min(self.count, _KEPT_FRAMES)
        missing = next((base for base in range(most) if base not in self._frames), None)
        if missing is not None and len(self._frames) < most:
            self._frame(missing)
        return len(self._frames) < most

    def _frame(self, base: int) -> BandedFrame:
        frame = self._frames.get(base)
        if frame is None:
            pixels = simplejpeg.decode_jpeg(self._speaker.base_jpeg(base), colorspace="BGR")
            box = self._place(base).box
            frame = self._frames[base] = BandedFrame(pixels, box.y, box.y + box.height, JPEG_QUALITY)
            if len(self._frames) > _KEPT_FRAMES:
                self._frames.popitem(last=False)
        self._frames.move_to_end(base)
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
            mask = self._mask if self._masked_alike else self._speaker.mask(base)
            weight = cv2.warpAffine(mask, matrix, (box.width, box.height), flags=cv2.INTER_LINEAR)
            placed = self._placed[base] = Placed(box, matrix, weight, 1 - weight)
        return placed

    def mix(self, pixels: Pixels, base: int) -> tuple[Box, Pixels]:
        """The box of base frame `base` that the patch `pixels` [h, w, 3] changes, and its new pixels."""
        box, matrix, weight, complement = self._place(base)
        frame = self._frame(base)
        under = frame.band[box.y - frame.top : box.y - frame.top + box.height, box.x : box.x + box.width]
        patch = cv2.warpAffine(
            pixels, matrix, (box.width, box.height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        return box, cv2.blendLinear(patch, cv2.cvtColor(under, cv2.COLOR_BGR2RGB), weight, complement)

    def encoded(self, base: int, box: Box, mixed: Pixels) -> bytes:
        """The JPEG of the whole frame with `mixed` [h, w, 3] RGB in its box. What lies above and below is not encoded
        again."""
        frame = self._frame(base)
        band = frame.band.copy()
        top = box.y - frame.top
        cv2.cvtColor(mixed, cv2.COLOR_RGB2BGR, dst=band[top : top + box.height, box.x : box.x + box.width])
        return frame.with_band(band)

    @staticmethod
    def encoded_patch(mixed: Pixels, quality: int = JPEG_QUALITY) -> bytes:
        """The JPEG of the box alone, [h, w, 3] RGB."""
        patch: bytes = simplejpeg.encode_jpeg(mixed, quality=quality, colorspace="RGB", colorsubsampling="420")
        return patch
