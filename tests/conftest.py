"""Fixtures that several test files share."""

from collections.abc import Iterator

import pytest

from tests.running import Pipeline, running


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pipeline]:
    """One running pipeline for all tests that leave it as they found it."""
    with running(tmp_path_factory.mktemp("pipeline") / "log.txt") as started:
        yield started
