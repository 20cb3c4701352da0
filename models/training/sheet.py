"""Pictures to judge a speaker by.

    python -m models.training.sheet paintings RENDERS PAINTER.onnx OUT.jpg
    python -m models.training.sheet faces models/speakers/default OUT.jpg

The first: every viseme, and below them mouths held out: each rendered, painted, and four times the difference. The
second: every viseme as it is served, painted into the idle loop at different moments.
"""

import argparse
from pathlib import Path
from typing import Final

import cv2
import numpy as np
import structlog

from models.training.face.idle import lay, read
from models.training.face.sample import read_held_out
from models.training.face.visemes import VISEMES, articulation
from models.training.painter import Pixels

log = structlog.get_logger()

SCALE: Final = 1.25
COLUMNS: Final = 6


def cell(name: str, rendered: Pixels, painted: Pixels) -> Pixels:
    """[3 h, w, 3] render, painting and four times their difference, one above the other, named."""
    apart = np.clip(128 + 4 * (painted.astype(int) - rendered), 0, 255).astype(np.uint8)
    tall = np.concatenate([rendered, painted, apart])
    large = cv2.resize(tall, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
    cv2.putText(large, name, (6, 16), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return np.asarray(large, np.uint8)


def sheet(renders: Path, painter: Path, held_out: int = COLUMNS) -> Pixels:
    """The whole picture, RGB."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(painter), providers=["CPUExecutionProvider"])
    wanted = np.load(renders / "articulations.npy")
    judged = read_held_out(renders / "articulations.npy")
    rows = []
    for name, channels in VISEMES.items():
        match = np.abs(wanted - np.array(articulation(**channels), np.float32)).max(1) < 1e-6
        rows += [(name, int(row)) for row in np.flatnonzero(match & ~judged)[:1]]
    there = [int(row) for row in np.flatnonzero(judged) if (renders / "mouth" / f"{row:05d}.png").is_file()]
    lively = sorted(there, key=lambda row: -float(np.abs(wanted[row]).sum()))
    rows += [(f"held out {row}", row) for row in lively[:: max(1, len(lively) // held_out)][:held_out]]
    cells = []
    for name, row in rows:
        rendered = read(renders / "mouth" / f"{row:05d}.png").astype(np.uint8)
        cells.append(cell(name, rendered, session.run(None, {"articulation": wanted[row : row + 1]})[0][0]))
    while len(cells) % COLUMNS:
        cells.append(np.zeros_like(cells[0]))
    return np.concatenate([np.concatenate(cells[i : i + COLUMNS], 1) for i in range(0, len(cells), COLUMNS)])


def faces(speaker: Path) -> Pixels:
    """Every viseme on the speaker's face, RGB."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(speaker / "painter.onnx"), providers=["CPUExecutionProvider"])
    placements = np.load(speaker / "placement.npy")
    cover = read(speaker / "mask.png")[..., 0].astype(np.uint8)
    shown = []
    for number, (name, channels) in enumerate(VISEMES.items()):
        base = number * 21 % len(placements)
        vector = np.array([articulation(**channels)], np.float32)
        patch = session.run(None, {"articulation": vector})[0][0].astype(np.float32)
        face = lay(read(speaker / "frames" / f"{base:03d}.jpg"), patch, cover, placements[base])
        face = np.ascontiguousarray(np.round(face[40:470, 96:416]).astype(np.uint8))
        cv2.putText(face, name, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
        shown.append(face)
    return np.concatenate([np.concatenate(shown[i : i + COLUMNS], 1) for i in range(0, len(shown), COLUMNS)])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    painting = commands.add_parser("paintings")
    painting.add_argument("renders", type=Path)
    painting.add_argument("painter", type=Path)
    painting.add_argument("out", type=Path)
    facing = commands.add_parser("faces")
    facing.add_argument("speaker", type=Path)
    facing.add_argument("out", type=Path)
    args = parser.parse_args()
    picture = sheet(args.renders, args.painter) if args.command == "paintings" else faces(args.speaker)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(args.out), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85])
    log.info("sheet", out=str(args.out), kilobytes=args.out.stat().st_size // 1024)


if __name__ == "__main__":
    main()
