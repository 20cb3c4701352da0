"""`python -m tests.installed WHEEL`: the wheel in a new environment, run from a folder where nothing of lipwire is.

Downloads what it needs; `--python python3.13` takes another Python, which may be said several times. Says how many
megabytes were installed. `make package` builds the wheel first. The tests use the pieces without a download.
"""

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import urllib.request
from pathlib import Path
from typing import Final

from websockets.sync.client import connect

from tests.running import ROOT, Pipeline, running

JPEG: Final = "/9j/"
"""How the base64 of every JPEG begins."""
_MB: Final = 1_000_000


def build(into: Path) -> tuple[Path, Path]:
    """(source distribution, the wheel made of it), by what is installed here."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(into), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (source,), (wheel,) = into.glob("*.tar.gz"), into.glob("*.whl")
    return source, wheel


def borrowing_environment(folder: Path, wheel: Path) -> Path:
    """The folder of programs of a new environment with this wheel, and of everything else what is installed here."""
    python = folder / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True)
    # Behind the wheel, and after its installation: this checkout, installed here for editing, is not seen through it.
    here = sysconfig.get_path("purelib")
    (site,) = folder.glob("lib/python3*/site-packages")
    (site / "borrowed.pth").write_text(f"{here}\n")
    return python.parent


def new_environment(folder: Path, wheel: Path, python: str) -> tuple[Path, int]:
    """The folder of programs of a new environment with this wheel and what it needs, downloaded; bytes installed."""
    subprocess.run([python, "-m", "venv", str(folder)], check=True)
    empty = _bytes_in(folder)
    pip = [str(folder / "bin" / "pip"), "--disable-pip-version-check", "install", "--quiet", "--no-compile"]
    subprocess.run([*pip, str(wheel)], check=True)
    return folder / "bin", _bytes_in(folder) - empty


def _bytes_in(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file())


def show(pipeline: Pipeline) -> str:
    """The page, and the frame of a silent window: base64."""
    with urllib.request.urlopen(pipeline.address, timeout=10) as response:
        page = response.read().decode()
    assert "<title>lipwire" in page, page[:200]
    silence = "A" * 40_960  # 15,360 int16 samples
    with connect(pipeline.ws, max_size=None) as socket:
        socket.send(
            json.dumps({"action": "generate_frame", "frame_id": 0, "audio_data": silence, "use_real_audio": True})
        )
        frame: str = json.loads(socket.recv(10))["frame_data"]
    assert frame.startswith(JPEG)
    return frame


def _try(wheel: Path, python: str) -> str:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        programs, installed = new_environment(folder / "environment", wheel, python)
        empty = folder / "empty"
        empty.mkdir()
        with running(folder / "log.txt", program=[str(programs / "lipwire")], cwd=empty) as pipeline:
            show(pipeline)
            asked = [str(programs / "python"), "-m", "models", "list"]
            subprocess.run(asked, cwd=empty, check=True, stdout=subprocess.DEVNULL)
            sample = next((folder / "environment").glob("lib/python3*/site-packages/webclient/sample.wav"))
            rendered = [str(programs / "python"), "-m", "pipeline.render", str(sample), "sample.mp4"]
            subprocess.run([*rendered, "--url", pipeline.ws], cwd=empty, check=True, capture_output=True)
        assert [path.name for path in empty.iterdir()] == ["sample.mp4"]
    return f"{python}: runs; wheel {wheel.stat().st_size / _MB:.1f} MB, installed {installed / _MB:.0f} MB\n"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m tests.installed", description=__doc__)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--python", action="append", help="default: the one that runs this")
    arguments = parser.parse_args()
    os.environ.pop("PYTHONPATH", None)
    for python in arguments.python or [sys.executable]:
        sys.stdout.write(_try(arguments.wheel.resolve(), python))
        sys.stdout.flush()


if __name__ == "__main__":
    main()
