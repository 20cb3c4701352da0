"""``python -m models.train``: see :mod:`models.training.__main__`."""

import sys

from models.training.__main__ import main

if __name__ == "__main__":
    sys.exit(main())
