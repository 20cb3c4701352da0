"""stages.ingest that hangs on SIGUSR1."""

from pipeline.runtime import run_stage
from stages.ingest import Ingest
from tests.hanging import hang_on_signal

if __name__ == "__main__":
    hang_on_signal()
    run_stage("ingest", Ingest)
