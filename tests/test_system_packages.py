"""scripts/system-packages.sh, with an apt-get and an id of the test's own: nothing is installed here."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parent.parent / "scripts" / "system-packages.sh"
TOOLS = ("sh", "grep", "sed", "find", "ldconfig", "cat")


def program(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.unlink(missing_ok=True)  # never write through a link to the real one
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def bin_folder(tmp_path: Path) -> Path:
    """A PATH on which there is little but a shell."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        if (found := shutil.which(tool, path="/usr/bin:/bin:/usr/sbin:/sbin")) is not None:
            (folder / tool).symlink_to(found)
    return folder


def run(bin_folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {"PATH": str(bin_folder), "PYTHON": sys.executable}
    command = [str(SCRIPT), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_root_with_apt_gets_what_is_missing_and_is_asked_nothing(bin_folder: Path) -> None:
    log = bin_folder.parent / "apt.log"
    program(bin_folder, "id", "echo 0")
    program(bin_folder, "apt-get", f'echo "$DEBIAN_FRONTEND $*" >>{log}; cat >>{log}')
    done = run(bin_folder, "tests")
    assert done.returncode == 0, done.stderr
    update, install = log.read_text().splitlines()
    assert update.startswith("noninteractive update")
    assert install.startswith("noninteractive install")
    assert " -y " in install
    assert {"chromium", "pulseaudio", "pulseaudio-utils", "ffmpeg", "espeak-ng", "flite", "nodejs", "npm"} <= set(
        install.split()
    )


def test_anybody_else_is_told_what_to_type(bin_folder: Path) -> None:
    program(bin_folder, "id", "echo 1000")
    program(bin_folder, "apt-get", "exit 99")
    told = run(bin_folder, "tests")
    assert told.returncode == 1
    assert "sudo apt-get update && sudo apt-get install -y chromium " in told.stderr


def test_without_apt_the_packages_are_named(bin_folder: Path) -> None:
    told = run(bin_folder, "tests")
    assert told.returncode == 1
    assert "espeak-ng" in told.stderr
    assert "package manager" in told.stderr


def test_what_is_there_is_left_alone(bin_folder: Path) -> None:
    for tool in ("google-chrome", "pulseaudio", "pactl", "ffmpeg", "prometheus", "espeak-ng", "flite", "node", "npm"):
        program(bin_folder, tool, "exit 99")
    program(bin_folder, "ldconfig", "echo libportaudio.so.2")
    program(bin_folder, "find", "echo libasound_module_pcm_pulse.so")
    program(bin_folder, "id", "echo 0")
    program(bin_folder, "apt-get", "exit 99")
    assert run(bin_folder, "tests").returncode == 0
    assert run(bin_folder, "venv").returncode == 0


def test_a_wrong_word_is_answered_with_the_right_ones(bin_folder: Path) -> None:
    told = run(bin_folder, "everything")
    assert told.returncode == 2
    assert "system-packages.sh tests" in told.stderr
    assert "system-packages.sh venv" in told.stderr
