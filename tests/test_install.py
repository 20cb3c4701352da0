"""Speakers as packages: what is whole is installed, what is not leaves everything as it was."""

import io
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from models import install as installing
from models.install import install, remove
from models.speaker import SPEAKERS_DIR, SpeakerError, list_speakers, open_speaker
from tests.running import ROOT

SOURCE = SPEAKERS_DIR / "amara"


@pytest.fixture
def speakers(tmp_path: Path) -> Path:
    folder = tmp_path / "speakers"
    folder.mkdir()
    return folder


def zipped(tmp_path: Path, **more: bytes) -> Path:
    path = tmp_path / "amara.zip"
    with zipfile.ZipFile(path, "w") as bundle:
        for file in SOURCE.rglob("*"):
            bundle.write(file, f"amara/{file.relative_to(SOURCE)}")
        for name, data in more.items():
            bundle.writestr(name, data)
    return path


def taped(tmp_path: Path) -> Path:
    path = tmp_path / "amara.tar.gz"
    with tarfile.open(path, "w:gz") as tape:
        tape.add(SOURCE, "amara")
    return path


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_a_package_is_installed_and_removed(tmp_path: Path, speakers: Path, kind: str) -> None:
    source = {"folder": lambda: SOURCE, "zip": lambda: zipped(tmp_path), "tar": lambda: taped(tmp_path)}[kind]()
    assert install(source, speakers).name == "amara"
    assert install(source, speakers).name == "amara"  # again: replaced
    assert [each.name for each in list_speakers(speakers)] == ["amara"]
    assert [each.name for each in speakers.iterdir()] == ["amara"], "nothing else is left"
    remove("amara", speakers)
    assert list(speakers.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../outside.txt", "/outside.txt", "amara/../../outside.txt", "amara\\..\\outside.txt"]
)
def test_an_archive_cannot_reach_out(tmp_path: Path, speakers: Path, name: str) -> None:
    with pytest.raises(SpeakerError, match="reaches out"):
        install(zipped(tmp_path, **{name: b"x"}), speakers)
    assert list(speakers.iterdir()) == []
    assert not list(tmp_path.rglob("outside.txt"))


def test_links_in_archives_are_refused(tmp_path: Path, speakers: Path) -> None:
    path = tmp_path / "links.tar"
    with tarfile.open(path, "w") as tape:
        link = tarfile.TarInfo("amara/manifest.json")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tape.addfile(link)
    with pytest.raises(SpeakerError, match="no regular file"):
        install(path, speakers)


def test_what_would_fill_the_disc_is_refused(tmp_path: Path, speakers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installing, "MOST_BYTES", 1_000)
    with pytest.raises(SpeakerError, match="unpacks to more than"):
        install(zipped(tmp_path), speakers)
    monkeypatch.setattr(installing, "MOST_FILES", 3)
    with pytest.raises(SpeakerError, match="more than"):
        install(zipped(tmp_path), speakers)


def test_a_damaged_package_leaves_the_installed_one(tmp_path: Path, speakers: Path) -> None:
    install(SOURCE, speakers)
    damaged = tmp_path / "damaged"
    shutil.copytree(SOURCE, damaged)
    (damaged / "painter.onnx").write_bytes(b"x")
    with pytest.raises(SpeakerError, match=r"painter\.onnx"):
        install(damaged, speakers)
    assert open_speaker("amara", speakers).name == "amara"


@pytest.mark.parametrize("content", [b"no archive", b""])
def test_what_is_no_package_is_said(tmp_path: Path, speakers: Path, content: bytes) -> None:
    path = tmp_path / "thing.zip"
    path.write_bytes(content)
    with pytest.raises(SpeakerError, match="thing"):
        install(path, speakers)
    empty = tmp_path / "empty.tar"
    with tarfile.open(empty, "w") as tape:
        info = tarfile.TarInfo("readme.txt")
        info.size = 2
        tape.addfile(info, io.BytesIO(b"hi"))
    with pytest.raises(SpeakerError, match=r"no manifest\.json"):
        install(empty, speakers)


@pytest.mark.parametrize("name", ["../evil", ".hidden", "", 7])
def test_a_name_that_is_a_path_is_refused(tmp_path: Path, speakers: Path, name: object) -> None:
    import json

    odd = tmp_path / "odd"
    shutil.copytree(SOURCE, odd)
    manifest = json.loads((odd / "manifest.json").read_text())
    (odd / "manifest.json").write_text(json.dumps(manifest | {"name": name}))
    with pytest.raises(SpeakerError, match="no name for a speaker"):
        install(odd, speakers)


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "models", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_lists_tells_verifies_and_says_what_is_wrong(tmp_path: Path, speakers: Path) -> None:
    assert "Robin" in run("list").stdout
    assert "near, 40 ms of lookahead" in run("info", "default").stdout
    assert run("verify").stdout.count("whole") == len(list_speakers(SPEAKERS_DIR))
    folder = ["--speakers-dir", str(speakers)]
    assert "installed" in run(*folder, "install", str(zipped(tmp_path))).stdout
    assert "removed" in run(*folder, "remove", "amara").stdout
    again = run(*folder, "remove", "amara")
    assert again.returncode == 1
    assert "amara" in again.stderr
