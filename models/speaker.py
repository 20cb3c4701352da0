"""The speaker package: a folder with a manifest, networks, base frames and a licence. Nothing in it is code.

Every file is named in the manifest with its SHA-256; a path that leaves the folder is refused, nothing is unpickled.
"""

import hashlib
import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Final, Literal

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from models import frontend, listen

SPEAKERS_DIR: Final = Path(__file__).resolve().parent / "speakers"
MANIFEST: Final = "manifest.json"
_NAME: Final = re.compile(r"^[a-z][a-z0-9_-]{0,31}$")

HUBERT: Final = 2048
"""Values of one moment of HuBERT's features: two rows of 1,024 in 40 ms."""

Positive = Annotated[int, msgspec.Meta(ge=1, le=4096)]
NotNegative = Annotated[int, msgspec.Meta(ge=0, le=4096)]


class SpeakerError(Exception):
    """The speaker is missing or damaged; the text says which file, what was expected, what to do."""


class MouthSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The painted patch: its size in pixels, and the 8-bit mask that feathers it into the frame.

    `mask`: one picture, or the format string of one for each base frame's index.
    """

    width: Positive
    height: Positive
    mask: str


class BaseSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The idle loop under the mouth.

    `frames`: a format string of the frame's index; `placement`: float32 [count, 2, 3]; `order`: from the last frame to
    the first again, or back the way they came.
    """

    width: Positive
    height: Positive
    fps: Positive
    count: Positive
    frames: str
    placement: str
    order: Literal["loop", "back-and-forth"] = "loop"

    def index(self, frame_id: int) -> int:
        """Which base frame lies under frame ``frame_id``. Back and forth begins at 1, as SyncTalk_2D does."""
        if self.order == "loop" or self.count == 1:
            return frame_id % self.count
        there = (frame_id + 1) % (2 * self.count - 2)
        return min(there, 2 * self.count - 2 - there)


class ImageSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a painter sees beside the sound: the base frame's own mouth, and the same with a part of it hidden.

    `crops`: a format string of the base frame's index, PNG of the mouth's size; `colour`: the order in which the
    network sees and paints; `hidden`: first and last column and row (left, top, right, bottom) of what is black.
    """

    crops: str
    colour: Literal["rgb", "bgr"]
    hidden: tuple[NotNegative, NotNegative, NotNegative, NotNegative]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """manifest.json; docs/speakers.md says what each setting is for.

    `articulator`: None where the speaker hears no live sound, only its own precomputed `features`. `batch`: most
    windows that the networks take together. `precision`: of the weights as they are stored.
    """

    format: int
    name: str
    title: str
    description: str
    licence: str
    front_end: str
    lookahead_ms: Annotated[int, msgspec.Meta(ge=0, le=500)]
    channels: tuple[str, ...]
    rest: tuple[float, ...]
    articulator: str | None
    painter: str
    mouth: MouthSpec
    base: BaseSpec
    files: dict[str, str]
    features: str | None = None
    image: ImageSpec | None = None
    batch: Annotated[int, msgspec.Meta(ge=1, le=64)] = 64
    precision: Literal["float32", "float16", "int8"] = "float32"


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

    def articulator(self) -> Path:
        """The network that hears.

        Raises:
            SpeakerError: there is none, only precomputed features.
        """
        if self.manifest.articulator is None:
            raise SpeakerError(f"{self.name}: it hears no live sound, only its own precomputed features")
        return self.path(self.manifest.articulator)

    def networks(self) -> list[Path]:
        """All that it has: the one that hears, where it hears, and the painter."""
        return [self.path(file) for file in (self.manifest.articulator, self.manifest.painter) if file]

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

    def mask(self, base: int = 0) -> NDArray[np.float32]:
        """float32 [height, width] in 0..1: how much of the painted patch is seen over base frame ``base``."""
        path = self.path(self.manifest.mouth.mask.format(base))
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        size = (self.manifest.mouth.height, self.manifest.mouth.width)
        if image is None or image.shape != size:
            raise SpeakerError(f"{path}: not a grey picture of {size[1]} x {size[0]} pixels")
        weights: NDArray[np.float32] = image.astype(np.float32) / 255
        return weights

    def crop(self, base: int) -> NDArray[np.uint8]:
        """uint8 [height, width, 3] RGB: what the painter sees of base frame ``base``.

        Raises:
            SpeakerError: the picture is missing, or of another size; or this painter sees none.
        """
        mouth, image = self.manifest.mouth, self.manifest.image
        if image is None:
            raise SpeakerError(f"{self.name}: its painter sees no picture")
        path = self.path(image.crops.format(base))
        pixels = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
        if pixels is None or pixels.shape != (mouth.height, mouth.width, 3):
            raise SpeakerError(f"{path}: not a colour picture of {mouth.width} x {mouth.height} pixels")
        crop: NDArray[np.uint8] = pixels.astype(np.uint8, copy=False)
        return crop

    def features(self) -> NDArray[np.float32]:
        """float32 [T, 512]: the speaker's own precomputed features; T is 0 where it has none. [T, 2048] where they are
        HuBERT's, which only a speaker without an articulator has."""
        width = frontend.BANDS * frontend.STEPS
        if self.manifest.features is None:
            return np.zeros((0, width), np.float32)
        table: NDArray[np.float32] = np.load(self.path(self.manifest.features), allow_pickle=False)
        widths = (width,) if self.manifest.articulator else (width, HUBERT)
        if table.ndim != 2 or table.shape[1] not in widths:
            expected = " or ".join(f"(T, {each})" for each in widths)
            raise SpeakerError(f"{self.path(self.manifest.features)}: shape {table.shape}, expected {expected}")
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


def digests(folder: Path) -> dict[str, str]:
    """A manifest's `files`: the SHA-256 of every file in a package's folder but the manifest, by its path in it."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != MANIFEST
    }


def check_name(name: str) -> None:
    """Raises SpeakerError for what is no speaker's name."""
    if not _NAME.match(name):
        raise SpeakerError(f"'{name[:40]}' is no speaker's name: lower-case letters, digits, - and _, at most 32")


def _read(name: str, speakers_dir: Path) -> Speaker:
    check_name(name)
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
    if manifest.front_end not in listen.FRONT_ENDS:
        raise SpeakerError(f"{path}: front_end '{manifest.front_end}' is none of {', '.join(listen.FRONT_ENDS)}")
    if manifest.articulator is None and manifest.features is None:
        raise SpeakerError(f"{path}: neither an articulator for live sound nor precomputed features")
    named = [manifest.painter, base.placement]
    named += [file for file in (manifest.articulator, manifest.features) if file]
    patterns = {"base.frames": base.frames, "mouth.mask": manifest.mouth.mask}
    if manifest.image is not None:
        patterns["image.crops"] = manifest.image.crops
        _check_hidden(path, manifest.image, manifest.mouth)
    for setting, pattern in patterns.items():
        try:
            named += dict.fromkeys(pattern.format(index) for index in range(base.count))
        except (IndexError, KeyError, ValueError, AttributeError) as error:
            raise SpeakerError(f"{path}: {setting} {pattern!r} is no format of one index: {error}") from None
    for file in {*named, *manifest.files}:
        pure = PurePosixPath(file)
        if pure.is_absolute() or ".." in pure.parts:
            raise SpeakerError(f"{path}: '{file}' leaves the speaker's folder")
    unlisted = [file for file in named if file not in manifest.files]
    if unlisted:
        raise SpeakerError(f"{path}: '{unlisted[0]}' has no SHA-256 in files")


def _check_hidden(path: Path, image: ImageSpec, mouth: MouthSpec) -> None:
    left, top, right, bottom = image.hidden
    if not (left <= right < mouth.width and top <= bottom < mouth.height):
        size = f"{mouth.width} x {mouth.height}"
        raise SpeakerError(f"{path}: image.hidden {image.hidden} is no rectangle (left, top, right, bottom) in {size}")
