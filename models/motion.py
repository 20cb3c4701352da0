"""How a mouth gets from one frame's articulation to the next: a little inertia, none where the lips press."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.articulation import CHANNELS

INERTIA: Final = np.float32(0.1)
"""Share of the last frame that is left in the next one. On speakers never heard, a tenth takes 7 % of the jerk for 3 ms
of lag, and fits no worse; 0.2 takes twice that, for 8 ms (docs/training.md)."""
_PRESS: Final = CHANNELS.index("press")


def moved(last: NDArray[np.float32], target: NDArray[np.float32]) -> NDArray[np.float32]:
    """[7] what is shown, from what was shown [7] and what was heard [7]. A closure comes at once."""
    step: NDArray[np.float32] = target + (last - target) * (INERTIA * (1 - target[_PRESS]))
    return step


REST_FRAMES: Final = 5
"""200 ms from wherever the mouth was to rest."""


def towards_rest(last: NDArray[np.float32], rest: NDArray[np.float32]) -> NDArray[np.float32]:
    """[7] what is shown in silence, from what was shown [7]: no mouth jumps, and none takes longer than 200 ms."""
    step = np.float32(1 / REST_FRAMES)
    shown: NDArray[np.float32] = last + np.clip(rest - last, -step, step)
    return shown


def moved_along(targets: NDArray[np.float32]) -> NDArray[np.float32]:
    """[T, 7] what is shown of a whole recording."""
    shown = targets.copy()
    for frame in range(1, len(shown)):
        shown[frame] = moved(shown[frame - 1], targets[frame])
    return shown
