"""Render a speaker: `python -m models.training.face.render ICT OUT --look default --what
mouth|full|eyes|sheet`.

Runs under a Python with `bpy`, resumes where it stopped: a finished picture is never rendered again. What is
rendered:

    mouth   OUT/mouth/00000.png ... one 160x160 crop for each row of OUT/articulations.npy [n, 7]
    full    OUT/full/neutral.png and background.png, 512x512, many samples
    eyes    OUT/eyes/<name>.png, the eyes' box in every stage of a blink and in every glance
    sheet   OUT/sheet/<name>.png, the whole face in every viseme, to look at
"""

import argparse
import time
from pathlib import Path
from typing import Final

import numpy as np
import structlog

from models.training.face import ict, identities, view
from models.training.face.sample import read_held_out
from models.training.face.scene import Stage
from models.training.face.visemes import VISEMES, articulation

log = structlog.get_logger()

EYES: Final[dict[str, dict[str, float]]] = {
    "open": {},
    "blink1": {"blink": 0.22},
    "blink2": {"blink": 0.48},
    "blink3": {"blink": 0.76},
    "blink4": {"blink": 1.0},
    "left": {"look_left": 0.10},
    "down": {"look_down": 0.12},
}


Pose = tuple[dict[str, float], dict[str, float]]
"""Channels of the mouth, weights of the eyes."""


def mouths(stage: Stage, out: Path, samples: int, limit: int, *, judged: bool = False) -> None:
    """The painter's training data, the first `limit` rows; with `judged` only the rows held out."""
    wanted = np.load(out / "articulations.npy")[:limit]
    held_out = read_held_out(out / "articulations.npy")
    folder = out / "mouth"
    folder.mkdir(parents=True, exist_ok=True)
    stage.pose({})
    stage.hide("hair")  # measured: not one pixel of the crop changes, and a frame takes a fifth less
    started, done = time.monotonic(), 0
    for number, row in enumerate(wanted):
        path = folder / f"{number:05d}.png"
        if path.exists() or (judged and not held_out[number]):
            continue
        stage.pose(stage.rig.weights(row.tolist()), lids=False)
        stage.render(path, view.MOUTH_BOX, samples)
        done += 1
        if done % 20 == 0:
            each = (time.monotonic() - started) / done
            log.info("mouth", number=number, of=len(wanted), seconds_each=round(each, 2))


def stills(
    stage: Stage,
    folder: Path,
    poses: dict[str, Pose],
    box: view.Box,
    samples: int,
) -> None:
    """Named pictures: name -> (channels of the mouth, weights of the eyes)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (mouth, eyes) in poses.items():
        path = folder / f"{name}.png"
        if path.exists():
            continue
        started = time.monotonic()
        stage.hide(but="screen" if name == "background" else "")
        stage.pose(stage.rig.weights(articulation(**mouth)), eyes)
        stage.render(path, box, samples)
        stage.hide()
        log.info("still", name=name, seconds=round(time.monotonic() - started, 1))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("ict", type=Path, help="a clone's FaceXModel folder, or a packed .npz")
    parser.add_argument("out", type=Path)
    parser.add_argument("--look", default="default", choices=sorted(identities.LOOKS))
    parser.add_argument("--what", default="mouth", choices=("mouth", "full", "eyes", "sheet", "crops"))
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--limit", type=int, default=1_000_000)
    parser.add_argument("--only", default="", help="names of stills, with commas between")
    parser.add_argument("--judged", action="store_true", help="only the mouths held out")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    stage = Stage(ict.load(args.ict), identities.LOOKS[args.look], args.threads)
    if args.what == "mouth":
        mouths(stage, args.out, args.samples, args.limit, judged=args.judged)
        return
    visemes: dict[str, Pose] = {k: (v, {}) for k, v in VISEMES.items()}
    eyes: dict[str, Pose] = {k: ({}, v) for k, v in EYES.items()}
    plans: dict[str, tuple[dict[str, Pose], view.Box]] = {
        "full": ({"neutral": ({}, {}), "background": ({}, {})}, view.FULL_BOX),
        "eyes": (eyes, view.EYES_BOX),
        "sheet": (visemes, view.FULL_BOX),
        "crops": (visemes, view.MOUTH_BOX),
    }
    table, box = plans[args.what]
    if args.only:
        table = {name: table[name] for name in args.only.split(",")}
    stills(stage, args.out / args.what, table, box, args.samples)


if __name__ == "__main__":
    main()
