"""`python -m tests.growth`: how latency and processor time grow with the speaker's network and with its frame.

Makes variants of the default speaker (frames scaled; painters of the same shape with random weights, wider and
narrower), runs `python -m pipeline.bench` with each, and prints a table of the medians of several runs.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
import simplejpeg
import structlog
import torch
from rich.console import Console
from rich.table import Table

from models.cost import gflop
from models.speaker import MANIFEST, SPEAKERS_DIR, digests
from models.training.painter import MIDDLE, WIDTHS, Painter, write
from tests.running import config_with

log = structlog.get_logger()

FRAMES: Final = (256, 512, 1024)
"""Pixels a side."""
PAINTERS: Final = (0.5, 1.0, 2.0)
"""Times the usual number of channels."""
USUAL_FRAME: Final = 512
QUALITY: Final = 87
Change = Callable[[Path, dict[str, Any]], None]


def frame_of(side: int) -> Change:
    """The same pictures, scaled."""

    def change(folder: Path, manifest: dict[str, Any]) -> None:
        scale = side / USUAL_FRAME
        for path in sorted((folder / "frames").glob("*.jpg")):
            picture = simplejpeg.decode_jpeg(path.read_bytes())
            scaled = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
            path.write_bytes(simplejpeg.encode_jpeg(scaled, quality=QUALITY, colorsubsampling="420"))
        placement = np.load(folder / "placement.npy")
        np.save(folder / "placement.npy", (placement * scale).astype(np.float32))
        manifest["base"] |= {"width": side, "height": side}

    return change


def painter_of(times: float) -> Change:
    """A network of the same shape with so many times the channels, and random weights: its time is the same."""

    def change(folder: Path, manifest: dict[str, Any]) -> None:
        torch.manual_seed(0)
        widths = tuple(round(width * times) for width in WIDTHS)
        write(Painter(widths, round(MIDDLE * times)), folder / manifest["painter"])

    return change


def variant(folder: Path, change: Change) -> float:
    """Make it in ``folder``; GFLOP of its painter."""
    package = folder / "default"
    shutil.copytree(SPEAKERS_DIR / "default", package)
    manifest = json.loads((package / MANIFEST).read_text())
    change(package, manifest)
    manifest["files"] = digests(package)
    (package / MANIFEST).write_text(json.dumps(manifest))
    return gflop(package / manifest["painter"])


def measured(config: Path, runs: int, seconds: float) -> dict[str, float]:
    """Medians over the runs of one live session."""
    command = [sys.executable, "-m", "pipeline.bench", "--json", "--config", str(config)]
    command += ["--runs", str(runs), "--seconds", str(seconds)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    each = found if isinstance(found, list) else [found]
    return {
        "p50": statistics.median(run["latency_ms"]["p50"] for run in each),
        "p99": statistics.median(run["latency_ms"]["p99"] for run in each),
        "cpu": statistics.median(run["cpu_percent"] for run in each),
        "pss": statistics.median(run["pss_mb"] for run in each),
    }


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m tests.growth", description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=10.0)
    given = parser.parse_args()
    variants = {f"frame {side} x {side}": frame_of(side) for side in FRAMES}
    variants |= {f"painter x {times}": painter_of(times) for times in PAINTERS}
    table = Table(
        "variant", "painter, GFLOP", "p50, ms", "p99, ms", "processor, %", "PSS, MB", title="one live session"
    )
    for name, change in variants.items():
        with tempfile.TemporaryDirectory() as scratch:
            cost = variant(Path(scratch) / "speakers", change)
            settings = {r"\[pipeline\]": f'[pipeline]\nspeakers_dir = "{scratch}/speakers"'}
            figures = measured(config_with(Path(scratch), **settings), given.runs, given.seconds)
        log.info("measured", variant=name, gflop=round(cost, 3), **figures)
        cells = (f"{figures['p50']:.1f}", f"{figures['p99']:.1f}", f"{figures['cpu']:.0f}", f"{figures['pss']:.0f}")
        table.add_row(name, f"{cost:.2f}", *cells)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


if __name__ == "__main__":
    main()
