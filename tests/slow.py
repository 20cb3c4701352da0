"""`python -m tests.slow`: the mel stage on a machine that is too slow for three sessions."""

import time
from typing import Final

from pipeline.messages import Message, Window
from pipeline.runtime import run_stage
from stages.mel import Mel

WINDOW_S: Final = 0.025


class SlowMel(Mel):
    def work(self, batch: list[Message]) -> None:
        if isinstance(batch[0], Window):
            time.sleep(WINDOW_S)
        super().work(batch)


if __name__ == "__main__":
    run_stage("mel", SlowMel)
