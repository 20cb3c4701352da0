"""The picture's geometry: which pixels the mouth's crop takes, and where a point of the head lands."""

from typing import Final

SIZE: Final = 512
"""Pixels of the square frame."""
HEIGHT_CM: Final = 33.5
"""What the frame spans at the face."""
CENTRE_CM: Final = 0.0
"""Height of the camera, in the kit's y."""
MOUTH: Final = 160
"""Pixels of the square crop."""
MOUTH_CENTRE_CM: Final = -5.35
PIXELS_PER_CM: Final = SIZE / HEIGHT_CM

Box = tuple[int, int, int, int]
"""left, top, right, bottom; right and bottom exclusive."""


def row(y: float) -> int:
    """Pixel row of a height in the kit's y."""
    return round(SIZE / 2 + (CENTRE_CM - y) * PIXELS_PER_CM)


MOUTH_BOX: Final[Box] = (
    (SIZE - MOUTH) // 2,
    row(MOUTH_CENTRE_CM) - MOUTH // 2,
    (SIZE + MOUTH) // 2,
    row(MOUTH_CENTRE_CM) + MOUTH // 2,
)
EYES_BOX: Final[Box] = (SIZE // 2 - 104, row(6.2), SIZE // 2 + 104, row(0.4))
"""All that moves in a blink or a glance."""
FULL_BOX: Final[Box] = (0, 0, SIZE, SIZE)
