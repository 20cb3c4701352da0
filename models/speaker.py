"""The speaker package: a folder with a manifest, networks, base frames and a licence. Nothing in it is code.

Every file is named in the manifest with its SHA-256; a path that leaves the folder is refused, nothing is unpickled.
"""

import hashlib
import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Final

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from models import frontend

SPEAKERS_DIR: Final = Path(__file__).resolve().parent / "speakers"
MANIFEST: Final = "manifest.json"
_NAME: Final = re.compile(r"^[a-z][a-z0-9_-]{0,31}$")

Positive = Annotated[int, msgspec.Meta(ge=1, le=4096)]


class SpeakerError(Exception):
    """The speaker is missing or damaged; the text says which file, what was expected, what to do."""


class MouthSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The painted patch: its size in pixels, and the 8-bit mask that feathers it into the frame."""

    width: Positive
    height: Positive
    mask: str


class BaseSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The idle loop under the mouth.

    `frames`: a format string of the frame's index; `placement`: float32 [count, 2, 3].
    """

    width: Positive
    height: Positive
    fps: Positive
    count: Positive
    frames: str
    placement: str


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """manifest.json."""

    format: int
    name: str
    title: str
    description: str
    licence: str
    front_end: str
    lookahead_ms: Annotated[int, msgspec.Meta(ge=0, le=500)]
    channels: tuple[str, ...]
    rest: tuple[float, ...]
    articulator: str
    painter: str
    mouth: MouthSpec
    base: BaseSpec
    files: dict[str, str]
    features: str | None = None


class Speaker:
    """A checked package, ready to be loaded.

    Raises:
        SpeakerError: on opening, for anything that is not as the manifest says.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder = folder
        self.manifest = manifest

    @property
    def name(self) -> str:
        return self.manifest.name

    def path(self, name: str) -> Path:
        return self.folder / name

    def base_jpeg(self, index: int) -> bytes:
        """Base frame `index`, encoded as it lies in the package."""
        return self.path(self.manifest.base.frames.format(index)).read_bytes()

    def placement(self) -> NDArray[np.float32]:
        """float32 [count, 2, 3]: maps patch pixels into each base frame (cv2.warpAffine's convention).

        Raises:
            SpeakerError: of another shape.
        """
        base = self.manifest.base
        table: NDArray[np.float32] = np.load(self.path(base.placement), allow_pickle=False)
        if table.shape != (base.count, 2, 3):
            raise SpeakerError(f"{self.path(base.placement)}: shape {table.shape}, expected {(base.count, 2, 3)}")
        return table.astype(np.float32)

    def mask(self) -> NDArray[np.float32]:
        """float32 [height, width] in 0..1: how much of the painted patch is seen."""
        path = self.path(self.manifest.mouth.mask)
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        size = (self.manifest.mouth.height, self.manifest.mouth.width)
        if image is None or image.shape != size:
            raise SpeakerError(f"{path}: not a grey picture of {size[1]} x {size[0]} pixels")
        weights: NDArray[np.float32] = image.astype(np.float32) / 255
        return weights

    def features(self) -> NDArray[np.float32]:
        """float32 [T, 512]: the speaker's own precomputed features; T is 0 where it has none."""
        if self.manifest.features is None:
            return np.zeros((0, frontend.BANDS * frontend.STEPS), np.float32)
        table: NDArray[np.float32] = np.load(self.path(self.manifest.features), allow_pickle=False)
        if table.ndim != 2 or table.shape[1] != frontend.BANDS * frontend.STEPS:
            raise SpeakerError(f"{self.path(self.manifest.features)}: shape {table.shape}, expected (T, 512)")
        return table


def open_speaker(name: str, speakers_dir: Path = SPEAKERS_DIR) -> Speaker:
    """Find a speaker by name and check its package whole.

    Raises:
        SpeakerError: no such speaker, or a damaged one.
    """
    speaker = _read(name, speakers_dir)
    for file, digest in speaker.manifest.files.items():
        path = speaker.path(file)
        if not path.is_file():
            raise SpeakerError(f"{path}: missing; install the speaker '{name}' again")
        if hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise SpeakerError(f"{path}: its SHA-256 is not the manifest's; install the speaker '{name}' again")
    return speaker


def list_speakers(speakers_dir: Path = SPEAKERS_DIR) -> list[Speaker]:
    """The installed speakers by name; their files are checked when they are opened.

    Raises:
        SpeakerError: a manifest cannot be read.
    """
    return [_read(path.parent.name, speakers_dir) for path in sorted(speakers_dir.glob(f"*/{MANIFEST}"))]


def _read(name: str, speakers_dir: Path) -> Speaker:
    if not _NAME.match(name):
        raise SpeakerError(f"'{name[:40]}' is no speaker's name: lower-case letters, digits, - and _, at most 32")
    folder = speakers_dir / name
    path = folder / MANIFEST
    try:
        manifest = msgspec.json.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError:
        known = ", ".join(p.parent.name for p in sorted(speakers_dir.glob(f"*/{MANIFEST}"))) or "none"
        raise SpeakerError(f"there is no speaker '{name}' in {speakers_dir}; installed: {known}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SpeakerError(f"{path}: {error}") from None
    _check(path, name, manifest)
    return Speaker(folder, manifest)


def _check(path: Path, name: str, manifest: Manifest) -> None:
    base = manifest.base
    if manifest.format != 1:
        raise SpeakerError(f"{path}: format {manifest.format}; this lipwire reads format 1")
    if manifest.name != name:
        raise SpeakerError(f"{path}: says its name is '{manifest.name}', its folder says '{name}'")
    if len(manifest.rest) != len(manifest.channels):
        raise SpeakerError(f"{path}: {len(manifest.channels)} channels, {len(manifest.rest)} values in rest")
    if manifest.front_end not in frontend.FRONT_ENDS:
        raise SpeakerError(f"{path}: front_end '{manifest.front_end}' is none of {', '.join(frontend.FRONT_ENDS)}")
    named = [manifest.articulator, manifest.painter, manifest.mouth.mask, base.placement]
    named += [manifest.features] if manifest.features else []
    try:
        named += [base.frames.format(index) for index in range(base.count)]
    except (IndexError, KeyError, ValueError, AttributeError) as error:
        raise SpeakerError(f"{path}: base.frames {base.frames!r} is no format of one index: {error}") from None
    for file in {*named, *manifest.files}:
        pure = PurePosixPath(file)
        if pure.is_absolute() or ".." in pure.parts:
            raise SpeakerError(f"{path}: '{file}' leaves the speaker's folder")
    unlisted = [file for file in named if file not in manifest.files]
    if unlisted:
        raise SpeakerError(f"{path}: '{unlisted[0]}' has no SHA-256 in files")
