"""Numbers too small to matter, which cost ten times the time of others: dying weights become such while one trains."""

from collections.abc import Iterable, Iterator

import torch


def each_flushed(steps: Iterable[int]) -> Iterator[int]:
    """The steps; while they last, this thread takes such numbers for 0. Afterwards it has them again."""
    torch.set_flush_denormal(True)
    try:
        yield from steps
    finally:
        torch.set_flush_denormal(False)
