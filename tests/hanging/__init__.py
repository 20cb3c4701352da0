"""The stages as they are, but hanging for half a minute on SIGUSR1: what a fault in native code or a dead disc does.

Named in a supervisor.toml instead of stages.NAME; the hang is in the main thread, wherever it is at that moment.
"""

import signal
import time
from typing import Final

HANG_S: Final = 30.0


def hang_on_signal() -> None:
    """From now on, SIGUSR1 hangs this process."""
    signal.signal(signal.SIGUSR1, lambda _number, _frame: time.sleep(HANG_S))
