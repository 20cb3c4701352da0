"""Packages that only some commands need: where one is missing, the command says how to install it.

with needs("otel"):
    from opentelemetry.trace import Tracer
"""

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def needs(*extras: str) -> Iterator[None]:
    """Imports that come with these extras of lipwire; ends the process with what to type where they are not there."""
    try:
        yield
    except ModuleNotFoundError as error:
        wanted = ",".join(extras)
        sys.exit(
            f"lipwire: this needs the package {error.name}: pip install 'lipwire[{wanted}]', "
            f"or in a clone .venv/bin/pip install -c constraints.txt -e '.[{wanted}]'"
        )
