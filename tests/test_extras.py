"""What a command needs beside the core: named, with what to type."""

import pytest

from pipeline.extras import needs


def test_what_is_there_is_imported() -> None:
    with needs("otel"):
        import json
    assert json.dumps([]) == "[]"


def test_what_is_missing_is_said_with_the_command_that_installs_it() -> None:
    with (
        pytest.raises(SystemExit, match=r"needs the package gone\.away: pip install 'lipwire\[train,bench\]'"),
        needs("train", "bench"),
    ):
        raise ModuleNotFoundError(name="gone.away")
