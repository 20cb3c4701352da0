"""Speakers as packages: install from a folder or an archive, verify, remove. Nothing of a package is ever executed."""

import shutil
import stat
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, Final

import msgspec

from models.speaker import SPEAKERS_DIR, Speaker, SpeakerError, open_speaker

MOST_BYTES: Final = 512 * 2**20
"""Of an archive, unpacked: forty times what ships here; beyond it somebody means to fill the disc."""
MOST_FILES: Final = 20_000
_MANIFEST: Final = "manifest.json"
_COPY_BYTES: Final = 2**20


def install(source: Path, speakers_dir: Path = SPEAKERS_DIR) -> Speaker:
    """Check a package and put it beside the others; a speaker of that name is replaced as a whole.

    Raises:
        SpeakerError: no package, an archive that reaches out of its folder or is too large, a file that is not what the
            manifest says. What was installed before stays as it was.
    """
    speakers_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=speakers_dir, prefix=".install-") as scratch:
        unpacked = Path(scratch) / "package"
        if source.is_dir():
            shutil.copytree(source, unpacked, symlinks=False)
        else:
            _unpack(source, unpacked)
        package = _package_in(unpacked, source)
        name = _name_of(package)
        checked = package.rename(Path(scratch) / name)
        open_speaker(name, checked.parent)  # every shape, every checksum
        target = speakers_dir / name
        if target.exists():
            target.rename(Path(scratch) / "before")
        checked.rename(target)
    return open_speaker(name, speakers_dir)


def remove(name: str, speakers_dir: Path = SPEAKERS_DIR) -> None:
    """Remove an installed speaker.

    Raises SpeakerError where there is none of that name.
    """
    speaker = open_speaker(name, speakers_dir)
    shutil.rmtree(speaker.folder)


def _name_of(package: Path) -> str:
    try:
        name = msgspec.json.decode((package / _MANIFEST).read_bytes()).get("name")
    except (msgspec.DecodeError, AttributeError) as error:
        raise SpeakerError(f"{package / _MANIFEST}: no manifest: {error}") from None
    if not isinstance(name, str) or not name or PurePosixPath(name).name != name or name.startswith("."):
        raise SpeakerError(f"{package / _MANIFEST}: {name!r} is no name for a speaker")
    return name


def _package_in(folder: Path, source: Path) -> Path:
    """The folder with the manifest: the archive's root, or the one folder in it."""
    if (folder / _MANIFEST).is_file():
        return folder
    inside = [each for each in folder.iterdir() if (each / _MANIFEST).is_file()] if folder.is_dir() else []
    if len(inside) != 1:
        raise SpeakerError(f"{source}: no speaker package: there is no {_MANIFEST} in it")
    return inside[0]


def _unpack(archive: Path, target: Path) -> None:
    """Files alone, each inside of ``target``, in all no more than is decent."""
    left = MOST_BYTES
    for number, (name, opened) in enumerate(_members(archive)):
        if number >= MOST_FILES:
            raise SpeakerError(f"{archive}: more than {MOST_FILES} files")
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            raise SpeakerError(f"{archive}: {name!r} reaches out of the package")
        place = target.joinpath(*path.parts)
        place.parent.mkdir(parents=True, exist_ok=True)
        with opened, place.open("wb") as copy:
            while piece := opened.read(min(_COPY_BYTES, left + 1)):
                left -= len(piece)
                if left < 0:
                    raise SpeakerError(f"{archive}: unpacks to more than {MOST_BYTES // 2**20} MB")
                copy.write(piece)


def _members(archive: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The regular files of a .zip or of a .tar with any compression; links and devices are refused."""
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as bundle:
                for info in bundle.infolist():
                    if stat.S_ISLNK(info.external_attr >> 16):
                        raise SpeakerError(f"{archive}: {info.filename!r} is a link")
                    if not info.is_dir():
                        yield info.filename, bundle.open(info)
            return
        with tarfile.open(archive) as tape:
            for member in tape:
                if member.isdir():
                    continue
                opened = tape.extractfile(member) if member.isreg() else None
                if opened is None:
                    raise SpeakerError(f"{archive}: {member.name!r} is no regular file")
                yield member.name, opened
    except (OSError, EOFError, tarfile.TarError, zipfile.BadZipFile) as error:
        raise SpeakerError(f"{archive}: not a folder, .zip or .tar of a speaker: {error}") from None
