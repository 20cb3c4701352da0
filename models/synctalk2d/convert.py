"""From a SyncTalk_2D checkpoint and its dataset to a speaker package; the same for Ultralight-Digital-Human's.

The networks become ONNX files, which are served, and safetensors beside them; each is run against the PyTorch original
before it is kept.
"""

import json
import logging
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import onnxruntime
import structlog
import torch
from numpy.typing import NDArray
from rich.progress import track
from safetensors.torch import save_file
from torch import Tensor, nn

from models.engine.onnx import options
from models.install import install
from models.speaker import HUBERT, MANIFEST, SPEAKERS_DIR, Speaker, SpeakerError, check_name, digests
from models.synctalk2d import dataset, ears
from models.synctalk2d.checkpoint import Mode, load_encoder, load_painter
from models.synctalk2d.networks import FEATURE, Encoder, UNet

log = structlog.get_logger()

AGREE: Final = 1e-3
"""Of 1: how far the exported network may be from PyTorch's, in any painted value."""
OPSET: Final = 17
FRAMES: Final = 500
"""20 s there and as much back: beyond it a package grows, and nobody sees it repeat."""
HIDDEN: Final = {160: (5, 5, 154, 149), 320: (5, 5, 314, 309)}
"""What SyncTalk_2D blackens for a network of so many pixels a side: left, top, right, bottom. It writes 5, 5, 150, 145
and 5, 5, 310, 305, which OpenCV takes for the left, the top, a width and a height."""
FEATURE_FILES: Final = {"ave": "aud_ave.npy", "hubert": "aud_hu.npy"}
"""In the dataset, by mode."""
WIDTHS: Final = {"ave": FEATURE, "hubert": HUBERT}
"""Values of one moment of sound, by mode."""
CHECKED: Final = 3
"""Frames that both networks paint, to be compared."""


class ServedEncoder(nn.Module):  # type: ignore[misc]
    """[n, 16, 80, 16] -> [n, 16 * 512]."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, features: Tensor) -> Tensor:
        """See the class."""
        return self.encoder(features.reshape(-1, 1, ears.BANDS, ears.STEPS)).reshape(-1, ears.MOMENTS * FEATURE)


class ServedPainter(nn.Module):  # type: ignore[misc]
    """Sixteen moments of sound, flat, and the picture [n, 6, side, side] -> [n, 3, side, side], 0..1."""

    def __init__(self, painter: UNet, mode: Mode) -> None:
        super().__init__()
        self.painter = painter
        self.sound = {"ave": (32, 16, 16), "hubert": (32, 32, 32)}[mode]

    def forward(self, articulation: Tensor, image: Tensor) -> Tensor:
        """See the class."""
        painted: Tensor = self.painter(image, articulation.reshape(-1, *self.sound))
        return painted


def convert(
    checkpoint: Path,
    folder: Path,
    name: str,
    *,
    encoder: Path | None = None,
    mode: Mode = "ave",
    features: Path | None = None,
    title: str | None = None,
    licence: str = "not stated: ask whose face and network it is",
    most_frames: int = FRAMES,
    speakers_dir: Path = SPEAKERS_DIR,
) -> Speaker:
    """Make the package and install it; ``encoder`` for live sound (mode ``ave``), ``features`` for its own.

    Raises:
        SpeakerError: any of them cannot be used, or the exported network does not agree with the original.
    """
    check_name(name)
    dataset.count(folder)  # before the networks are read, which takes longer
    painter, side = load_painter(checkpoint, mode)
    if encoder is None and mode == "ave":
        raise SpeakerError(f"{checkpoint}: mode 'ave' hears with an audio encoder: give it with --encoder FILE.pth")
    if encoder is not None and mode != "ave":
        raise SpeakerError(f"{encoder}: mode '{mode}' has precomputed features and no encoder; leave --encoder out")
    table = _table(features or folder / FEATURE_FILES[mode], mode, needed=encoder is None, given=features is not None)
    speakers_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=speakers_dir, prefix=".import-") as scratch:
        out = Path(scratch) / name
        out.mkdir()
        crops, size = _write_frames(folder, side, most_frames, out)
        if encoder is not None:
            _export_encoder(load_encoder(encoder), out)
        difference = _export_painter(painter, side, mode, crops, out)
        if table is not None:
            np.save(out / "features.npy", table)
        (out / "LICENCE.txt").write_text(licence + "\n", encoding="utf-8")
        described = _manifest(out, name, title or name, licence, side, size, mode)
        (out / MANIFEST).write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")
        speaker = install(out, speakers_dir)
    log.info("imported", speaker=name, side=side, mode=mode, frames=described["base"]["count"], difference=difference)
    return speaker


def _table(path: Path, mode: Mode, *, needed: bool, given: bool) -> NDArray[np.float32] | None:
    """float32 [T, width]; None where there is none and none is needed."""
    if not path.is_file():
        if needed or given:
            raise SpeakerError(f"{path}: no such file; give the precomputed features with --features FILE.npy")
        return None
    try:
        table = np.load(path, allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise SpeakerError(f"{path}: not an array that NumPy can read without running code: {error}") from None
    width = WIDTHS[mode]
    if table.ndim < 2 or np.prod(table.shape[1:]) != width:
        raise SpeakerError(f"{path}: shape {table.shape}, expected (T, {width}) for mode '{mode}'")
    flat: NDArray[np.float32] = table.reshape(len(table), width).astype(np.float32)
    return flat


def _write_frames(folder: Path, side: int, most: int, out: Path) -> tuple[Sequence[dataset.Pixels], tuple[int, int]]:
    """Frames, crops, masks and placements. The first crops [side, side, 3] RGB, for the comparison, and the frames'
    (width, height)."""
    number_of = min(most, dataset.count(folder))
    parsing = (folder / dataset.PARSING).is_dir()
    for part in ("frames", "crops", *(("masks",) if parsing else ())):
        (out / part).mkdir()
    placements: list[NDArray[np.float64]] = []
    crops: list[dataset.Pixels] = []
    sizes: set[tuple[int, int]] = set()
    inner = slice(dataset.BORDER, -dataset.BORDER)
    for frame in track(dataset.frames(folder, side, most), "frames", total=number_of):
        shutil.copyfile(frame.jpeg, out / "frames" / f"{frame.number:05d}.jpg")
        crop = frame.crop[inner, inner]
        cv2.imwrite(str(out / "crops" / f"{frame.number:05d}.png"), cv2.cvtColor(crop, cv2.COLOR_RGB2BGR))
        if parsing:
            cv2.imwrite(str(out / "masks" / f"{frame.number:05d}.png"), frame.seen)
        placements.append(_placement(frame.square, side))
        sizes.add(frame.size)
        crops += [crop] if len(crops) < CHECKED else []
        if len(sizes) > 1:
            raise SpeakerError(f"{frame.jpeg}: {frame.size} pixels, the frames before have {sizes - {frame.size}}")
    if not parsing:
        cv2.imwrite(str(out / "mask.png"), np.full((side, side), 255, np.uint8))
    np.save(out / "placement.npy", np.stack(placements).astype(np.float32))
    return crops, sizes.pop()


def _placement(square: dataset.Square, side: int) -> NDArray[np.float64]:
    """[2, 3]: centres of painted pixels -> centres of the frame's."""
    scale = square.side / (side + 2 * dataset.BORDER)
    move = (dataset.BORDER + 0.5) * scale - 0.5
    return np.array([[scale, 0, square.x + move], [0, scale, square.y + move]])


def picture_of(crops: Sequence[dataset.Pixels], side: int) -> NDArray[np.float32]:
    """[n, 6, side, side]: what the network sees of crops [side, side, 3] RGB."""
    left, top, right, bottom = HIDDEN[side]
    own = np.stack(crops)[..., ::-1]
    hidden = own.copy()
    hidden[:, top : bottom + 1, left : right + 1] = 0
    seen: NDArray[np.float32] = np.concatenate([own, hidden], axis=3).transpose(0, 3, 1, 2).astype(np.float32)
    return seen / np.float32(255)


def _export_encoder(encoder: Encoder, out: Path) -> None:
    sample = np.random.default_rng(0).uniform(-4, 4, (2, ears.MOMENTS, ears.BANDS, ears.STEPS)).astype(np.float32)
    _export(ServedEncoder(encoder).eval(), {"features": sample}, "articulation", out / "articulator.onnx")
    save_file(encoder.state_dict(), out / "articulator.safetensors")


def _export_painter(painter: UNet, side: int, mode: Mode, crops: Sequence[dataset.Pixels], out: Path) -> float:
    sound = np.random.default_rng(1).standard_normal((len(crops), ears.MOMENTS * WIDTHS[mode])).astype(np.float32)
    given = {"articulation": sound, "image": picture_of(crops, side)}
    difference = _export(ServedPainter(painter, mode).eval(), given, "painted", out / "painter.onnx")
    save_file(painter.state_dict(), out / "painter.safetensors")
    return difference


def _export(network: nn.Module, given: dict[str, NDArray[np.float32]], made: str, path: Path) -> float:
    """Write the ONNX file; the largest difference from PyTorch's.

    Raises:
        SpeakerError: it is more than ``AGREE``.
    """
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    inputs = tuple(torch.from_numpy(value) for value in given.values())
    names = [*given, made]
    torch.onnx.export(
        network,
        inputs,
        str(path),
        input_names=list(given),
        output_names=[made],
        dynamic_axes={name: {0: "n"} for name in names},
        opset_version=OPSET,
        dynamo=False,
    )
    with torch.inference_mode():
        expected = network(*inputs).numpy()
    session = onnxruntime.InferenceSession(str(path), options(1), providers=["CPUExecutionProvider"])
    difference = float(np.abs(session.run([made], given)[0] - expected).max())
    scale = max(1.0, float(np.abs(expected).max()))  # an encoder's values are not bounded by 1
    if not difference <= AGREE * scale:
        raise SpeakerError(f"{path.name}: exported, it differs from PyTorch's by {difference:.2g}: report this")
    return difference


def _manifest(
    out: Path, name: str, title: str, licence: str, side: int, size: tuple[int, int], mode: Mode
) -> dict[str, Any]:
    hears = (out / "articulator.onnx").is_file()
    return {
        "format": 1,
        "name": name,
        "title": title,
        "description": f"Imported from a checkpoint in SyncTalk_2D's form: {side} pixels, mode {mode}.",
        "licence": licence,
        "front_end": ears.Ears.name,
        "lookahead_ms": ears.LOOKAHEAD_MS if hears else 0,
        "channels": [],
        "rest": [],
        "articulator": "articulator.onnx" if hears else None,
        "painter": "painter.onnx",
        "features": "features.npy" if (out / "features.npy").is_file() else None,
        "image": {"crops": "crops/{:05d}.png", "colour": "bgr", "hidden": list(HIDDEN[side])},
        "batch": 1,
        "precision": "float32",
        "mouth": {
            "width": side,
            "height": side,
            "mask": "masks/{:05d}.png" if (out / "masks").is_dir() else "mask.png",
        },
        "base": {
            "width": size[0],
            "height": size[1],
            "fps": 25,
            "count": sum(1 for _ in (out / "frames").iterdir()),
            "frames": "frames/{:05d}.jpg",
            "placement": "placement.npy",
            "order": "back-and-forth",
        },
        "files": digests(out),
    }
