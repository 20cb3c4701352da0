"""stages.edge that hangs on SIGUSR1."""

from stages.edge import main
from tests.hanging import hang_on_signal

if __name__ == "__main__":
    hang_on_signal()
    main()
