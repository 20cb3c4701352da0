"""What is built can be installed, and what is installed runs: the page, the speakers and supervisor.toml are in it."""

import subprocess
import tarfile
from pathlib import Path

import pytest

from tests.installed import borrowing_environment, build, show
from tests.running import ROOT, running


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return build(tmp_path_factory.mktemp("dist"))


def test_the_wheel_runs_where_somebody_elses_modules_lie(built: tuple[Path, Path], tmp_path: Path) -> None:
    programs = borrowing_environment(tmp_path / "environment", built[1])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("models", "pipeline", "stages"):
        (elsewhere / f"{name}.py").write_text(f'raise SystemExit("{name}.py of the working folder was taken")\n')
    log = tmp_path / "log.txt"
    with running(log, program=[str(programs / "lipwire")], cwd=elsewhere) as pipeline:
        show(pipeline)
    assert "was taken" not in log.read_text()
    where = [str(programs / "python"), "-c", "import pipeline.config as c; print(c.default_config_path())"]
    found = subprocess.run(where, cwd=tmp_path, check=True, capture_output=True, text=True).stdout.strip()
    assert Path(found).is_relative_to(tmp_path / "environment")
    assert Path(found).read_bytes() == (ROOT / "supervisor.toml").read_bytes()


def test_the_source_distribution_has_all_that_git_has(built: tuple[Path, Path]) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    tracked = {name for name in listed.split("\0") if name and not name.startswith(".ci/")}
    with tarfile.open(built[0]) as archive:
        packed = {"/".join(name.split("/")[1:]) for name in archive.getnames()}
    assert tracked - packed == set()
    assert {name for name in packed - tracked if name.endswith((".whl", ".pth", ".mp4"))} == set()
