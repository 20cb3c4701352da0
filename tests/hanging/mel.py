"""stages.mel that hangs on SIGUSR1."""

from pipeline.runtime import run_stage
from stages.mel import Mel
from tests.hanging import hang_on_signal

if __name__ == "__main__":
    hang_on_signal()
    run_stage("mel", Mel)
