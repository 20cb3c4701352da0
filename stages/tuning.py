"""Tuning by itself: where the machine cannot hold 25 frames a second in time, less is asked of it, step by step.

Once a second the edge looks at the frames of live streams that have left since: late is a second in which the 99th
percentile of their age is over the budget, or more than one in a hundred did not come; calm is one without a missing
frame whose 99th percentile is under 60 % of the budget. `step_s` late seconds in a row are a step down, `recover_s`
calm ones a step up; a step up that did not hold makes the next one wait twice as long, up to sixteen times.

    level   what is done, beside what the levels before it do
    0       everything
    1       no more than two windows are inferred together: none waits for many that came with it
    2       patches are encoded at a lower quality
    3       streams whose client leaves the choice (view `auto`) get patches
    4       every second chunk gets a frame: 12.5 a second
    5       every third: 8.3
"""

from typing import Final

import numpy as np
import structlog

from pipeline.audio import FRAME_RATE_HZ
from pipeline.config import TuningConfig

PAIRS: Final = 1
LOWER_QUALITY: Final = 2
PATCHES: Final = 3
_CHUNKS_A_FRAME: Final = (1, 1, 1, 1, 2, 3)
LAST: Final = len(_CHUNKS_A_FRAME) - 1
WORDS: Final = (
    "everything",
    "two windows together at most",
    "patches at a lower quality",
    "patches where the client lets us",
    "12.5 frames a second",
    "8.3 frames a second",
)
_MOST_MISSING: Final = 0.01
_CALM: Final = 0.6
"""Of the budget; the gap to what is late keeps it from going up and down."""
_LONGEST_WAIT: Final = 16

log = structlog.get_logger()


class Tuner:
    """Feed it what leaves and what does not; call `decide` once a second."""

    def __init__(self, config: TuningConfig) -> None:
        self._config = config
        self._ages_ms: list[float] = []
        self._missing = 0
        self._late_s = 0
        self._calm_s = 0
        self._wait = 1
        self._held_s = 0
        self._went_up = False
        self.level = 0

    @property
    def chunks_a_frame(self) -> int:
        """Every so many chunks of a live stream get a frame."""
        return _CHUNKS_A_FRAME[self.level]

    @property
    def frame_rate_hz(self) -> float:
        return round(FRAME_RATE_HZ / self.chunks_a_frame, 1)

    def left(self, age_ms: float) -> None:
        """A live frame has left, so old."""
        self._ages_ms.append(age_ms)

    def missed(self, count: int) -> None:
        """So many chunks that were to have a frame got none."""
        self._missing += count

    def decide(self) -> bool:
        """Once a second; whether the level is another one now."""
        ages, missing = self._ages_ms, self._missing
        self._ages_ms, self._missing = [], 0
        if not self._config.enabled:
            return False
        p99_ms = float(np.percentile(ages, 99)) if ages else 0.0
        late = p99_ms > self._config.budget_ms or missing > _MOST_MISSING * (len(ages) + missing)
        calm = p99_ms < _CALM * self._config.budget_ms and not missing
        self._late_s = self._late_s + 1 if late else 0
        self._calm_s = self._calm_s + 1 if calm else 0
        self._held_s += 1
        if self._late_s >= self._config.step_s and self.level < LAST:
            self._step(1, p99_ms, missing)
        elif self._calm_s >= self._config.recover_s * self._wait and self.level > 0:
            self._step(-1, p99_ms, missing)
        else:
            return False
        return True

    def _step(self, direction: int, p99_ms: float, missing: int) -> None:
        if direction > 0 and self._held_s < 2 * self._config.recover_s and self._went_up:
            self._wait = min(2 * self._wait, _LONGEST_WAIT)
        elif direction < 0 and self.level == 1:
            self._wait = 1
        self.level += direction
        self._went_up = direction < 0
        self._late_s = self._calm_s = self._held_s = 0
        log.warning(
            "tuned",
            level=self.level,
            means=WORDS[self.level],
            frames_a_second=self.frame_rate_hz,
            p99_ms=round(p99_ms, 1),
            missing=missing,
        )
