"""Stages that fail in ways that ours do not, for the tests of what holds them: named in a supervisor.toml as modules.

`python -m tests.faulty` is the mel stage, but it dies of a window whose newest sample is POISON, and does not start
while the file that LIPWIRE_TEST_BROKEN names is there.
"""

import os
import sys
from pathlib import Path

from pipeline.audio import samples_from_float32
from pipeline.messages import Message, Window
from pipeline.runtime import run_stage
from stages.mel import Mel
from tests.running import config_with

POISON = 0.666
BROKEN = "LIPWIRE_TEST_BROKEN"
LAST_WORDS = "the disc is gone"


def faulty_config(folder: Path, **changes: str) -> Path:
    """supervisor.toml with this mel stage and `changes`, see config_with."""
    return config_with(folder, **{'"stages.mel"': '"tests.faulty"'}, **changes)


def crash_loop_config(folder: Path) -> Path:
    """The same, in a crash loop after three failures, and out of it soon."""
    quick = "[process.mel.restart]\nbackoff_max_ms = 100\ncrash_loop = 3\nretry_s = 2\n\n[process.infer]"
    return faulty_config(folder, **{r"\[process\.infer\]": quick})


class FaultyMel(Mel):
    def warm_up(self) -> str:
        broken = os.environ.get(BROKEN)
        if broken and Path(broken).exists():
            sys.exit(LAST_WORDS)
        return super().warm_up()

    def work(self, batch: list[Message]) -> None:
        (message,) = batch
        if isinstance(message, Window) and not message.silent:
            newest = float(samples_from_float32(self._context.read(message.slot))[-1])
            if abs(newest - POISON) < 1e-6:
                os._exit(11)
        super().work(batch)


if __name__ == "__main__":
    run_stage("mel", FaultyMel)
