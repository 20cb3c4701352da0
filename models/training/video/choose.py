"""Which frames the painter learns from, and which only judge it."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.training.face.sample import SPREAD
from models.training.video.read import FPS

MOST: Final = 2_000
"""Frames to learn from: 150 MB; more of the same mouths teach nothing. Of a video of 3 minutes, about every second."""
BLOCK_S: Final = 4
"""Frames are held out in blocks: neighbours are nearly the same picture, and would judge nothing."""
TURN: Final = 10
"""Every tenth block is held out."""
MOST_JUDGED: Final = 300


def held_out(count: int) -> NDArray[np.bool_]:
    """[count] which frames of a video are for judging only; of a short one the last tenth."""
    block = min(BLOCK_S * FPS, -(-count // TURN))
    return np.asarray(np.arange(count) // block % TURN == TURN - 1)


def choose(
    vectors: NDArray[np.float32], known: NDArray[np.bool_], most: int = MOST, seed: int = 1
) -> NDArray[np.int64]:
    """Frames of a video by their articulation [T, 7], in the order of time: of those to learn from half the mouths that
    are furthest from all others chosen, so that rare ones are not lost, half at random; and those to judge."""
    rng = np.random.default_rng(seed)
    judged = held_out(len(vectors))
    pool, judging = np.flatnonzero(known & ~judged), np.flatnonzero(known & judged)
    if len(judging) > MOST_JUDGED:
        judging = rng.choice(judging, MOST_JUDGED, replace=False)
    if len(pool) > most:
        far = pool[_furthest(vectors[pool] * SPREAD, most // 2)]
        rest = np.setdiff1d(pool, far)
        pool = np.concatenate([far, rng.choice(rest, most - len(far), replace=False)])
    return np.sort(np.concatenate([pool, judging]))


def _furthest(points: NDArray[np.float32], count: int) -> NDArray[np.int64]:
    """Rows of [n, 7]: in turn the one furthest from all chosen before, from the first on."""
    chosen = [0]
    distance = np.full(len(points), np.inf)
    for _ in range(count - 1):
        distance = np.minimum(distance, ((points - points[chosen[-1]]) ** 2).sum(1))
        chosen.append(int(np.argmax(distance)))
    return np.unique(chosen)
