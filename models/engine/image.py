"""Painters that see the base frame: SyncTalk_2D's and Ultralight-Digital-Human's U-Nets, under ONNX Runtime.

The picture has six channels: the base frame's own mouth, and the same with a rectangle of it black, where the network
paints. Both in 0..1, in the colour order of its manifest.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.engine.base import Articulation, Pixels
from models.engine.onnx import description_of, load, options
from models.listen import shape_of
from models.speaker import Speaker, SpeakerError

KEPT_CROPS: Final = 512
"""Of one speaker; 0.3 MB each at 320 x 320."""
_WHITE: Final = np.float32(255)
_BLACK: Final = np.uint8(0)


class ImageEngine:
    """See the module's docstring.

    Raises:
        SpeakerError: a network cannot be loaded, or does not take and give what the manifest says.
    """

    def __init__(self, speaker: Speaker, threads: int = 1) -> None:
        manifest = speaker.manifest
        if manifest.image is None:
            raise SpeakerError(f"{speaker.name}: its painter sees no picture")
        chosen = options(threads)
        self._speaker = speaker
        self._image = manifest.image
        self._articulator = load(speaker, manifest.articulator, chosen) if manifest.articulator else None
        self._painter = load(speaker, manifest.painter, chosen)
        self.description = description_of(self._painter, threads)
        self._crops: OrderedDict[int, Pixels] = OrderedDict()
        self._check()

    def _check(self) -> None:
        mouth = self._speaker.manifest.mouth
        shapes = {given.name: given.shape[1:] for given in self._painter.get_inputs()}
        if shapes.get("image") != [6, mouth.height, mouth.width] or "articulation" not in shapes:
            raise SpeakerError(
                f"{self._speaker.name}: the painter takes {shapes}, expected 'articulation' and 'image' "
                f"[6, {mouth.height}, {mouth.width}]"
            )
        (self.width,) = shapes["articulation"]
        if self._articulator is not None:
            made = self.articulate(np.zeros((1, *shape_of(self._speaker.manifest.front_end)), np.float32))
            if made.shape != (1, self.width):
                raise SpeakerError(f"{self._speaker.name}: the articulator gives {made.shape}, not {(1, self.width)}")

    def articulate(self, features: NDArray[np.float32]) -> Articulation:
        """float32 [N, ...] as the front end gives it -> float32 [N, K].

        Raises SpeakerError where the speaker hears no live sound.
        """
        if self._articulator is None:
            raise SpeakerError(f"{self._speaker.name}: it hears no live sound, only its own precomputed features")
        (articulation,) = self._articulator.run(["articulation"], {"features": features})
        return articulation  # type: ignore[no-any-return]

    def paint(self, articulation: Articulation, bases: Sequence[int]) -> Pixels:
        """float32 [N, K] and the N base frames they are painted over -> uint8 [N, height, width, 3] RGB."""
        seen = np.stack([self._seen(base) for base in bases])
        (painted,) = self._painter.run(["painted"], {"articulation": articulation, "image": seen})
        # Cut off, not rounded, as SyncTalk_2D's bytes are.
        pixels = (painted * _WHITE).astype(np.uint8).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(pixels[..., ::-1] if self._image.colour == "bgr" else pixels)

    def _seen(self, base: int) -> NDArray[np.float32]:
        """[6, height, width]."""
        own = self._crop(base)
        hidden = own.copy()
        left, top, right, bottom = self._image.hidden
        hidden[top : bottom + 1, left : right + 1] = _BLACK
        seen: NDArray[np.float32] = np.concatenate([own, hidden], axis=2).transpose(2, 0, 1).astype(np.float32)
        return seen / _WHITE

    def _crop(self, base: int) -> Pixels:
        """[height, width, 3] in the network's order."""
        crop = self._crops.get(base)
        if crop is None:
            rgb = self._speaker.crop(base)
            crop = self._crops[base] = np.ascontiguousarray(rgb[..., ::-1]) if self._image.colour == "bgr" else rgb
            if len(self._crops) > KEPT_CROPS:
                self._crops.popitem(last=False)
        self._crops.move_to_end(base)
        return crop
