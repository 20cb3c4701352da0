"""JPEG frames of which only a band of rows changes: the rest is encoded once, and its bytes are used again.

A JPEG with a restart marker after every row of blocks (16 pixels) is a head, then rows that each stand for themselves:
nothing in one depends on another. A new frame is the head, the kept rows above the band, the band's own rows, the kept
rows below; only the markers, which count from 0 to 7 and begin again, are numbered anew. The band is a third of a
speaker's frame, so encoding takes a third of the time. ITU-T T.81, B.2.1 (structure), E.1.4 (restart).
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

BLOCK: Final = 16
"""Pixels a side of what is encoded together, as colours have half the resolution (4:2:0)."""
_START_OF_SCAN: Final = b"\xff\xda"
_END: Final = b"\xff\xd9"
_RESTART: Final = 0xD0
_CYCLE: Final = 8


class SpliceError(Exception):
    """The encoder did not write what this module reads: another version of OpenCV."""


def encode(pixels: Pixels, quality: int) -> tuple[bytes, list[bytes]]:
    """uint8 [h, w, 3] BGR -> its head, up to and with the start of scan, and one piece for each row of blocks.

    Raises SpliceError.
    """
    interval = -(-pixels.shape[1] // BLOCK)
    options = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_RST_INTERVAL, interval]
    _, encoded = cv2.imencode(".jpg", pixels, options)
    data = encoded.tobytes()
    scan = data.index(_START_OF_SCAN)
    start = scan + 2 + int.from_bytes(data[scan + 2 : scan + 4], "big")
    if not data.endswith(_END):
        raise SpliceError("the JPEG does not end where it should")
    rows = _split(data[start : -len(_END)])
    if len(rows) != -(-pixels.shape[0] // BLOCK):
        raise SpliceError(f"{len(rows)} rows between restart markers, not one for every {BLOCK} pixels")
    return data[:start], rows


def _split(scan: bytes) -> list[bytes]:
    """At the restart markers: a byte 0xff of the data itself is always followed by 0."""
    rows = []
    begin = 0
    place = scan.find(b"\xff")
    while place >= 0:
        if _RESTART <= scan[place + 1] < _RESTART + _CYCLE:
            rows.append(scan[begin:place])
            begin = place + 2
        place = scan.find(b"\xff", place + 2)
    return [*rows, scan[begin:]]


def joined(head: bytes, rows: list[bytes]) -> bytes:
    """The JPEG of these rows."""
    parts = [head]
    for number, row in enumerate(rows[:-1]):
        parts += (row, _MARKERS[number % _CYCLE])
    return b"".join((*parts, rows[-1], _END))


_MARKERS: Final = [bytes((0xFF, _RESTART + number)) for number in range(_CYCLE)]


class BandedFrame:
    """One frame, encoded, with the pixels of the band that changes."""

    def __init__(self, pixels: Pixels, top: int, bottom: int, quality: int) -> None:
        """``pixels`` [h, w, 3] BGR; what changes lies in the rows ``top`` to ``bottom`` of it."""
        self._quality = quality
        self._head, self._rows = encode(pixels, quality)
        self._first = top // BLOCK
        self._last = min(-(-bottom // BLOCK), len(self._rows))
        self.top = self._first * BLOCK
        self.band: Pixels = pixels[self.top : self._last * BLOCK].copy()
        """[rows, w, 3] BGR."""

    def with_band(self, band: Pixels) -> bytes:
        """The JPEG of the frame with another band [rows, w, 3] BGR."""
        _, rows = encode(band, self._quality)
        return joined(self._head, [*self._rows[: self._first], *rows, *self._rows[self._last :]])
