"""Checkpoints and datasets in SyncTalk_2D's file format, with random weights and a rendered face."""

import shutil
from pathlib import Path

import numpy as np
import torch

from models.speaker import SPEAKERS_DIR
from models.synctalk2d.networks import Encoder, UNet

LANDMARKS = 110
SQUARE = (156, 236, 200)
"""Left, top and side of the mouth's square in a frame of the default speaker."""


def checkpoint(path: Path, side: int = 160, mode: str = "ave", seed: int = 7) -> Path:
    """A U-Net's state_dict, as the original's training saves it."""
    torch.manual_seed(seed)
    torch.save(UNet(side, mode).state_dict(), path)
    return path


def encoder(path: Path, seed: int = 8) -> Path:
    """The audio encoder's, whose names lack their first word."""
    torch.manual_seed(seed)
    state = Encoder().state_dict()
    torch.save({name.removeprefix("audio_encoder."): value for name, value in state.items()}, path)
    return path


def dataset(folder: Path, frames: int = 5) -> Path:
    """Frames of the default speaker, with the three landmarks that the crop is made of."""
    (folder / "full_body_img").mkdir(parents=True)
    (folder / "landmarks").mkdir()
    for number in range(frames):
        shutil.copyfile(SPEAKERS_DIR / f"default/frames/{number:03d}.jpg", folder / f"full_body_img/{number}.jpg")
        landmarks(folder, number, (SQUARE[0] + number, *SQUARE[1:]))
    return folder


def landmarks(folder: Path, number: int, square: tuple[int, int, int]) -> Path:
    """Write those of one frame."""
    left, top, side = square
    points = np.zeros((LANDMARKS, 2), int)
    points[1], points[31], points[52] = (left, 0), (left + side, 0), (0, top)
    path = folder / "landmarks" / f"{number}.lms"
    path.write_text("\n".join(f"{x} {y}" for x, y in points) + "\n")
    return path
