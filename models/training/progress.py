"""One bar for a long piece of work: how much is done, and how long the rest will take."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


@contextmanager
def bar(title: str, total: int) -> Iterator[Progress]:
    """A bar with one task, the first of ``task_ids``."""
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        progress.add_task(title, total=total)
        yield progress
