"""The doctor finds what is planted, says what to do about it, and finds nothing on a machine that is well."""

import json
import os
import re
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from models.speaker import SPEAKERS_DIR
from pipeline.doctor import machine
from pipeline.doctor.findings import Verdict, run
from tests.running import ROOT, config_with

FEW_DESCRIPTORS = 400


def doctor(*arguments: str, before: Callable[[], None] | None = None, **variables: str) -> dict[str, dict[str, Any]]:
    """The last finding of each check."""
    command = [sys.executable, "-m", "pipeline.doctor", "--json", *arguments]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **variables},
        preexec_fn=before,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    findings = json.loads(done.stdout)
    assert done.returncode == any(finding["verdict"] == "fault" for finding in findings)
    for finding in findings:
        assert (finding["do"] == "") == (finding["verdict"] == "ok"), finding
    return {finding["check"]: finding for finding in findings}


def few_descriptors() -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW_DESCRIPTORS, FEW_DESCRIPTORS))


def damaged_speakers(folder: Path) -> Path:
    speakers = folder / "speakers"
    shutil.copytree(SPEAKERS_DIR / "default", speakers / "default")
    network = speakers / "default" / "painter.onnx"
    damaged = bytearray(network.read_bytes())
    damaged[1000] ^= 0xFF
    network.write_bytes(damaged)
    return speakers


def python_path(folder: Path) -> Path:
    """Found before everything that is installed: a lipwire that wants more, a sound library that cannot be loaded."""
    path = folder / "path"
    told = path / "lipwire-0.1.0.dist-info"
    told.mkdir(parents=True)
    needs = "Requires-Dist: a-package-that-nobody-has>=2\nRequires-Dist: numpy>=99\n"
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: lipwire\nVersion: 0.1.0\n{needs}")
    (path / "sounddevice.py").write_text('raise OSError("PortAudio library not found")\n')
    return path


@pytest.fixture(scope="module")
def ill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Any]]]:
    """What it finds on a machine with six faults at once."""
    folder = tmp_path_factory.mktemp("ill")
    speakers = damaged_speakers(folder)
    config = config_with(
        folder,
        **{
            r"\[pipeline\]": f'[pipeline]\nspeakers_dir = "{speakers}"',
            r"(?s)(\[ring\.windows\].*?slots =) \d+": r"\1 99999999",
        },
    )
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        port = str(holder.getsockname()[1])
        yield doctor(
            *("--quick", "--config", str(config), "--port", port),
            before=few_descriptors,
            PYTHONPATH=str(python_path(folder)),
        )


@pytest.mark.parametrize(
    ("check", "verdict", "seen", "do"),
    [
        ("speakers", "fault", "painter.onnx", "install the speaker again"),
        ("shared memory", "fault", "MB free", "--shm-size=1g"),
        ("sockets", "fault", f"{FEW_DESCRIPTORS} descriptors", "ulimit -n"),
        ("port", "warning", "in use, held by", "--port"),
        ("packages", "fault", "numpy", "pip install 'numpy>=99'"),
        ("microphone", "warning", "PortAudio", "libportaudio2"),
    ],
)
def test_each_planted_fault_is_found_beside_the_others(
    ill: dict[str, dict[str, Any]], check: str, verdict: str, seen: str, do: str
) -> None:
    assert ill[check]["verdict"] == verdict
    assert seen in ill[check]["seen"]
    assert do in ill[check]["do"] + ill[check]["seen"]


def test_what_a_killed_supervisor_left_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a folder of its own: a pipeline that starts meanwhile removes such things."""
    monkeypatch.setattr(machine, "SHARED_MEMORY", tmp_path)
    assert [finding.verdict for finding in machine.leftovers()] == [Verdict.OK]
    (tmp_path / "lipwire-left0ver").mkdir()
    (finding,) = machine.leftovers()
    assert finding.verdict is Verdict.WARNING
    assert "lipwire-left0ver" in finding.seen
    assert "start lipwire once" in finding.do


def test_a_key_that_does_not_exist_is_found_and_the_machine_is_looked_at_all_the_same(tmp_path: Path) -> None:
    found = doctor("--quick", "--config", str(config_with(tmp_path, deadline_ms="deadlin_ms")))
    assert found["configuration"]["verdict"] == "fault"
    assert "pipeline.deadlin_ms: there is no such key" in found["configuration"]["seen"]
    assert found["memory"]["verdict"] == "ok"


def test_a_speaker_that_is_not_there_is_found_by_starting(tmp_path: Path) -> None:
    found = doctor("--config", str(config_with(tmp_path, **{'speaker = "default"': 'speaker = "nobody"'})))
    assert found["start"]["verdict"] == "fault"
    assert "there is no speaker 'nobody'" in found["start"]["seen"]


def test_a_machine_that_is_too_slow_is_found(tmp_path: Path) -> None:
    """25 ms a window at one stage: one session can be served, several cannot."""
    found = doctor("--config", str(config_with(tmp_path, **{'"stages.mel"': '"tests.slow"'})))
    assert found["frames"]["verdict"] in ("warning", "fault")
    assert re.search("ms a frame|no frame within", found["frames"]["seen"])


def test_on_a_machine_that_is_well_there_is_no_fault() -> None:
    found = doctor("--port", "0")
    assert {"configuration", "frames", "page", "packages", "speakers", "start"} <= found.keys()
    del found["frames"]  # how fast it is now, beside other tests, is no fault of lipwire's
    assert [finding for finding in found.values() if finding["verdict"] == "fault"] == []


def test_what_it_finds_is_a_table_for_people() -> None:
    command = [sys.executable, "-m", "pipeline.doctor", "--quick", "--port", "0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert "lipwire on this machine" in done.stdout
    assert "what to do" in done.stdout


def test_a_check_that_fails_itself_is_a_finding() -> None:
    def check() -> list[Any]:
        raise RuntimeError("unforeseen")

    (finding,) = run("sockets", check)
    assert finding.verdict is Verdict.FAULT
    assert "RuntimeError: unforeseen" in finding.seen
