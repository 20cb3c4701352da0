"""A speaker without any training: a drawn face, whose mouth is an ellipse in a painter of a few lines of ONNX.

    python examples/puppet/make.py puppet
    python -m models install puppet

It hears as the default speaker does: one articulator serves every face. docs/extending.md walks through it.
"""

import argparse
import json
import shutil
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import onnx.parser

from models.speaker import MANIFEST, SPEAKERS_DIR, digests

FRAME: Final = 512
MOUTH: Final = 160
"""Pixels a side."""
MOUTH_AT: Final = (176, 280)
"""Left and top of the mouth in the frame."""
SKIN, LIPS, DARK, EYES = (236, 188, 120), (196, 72, 66), (60, 16, 20), (40, 40, 48)  # RGB

PAINTER: Final = f"""
<ir_version: 8, opset_import: ["": 18]>
puppet (float[n, 7] articulation) => (uint8[n, {MOUTH}, {MOUTH}, 3] pixels)
<
  float[7, 2] moves = {{  # half the width and half the height of the hole, of half the picture, by channel
    0.0, 0.1,   0.0, 0.5,   0.15, 0.0,   -0.25, 0.1,   0.0, 0.0,   0.0, -0.04,   0.0, 0.0 }},
  float[2] rest = {{0.5, 0.02}}, float[2] least = {{0.1, 0.01}}, float rim = {{0.1}},
  float first = {{-1.0}}, float end = {{0.9999}}, float step = {{{2 / MOUTH}}}, float one = {{1.0}},
  float sharp = {{25.0}},
  float[3] skin = {{{", ".join(f"{value}.0" for value in SKIN)}}},
  float[3] skin_to_lips = {{{", ".join(f"{b - a}.0" for a, b in zip(SKIN, LIPS, strict=True))}}},
  float[3] lips_to_dark = {{{", ".join(f"{b - a}.0" for a, b in zip(LIPS, DARK, strict=True))}}},
  int64[1] second = {{1}}, int64[1] last = {{-1}}
>
{{
  across = Range(first, end, step)
  down = Unsqueeze(across, second)
  moved = MatMul(articulation, moves)
  wished = Add(moved, rest)
  hole_size = Max(wished, least)
  lips_size = Add(hole_size, rim)

  hole_w, hole_h = Split <axis = 1, num_outputs = 2> (hole_size)
  hole_wide = Unsqueeze(hole_w, last)
  hole_high = Unsqueeze(hole_h, last)
  hole_u = Div(across, hole_wide)
  hole_v = Div(down, hole_high)
  hole_uu = Mul(hole_u, hole_u)
  hole_vv = Mul(hole_v, hole_v)
  hole_square = Add(hole_uu, hole_vv)
  hole_inside = Sub(one, hole_square)
  hole_sharp = Mul(hole_inside, sharp)
  hole = Sigmoid(hole_sharp)

  lips_w, lips_h = Split <axis = 1, num_outputs = 2> (lips_size)
  lips_wide = Unsqueeze(lips_w, last)
  lips_high = Unsqueeze(lips_h, last)
  lips_u = Div(across, lips_wide)
  lips_v = Div(down, lips_high)
  lips_uu = Mul(lips_u, lips_u)
  lips_vv = Mul(lips_v, lips_v)
  lips_square = Add(lips_uu, lips_vv)
  lips_inside = Sub(one, lips_square)
  lips_sharp = Mul(lips_inside, sharp)
  lips = Sigmoid(lips_sharp)

  hole_plane = Unsqueeze(hole, last)
  lips_plane = Unsqueeze(lips, last)
  hole_colour = Mul(hole_plane, lips_to_dark)
  lips_colour = Mul(lips_plane, skin_to_lips)
  mouth_colour = Add(lips_colour, hole_colour)
  colour = Add(mouth_colour, skin)
  pixels = Cast <to = 2> (colour)
}}
"""
"""Two ellipses, the hole in the lips in the skin, mixed by how far inside a pixel is."""


def face() -> np.ndarray:
    """uint8 [512, 512, 3] BGR: all of it but the mouth."""
    picture = np.full((FRAME, FRAME, 3), (205, 216, 220), np.uint8)
    cv2.ellipse(picture, (256, 270), (170, 215), 0, 0, 360, SKIN[::-1], -1, cv2.LINE_AA)
    for x in (190, 322):
        cv2.circle(picture, (x, 220), 22, EYES[::-1], -1, cv2.LINE_AA)
    return picture


def make(folder: Path) -> None:
    """Write the package; what was in the folder is replaced."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "frames").mkdir(parents=True)
    heard = SPEAKERS_DIR / "default"
    usual = json.loads((heard / MANIFEST).read_text())
    shutil.copy(heard / usual["articulator"], folder / "articulator.onnx")
    onnx.save(onnx.parser.parse_model(PAINTER), folder / "painter.onnx")
    cv2.imwrite(str(folder / "frames" / "000.jpg"), face(), [cv2.IMWRITE_JPEG_QUALITY, 95])
    cv2.imwrite(str(folder / "mask.png"), np.full((MOUTH, MOUTH), 255, np.uint8))
    np.save(folder / "placement.npy", np.array([[[1, 0, MOUTH_AT[0]], [0, 1, MOUTH_AT[1]]]], np.float32))
    manifest = {
        "format": 1,
        "name": folder.name,
        "title": "Puppet",
        "description": "A drawn face with an ellipse for a mouth.",
        "licence": "MIT; the articulator is the default speaker's",
        "articulator": "articulator.onnx",
        **{key: usual[key] for key in ("front_end", "lookahead_ms", "channels", "rest")},
        "painter": "painter.onnx",
        "mouth": {"width": MOUTH, "height": MOUTH, "mask": "mask.png"},
        "base": {
            "width": FRAME,
            "height": FRAME,
            "fps": 25,
            "count": 1,
            "frames": "frames/{:03d}.jpg",
            "placement": "placement.npy",
        },
        "files": digests(folder),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("folder", type=Path, help="where to write it; its last part is the speaker's name")
    make(parser.parse_args().folder)


if __name__ == "__main__":
    main()
