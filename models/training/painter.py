"""The painter: an articulation [n, 7] -> the pixels of one speaker's mouth [n, 160, 160, 3], learned from
renders.

    python -m models.training.painter fit RENDERS OUT                 # resumes from OUT/painter.pt
    python -m models.training.painter export OUT/painter.pt painter.onnx
    python -m models.training.painter score RENDERS painter.onnx      # JSON: PSNR and SSIM on renders held
    out

RENDERS is what `models.training.face.render` writes: `articulations.npy` and `mouth/00000.png`, ...
"""

import argparse
import copy
import itertools
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import structlog
import torch
import torch.nn.functional as F
from rich.progress import Progress
from torch import Tensor, nn

from models.articulation import CHANNELS
from models.training.denormals import each_flushed
from models.training.face.sample import read_held_out
from models.training.half import halve

log = structlog.get_logger()

Pixels = npt.NDArray[np.uint8]
Vectors = npt.NDArray[np.float32]

WIDTHS: Final = (48, 32, 24, 16)
"""Channels of the maps of 5, 10, 20 and 40 pixels a side."""
MIDDLE: Final = 32
"""Channels between the two convolutions at 40 pixels a side."""
PATCH: Final = 4
"""The last convolution says a patch of so many pixels a side of each place: 40 become 160."""
SIDES: Final = (5, 10, 20, 40)
SMALLEST: Final = SIDES[0]
HIDDEN: Final = 64
RGB: Final = 3
WHITE: Final = 255.0
SLOPE: Final = 0.1
"""Of the leaky rectifiers, below 0."""
OPSET: Final = 17


def spread(x: Tensor, side: int, channels: int, times: int) -> Tensor:
    """[n, side, side, times * times * channels] -> [n, side * times, side * times, channels]: a pixel shuffle (Shi et
    al. 2016) whose channels lie row by row, column by column, colour last.

    In this order it moves whole rows of a patch at once. ONNX Runtime's own DepthToSpace moves single numbers, and took
    a third of the time of a network built of it.
    """
    x = x.reshape(-1, side, side, times, times * channels)
    return x.permute(0, 1, 3, 2, 4).reshape(-1, side * times, side * times, channels)


def gathered(pixels: Tensor) -> Tensor:
    """[n, 160, 160, c] -> [n, 40, 40, 16 c]: what :func:`spread` makes pixels of."""
    n, side, _, channels = pixels.shape
    x = pixels.reshape(n, side // PATCH, PATCH, side // PATCH, PATCH * channels)
    return x.permute(0, 1, 3, 2, 4).reshape(n, side // PATCH, side // PATCH, PATCH * PATCH * channels)


class Painter(nn.Module):  # type: ignore[misc]
    """Three dense layers, a 5x5 map, three 3x3 convolutions that each double its side, and two at 40 pixels a side, the
    last of which says a patch of 4x4 pixels.

    To every map, and to the patches, a learned one of the same size is added: what never moves (the skin, its pores) is
    stored there, and the convolutions need only paint what does. 0.08 GFLOP (two per multiplication and addition) for a
    frame. Nothing is computed at 160 pixels a side: there, memory costs more than arithmetic.
    """

    def __init__(self, widths: Sequence[int] = WIDTHS, middle: int = MIDDLE) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.dense = nn.Sequential(
            nn.Linear(len(CHANNELS), HIDDEN),
            nn.SiLU(),
            nn.Linear(HIDDEN, HIDDEN),
            nn.SiLU(),
            nn.Linear(HIDDEN, widths[0] * SMALLEST * SMALLEST),
        )
        pairs = list(itertools.pairwise(widths))
        self.doubling = nn.ModuleList(nn.Conv2d(a, 4 * b, 3, padding=1) for a, b in pairs)
        self.maps = nn.ParameterList(
            nn.Parameter(torch.zeros(1, side, side, b)) for side, (_, b) in zip(SIDES[1:], pairs, strict=True)
        )
        self.middle = nn.Conv2d(widths[-1], middle, 3, padding=1)
        self.patches = nn.Conv2d(middle, PATCH * PATCH * RGB, 3, padding=1)
        self.still = nn.Parameter(torch.zeros(1, SIDES[-1], SIDES[-1], PATCH * PATCH * RGB))
        low = torch.tensor([-1.0 if name == "width" else 0.0 for name in CHANNELS])
        self.register_buffer("low", low)

    def forward(self, articulation: Tensor) -> Tensor:
        """[n, 7] -> [n, 160, 160, 3], 0..1 but for overshoot."""
        return spread(self.patched(articulation), SIDES[-1], RGB, PATCH)

    def patched(self, articulation: Tensor) -> Tensor:
        """The same pixels, [n, 40, 40, 48], patch by patch."""
        x = torch.minimum(torch.maximum(articulation, self.low), torch.ones_like(self.low))
        x = F.leaky_relu(self.dense(x), SLOPE).reshape(-1, self.widths[0], SMALLEST, SMALLEST)
        for side, convolution, still, channels in zip(SIDES, self.doubling, self.maps, self.widths[1:], strict=False):
            x = F.leaky_relu(convolution(x), SLOPE).permute(0, 2, 3, 1)
            x = (spread(x, side, channels, 2) + still).permute(0, 3, 1, 2)
        x = F.leaky_relu(self.middle(x), SLOPE)
        return cast(Tensor, self.patches(x).permute(0, 2, 3, 1) + self.still)


class Serving(nn.Module):  # type: ignore[misc]
    """The painter as served: bytes. What scales and rounds them is in the last convolution's weights; they are spread
    as bytes, a quarter of what the numbers take."""

    def __init__(self, painter: Painter) -> None:
        super().__init__()
        self.painter = copy.deepcopy(painter)
        with torch.no_grad():
            self.painter.patches.weight.mul_(WHITE)
            self.painter.patches.bias.mul_(WHITE)
            self.painter.still.mul_(WHITE).add_(0.5)  # a cast to bytes cuts off

    def forward(self, articulation: Tensor) -> Tensor:
        """[n, 7] float32 -> [n, 160, 160, 3] uint8."""
        patches = torch.clamp(self.painter.patched(articulation), 0.0, WHITE).to(torch.uint8)
        return spread(patches, SIDES[-1], RGB, PATCH)


def gflop() -> float:
    """Of one frame, counting a multiplication and an addition as two."""
    dense = len(CHANNELS) * HIDDEN + HIDDEN * HIDDEN + HIDDEN * WIDTHS[0] * SMALLEST * SMALLEST
    doubling = sum(s * s * a * 9 * 4 * b for s, (a, b) in zip(SIDES, itertools.pairwise(WIDTHS), strict=False))
    last = SIDES[-1] ** 2 * 9 * MIDDLE * (WIDTHS[-1] + PATCH * PATCH * RGB)
    return 2 * float(dense + doubling + last) / 1e9


def read(renders: Path) -> tuple[Vectors, Pixels, npt.NDArray[np.bool_]]:
    """Articulations [n, 7], crops [n, 160, 160, 3] RGB, which are held out [n]; of those rendered so far."""
    from PIL import Image

    wanted = np.load(renders / "articulations.npy")
    numbers = [i for i in range(len(wanted)) if (renders / "mouth" / f"{i:05d}.png").is_file()]
    crops = [np.asarray(Image.open(renders / "mouth" / f"{i:05d}.png").convert("RGB")) for i in numbers]
    return (
        wanted[numbers].astype(np.float32),
        np.stack(crops),
        read_held_out(renders / "articulations.npy")[numbers],
    )


def attention(crops: Pixels) -> Tensor:
    """[1, 160, 160, 1] the loss's weight, mean 1: a pixel counts more the more it varies over the renders."""
    spread = crops.astype(np.float32).std(0).mean(-1)
    weight = 0.5 + np.minimum(spread / spread.mean(), 6.0)
    return torch.from_numpy((weight / weight.mean()).astype(np.float32))[None, ..., None]


def dissimilarity(a: Tensor, b: Tensor) -> Tensor:
    """[n, h, w, c] -> [n, h, w, c] 1 - SSIM over 7x7 windows (Wang et al. 2004; flat windows: faster)."""

    def mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(x, 7, 1, 3, count_include_pad=False)

    a, b = (x.permute(0, 3, 1, 2).contiguous() for x in (a, b))  # pooling is several times faster in this order
    ma, mb = mean(a), mean(b)
    va, vb, cov = mean(a * a) - ma * ma, mean(b * b) - mb * mb, mean(a * b) - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    unlike: Tensor = 1 - (2 * ma * mb + c1) * (2 * cov + c2) / ((ma * ma + mb * mb + c1) * (va + vb + c2))
    return unlike.permute(0, 2, 3, 1)


def loss(painted: Tensor, wanted: Tensor, weight: Tensor, *, structure: bool) -> Tensor:
    """L1 and half the L1 of the gradients, weighted by `attention`; with `structure` 0.03 (1 - SSIM) as well.

    The similarity costs twice what the network does: it is left for the last part of the training.
    """
    error = (painted - wanted) * weight
    total = error.abs().mean() + 0.5 * (error.diff(dim=2).abs().mean() + error.diff(dim=1).abs().mean())
    if structure:
        total = total + 0.03 * (dissimilarity(painted, wanted) * weight).mean()
    return total


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that a fit depends on beside its renders."""

    steps: int = 6_000
    batch: int = 8
    rate: float = 3e-3
    seed: int = 1


STORED_EVERY: Final = 100
"""Steps: what an interruption may cost."""


def _rows(count: int, size: int, step: int, seed: int) -> npt.NDArray[np.int64]:
    """The rows of one batch: every row once in every pass, each pass in an order of its own."""
    each_pass, place = divmod(step, count // size)
    order = np.random.default_rng([seed, each_pass]).permutation(count)
    return order[place * size : (place + 1) * size]


@dataclass
class _Fit:
    """A fit under way, and all that is stored so that an interrupted one goes on exactly where it was."""

    painter: Painter
    steady: Painter
    """The running mean of the weights: what is kept."""
    optimiser: torch.optim.Optimizer
    step: int = 0

    def store(self, path: Path, recipe: Recipe) -> None:
        partial = path.with_suffix(".partial")
        parts = {"painter": self.painter, "steady": self.steady, "optimiser": self.optimiser}
        state = {name: part.state_dict() for name, part in parts.items()}
        torch.save({**state, "step": self.step, "recipe": asdict(recipe)}, partial)
        partial.replace(path)

    def resume(self, path: Path, recipe: Recipe) -> None:
        """Nothing happens where there is no fit of the same recipe."""
        if not path.is_file():
            return
        stored = torch.load(path, weights_only=True, map_location="cpu")
        if stored["recipe"] != asdict(recipe):
            return
        self.painter.load_state_dict(stored["painter"])
        self.steady.load_state_dict(stored["steady"])
        self.optimiser.load_state_dict(stored["optimiser"])
        self.step = int(stored["step"])
        log.info("resumed", path=str(path), step=self.step)


def fit(
    renders: Path,
    out: Path,
    recipe: Recipe,
    threads: int = 1,
    progress: Callable[[int], object] = lambda _done: None,
    device: str = "cpu",
) -> Path:
    """Train for ``recipe.steps`` batches; resumes from ``out/painter.pt`` if a fit of the same recipe and the same
    renders was interrupted. ``progress`` is told after each step how many are done. ``device`` is PyTorch's name of
    what computes; ``cuda`` was not measured. Where the fit is."""
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(threads)
    vectors, crops, judged = read(renders)
    x = torch.from_numpy(vectors[~judged]).to(device)
    y = torch.from_numpy(crops[~judged]).to(device)
    jx, jy = torch.from_numpy(vectors[judged]), crops[judged]
    weight = attention(crops[~judged]).to(device)
    painter, steady = Painter().to(device), Painter().to(device)
    with torch.no_grad():
        painter.still.copy_(gathered(y.float().mean(0, keepdim=True)) / WHITE)
        painter.patches.weight.mul_(0.1)
    steady.load_state_dict(painter.state_dict())
    painter = painter.to(memory_format=torch.channels_last)
    now = _Fit(painter, steady, torch.optim.AdamW(painter.parameters(), recipe.rate, (0.9, 0.98), weight_decay=1e-4))
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "painter.pt"
    now.resume(checkpoint, recipe)
    for _ in each_flushed(range(now.step, recipe.steps)):
        _step(now, recipe, x, y, weight)
        progress(now.step)
        if now.step % STORED_EVERY == 0:
            now.store(checkpoint, recipe)
            peak = psnr(paint(steady, jx[:64]), jy[:64]).mean() if len(jx) else float("nan")
            log.info("fit", step=now.step, of=recipe.steps, psnr=round(float(peak), 2))
    now.store(checkpoint, recipe)
    return checkpoint


def _step(fit: _Fit, recipe: Recipe, x: Tensor, y: Tensor, weight: Tensor) -> None:
    """One batch: linear warm-up over 100, then half a cosine down to a fiftieth of the rate."""
    done = fit.step / recipe.steps
    warm = min(1.0, (fit.step + 1) / 100)
    for group in fit.optimiser.param_groups:
        group["lr"] = recipe.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))
    rows = _rows(len(x), min(recipe.batch, len(x)), fit.step, recipe.seed)
    error = loss(fit.painter(x[rows]), y[rows].float() / WHITE, weight, structure=done > 0.75)
    fit.optimiser.zero_grad()
    error.backward()
    nn.utils.clip_grad_norm_(fit.painter.parameters(), 1.0)
    fit.optimiser.step()
    fit.step += 1
    keep = min(0.995, fit.step / (fit.step + 20))
    with torch.no_grad():
        for mean, latest in zip(fit.steady.parameters(), fit.painter.parameters(), strict=True):
            mean.lerp_(latest, 1 - keep)


def paint(painter: Painter, vectors: Tensor) -> Pixels:
    """[n, 7] -> [n, 160, 160, 3] in batches."""
    served = Serving(painter).eval().cpu()
    with torch.no_grad():
        return np.concatenate([served(part).numpy() for part in vectors.split(16)])


def psnr(a: Pixels, b: Pixels) -> npt.NDArray[np.float64]:
    """[n] decibels of each frame."""
    error = ((a.astype(np.float64) - b.astype(np.float64)) ** 2).mean((1, 2, 3))
    return np.asarray(10 * np.log10(255**2 / np.maximum(error, 1e-9)))


def ssim(a: Pixels, b: Pixels) -> npt.NDArray[np.float64]:
    """[n] mean structural similarity of RGB (Wang et al. 2004: 11x11 Gaussian of sigma 1.5, K1 0.01, K2
    0.03).
    """
    import cv2

    def mean(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(cv2.GaussianBlur(x, (11, 11), 1.5))[5:-5, 5:-5]

    values = []
    for first, second in zip(a.astype(np.float64), b.astype(np.float64), strict=True):
        ma, mb = mean(first), mean(second)
        va = mean(first * first) - ma * ma
        vb = mean(second * second) - mb * mb
        cov = mean(first * second) - ma * mb
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        values.append(((2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))).mean())
    return np.array(values)


def export(checkpoint: Path, path: Path) -> None:
    """Write the ONNX file: input "articulation" [n, 7] float32, output "pixels" [n, 160, 160, 3] uint8."""
    painter = Painter()
    painter.load_state_dict(torch.load(checkpoint, weights_only=True, map_location="cpu")["steady"])
    write(painter, path)
    log.info("exported", path=str(path), kilobytes=path.stat().st_size // 1024, gflop=round(gflop(), 3))


def write(painter: Painter, path: Path) -> None:
    """As :func:`export`, of a network at hand."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.onnx.export(
        Serving(painter).eval(),
        (torch.zeros(2, len(CHANNELS)),),
        str(path),
        input_names=["articulation"],
        output_names=["pixels"],
        dynamic_axes={"articulation": {0: "n"}, "pixels": {0: "n"}},
        opset_version=OPSET,
        dynamo=False,
    )
    halve(path)


def score(renders: Path, path: Path) -> dict[str, Any]:
    """How near the exported painter comes to renders that it was never trained on."""
    import onnxruntime

    vectors, crops, judged = read(renders)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    painted = []
    times = []
    for vector in vectors[judged]:
        started = time.perf_counter()
        painted.append(session.run(None, {"articulation": vector[None]})[0][0])
        times.append(time.perf_counter() - started)
    result = np.stack(painted)
    wanted = crops[judged]
    inner = (slice(None), slice(36, 116), slice(36, 124))
    peaks, alike = psnr(result, wanted), ssim(result, wanted)
    return {
        "frames": len(result),
        "trained_on": int((~judged).sum()),
        "psnr": round(float(peaks.mean()), 2),
        "psnr_worst": round(float(peaks.min()), 2),
        "psnr_lips": round(float(psnr(result[inner], wanted[inner]).mean()), 2),
        "ssim": round(float(alike.mean()), 4),
        "ssim_worst": round(float(alike.min()), 4),
        "ssim_lips": round(float(ssim(result[inner], wanted[inner]).mean()), 4),
        "milliseconds": round(1000 * float(np.median(times)), 2),
        "gflop": round(gflop(), 3),
    }


def main() -> None:
    """The command line."""
    usual = Recipe()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    fitting = commands.add_parser("fit")
    fitting.add_argument("renders", type=Path)
    fitting.add_argument("out", type=Path)
    fitting.add_argument("--steps", type=int, default=usual.steps, help="(%(default)s)")
    fitting.add_argument("--seed", type=int, default=usual.seed)
    fitting.add_argument("--device", default="cpu", help="PyTorch's name of what computes (%(default)s)")
    fitting.add_argument("--threads", type=int, default=1, help="more than are free is slower than one")
    exporting = commands.add_parser("export")
    exporting.add_argument("checkpoint", type=Path)
    exporting.add_argument("onnx", type=Path)
    scoring = commands.add_parser("score")
    scoring.add_argument("renders", type=Path)
    scoring.add_argument("onnx", type=Path)
    scoring.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.command == "fit":
        recipe = Recipe(steps=args.steps, seed=args.seed)
        with Progress() as bar:
            task = bar.add_task("painter", total=recipe.steps)
            fit(
                args.renders, args.out, recipe, args.threads, lambda done: bar.update(task, completed=done), args.device
            )
    elif args.command == "export":
        export(args.checkpoint, args.onnx)
    else:
        result = score(args.renders, args.onnx)
        log.info("score", **result)
        if args.out:
            args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
