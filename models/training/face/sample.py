"""Choose which mouths to render: `python -m models.training.face.sample SPEECH OUT.npy --count 1400`.

SPEECH holds `*.phones.tsv` files (start s, end s, phone). Mouths are drawn along the articulation tracks of
that speech, not on a grid, in an order of which every beginning is a good training set: the visemes first,
then, in turn, the mouth furthest from all chosen ones, a mouth at random, a mix of two, and one held out
(`held_out`), never trained on and drawn from utterances that none of the others come from.
"""

import argparse
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import structlog

from models.articulation import CHANNELS
from models.training.articulate import Phone, articulate
from models.training.face.visemes import VISEMES, articulation

log = structlog.get_logger()

Vectors = npt.NDArray[np.float32]

FRAME_S: Final = 0.04
TURN: Final = 5
"""Every fifth mouth is held out."""
SPREAD: Final = np.array([1.0, 1.5, 1.0, 1.2, 1.0, 1.0, 0.6], np.float32)
"""How much each channel counts in the distance of two mouths: by how much of the picture it changes."""


def held_out(count: int, judged_from: int, judged: int) -> npt.NDArray[np.bool_]:
    """[count] which rows are for judging only: every fifth, and a block, so that a short run has enough."""
    rows = np.arange(count)
    block = (rows >= judged_from) & (rows < judged_from + judged)
    return np.asarray((rows % TURN == TURN - 1) | block)


def read_held_out(articulations: Path) -> npt.NDArray[np.bool_]:
    """[count] of a sample that `main` wrote."""
    return np.asarray(np.load(articulations.with_name("held_out.npy")), np.bool_)


def read_phones(path: Path) -> list[Phone]:
    """One utterance's alignment."""
    rows = (line.split("\t") for line in path.read_text().splitlines() if line.strip())
    return [Phone(float(row[0]), float(row[1]), row[2]) for row in rows]


def tracks(paths: list[Path]) -> Vectors:
    """[t, 7] every frame of every utterance."""
    out = []
    for path in paths:
        phones = read_phones(path)
        out.append(articulate(phones, np.arange(0.0, phones[-1].end_s, FRAME_S)))
    return np.concatenate(out).astype(np.float32)


def clamp(vectors: Vectors) -> Vectors:
    """Within each channel's range: 0..1, and -1..1 for width."""
    low = np.array([-1.0 if name == "width" else 0.0 for name in CHANNELS], np.float32)
    return np.clip(vectors, low, 1.0).astype(np.float32)


def choose(train: Vectors, judge: Vectors, judged: npt.NDArray[np.bool_], seed: int = 1) -> Vectors:
    """[count, 7] in the order of rendering, from frames [t, 7] to train on and [u, 7] for rows held out."""
    rng = np.random.default_rng(seed)
    pool = train[rng.choice(len(train), min(len(train), 20000), replace=False)]
    # jitter, so that what a network makes of unseen voices lies inside what was rendered; closures stay exact
    noisy = pool + rng.normal(size=pool.shape).astype(np.float32) * 0.06 * (rng.random((len(pool), 1)) < 0.5)
    noisy[pool[:, 1] < 0.02] = pool[pool[:, 1] < 0.02]
    noisy = clamp(noisy.astype(np.float32))
    stretched = clamp(noisy * rng.uniform(1.0, 1.35, (len(noisy), 1)).astype(np.float32))
    pool = np.concatenate([noisy, stretched[::3]])
    visemes = [np.array(articulation(**channels), np.float32) for channels in VISEMES.values()]
    chosen: list[npt.NDArray[np.float32]] = []
    distance = np.full(len(pool), np.inf)

    def take(vector: npt.NDArray[np.float32]) -> None:
        nonlocal distance
        chosen.append(vector)
        distance = np.minimum(distance, (((pool - vector) * SPREAD) ** 2).sum(1))

    for row, judging in enumerate(judged):
        turn = row % TURN
        if judging:
            chosen.append(judge[rng.integers(len(judge))])
        elif visemes:
            take(visemes.pop(0))
        elif turn in (0, 2):
            take(pool[int(np.argmax(distance))])
        elif turn == 1:
            take(pool[rng.integers(len(pool))])
        else:
            a, b = pool[rng.integers(len(pool), size=2)]
            take((a + (b - a) * np.float32(rng.random())).astype(np.float32))
    return np.stack(chosen)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("speech", type=Path, help="a folder with *.phones.tsv")
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=1400)
    parser.add_argument("--judged-from", type=int, default=500, help="where the block held out begins")
    parser.add_argument("--judged", type=int, default=110, help="its length")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    paths = sorted(args.speech.glob("*.phones.tsv"))
    judged = paths[::6]
    rows = held_out(args.count, args.judged_from, args.judged)
    sample = choose(tracks([p for p in paths if p not in judged]), tracks(judged), rows, args.seed)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    np.save(args.out, sample)
    np.save(args.out.with_name("held_out.npy"), rows)
    log.info("chosen", mouths=len(sample), utterances=len(paths), held_out=int(rows.sum()))


if __name__ == "__main__":
    main()
