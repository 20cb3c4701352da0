"""Speaker packages: what is damaged or leaves its folder is refused in words; what ships is whole and works."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import simplejpeg

from models.compose import Composer
from models.engine import OnnxEngine
from models.frontend import BANDS, STEPS
from models.speaker import (
    SPEAKERS_DIR,
    BaseSpec,
    ImageSpec,
    Manifest,
    MouthSpec,
    SpeakerError,
    list_speakers,
    open_speaker,
)

SHIPPED = [path.parent.name for path in sorted(SPEAKERS_DIR.glob("*/manifest.json"))]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder of speakers with a copy of the default one, for breaking."""
    shutil.copytree(SPEAKERS_DIR / "default", tmp_path / "default")
    return tmp_path


def change(speakers: Path, **entries: Any) -> None:
    path = speakers / "default" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | entries))


@pytest.mark.parametrize("name", SHIPPED)
def test_what_ships_is_whole_and_paints(name: str) -> None:
    speaker = open_speaker(name)
    engine = OnnxEngine(speaker)
    engine.warm_up()
    articulation = engine.articulate(np.zeros((3, BANDS, STEPS), np.float32))
    pixels = engine.paint(articulation)
    mouth = speaker.manifest.mouth
    assert pixels.shape == (3, mouth.height, mouth.width, 3)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_resting_mouth_leaves_no_seam_in_any_base_frame(name: str) -> None:
    speaker = open_speaker(name)
    engine, composer = OnnxEngine(speaker), Composer(speaker)
    resting = engine.paint(np.array([speaker.manifest.rest], np.float32))[0]
    for base in range(0, composer.count, 25):
        box, mixed = composer.mix(resting, base)
        frame = simplejpeg.decode_jpeg(speaker.base_jpeg(base), colorspace="RGB")
        under = frame[box.y : box.y + box.height, box.x : box.x + box.width].astype(int)
        border = np.ones(under.shape[:2], bool)
        border[3:-3, 3:-3] = False
        assert np.abs(mixed.astype(int) - under)[border].max() <= 6, "the mask's border must leave the frame as it is"
        assert np.abs(mixed.astype(int) - under).mean() < 4


@pytest.mark.parametrize("name", SHIPPED)
def test_the_idle_loop_joins(name: str) -> None:
    speaker = open_speaker(name)

    def frame(index: int) -> "np.ndarray[Any, Any]":
        decoded: np.ndarray[Any, Any] = simplejpeg.decode_jpeg(speaker.base_jpeg(index))
        return decoded.astype(int)

    count = speaker.manifest.base.count
    across_the_join = np.abs(frame(0) - frame(count - 1)).mean()
    within = [np.abs(frame(i + 1) - frame(i)).mean() for i in range(count - 1)]
    assert across_the_join <= max(within)
    assert 500 % count == 0, "live frame ids cycle 0..499: the loop must come round with them"


def test_a_manifest_with_an_unknown_key_is_refused(copy: Path) -> None:
    change(copy, colour="red")
    with pytest.raises(SpeakerError, match="colour"):
        open_speaker("default", copy)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"format": 2}, "reads format 1"),
        ({"name": "robin"}, "its folder says 'default'"),
        ({"rest": [0.0]}, "1 values in rest"),
        ({"front_end": "ear"}, "front_end 'ear' is none of"),
        ({"articulator": None}, "neither an articulator"),
        ({"files": {}}, "has no SHA-256"),
    ],
)
def test_what_a_manifest_cannot_mean_is_said(copy: Path, wrong: dict[str, Any], said: str) -> None:
    change(copy, **wrong)
    with pytest.raises(SpeakerError, match=said):
        open_speaker("default", copy)


def test_pictures_and_tables_of_another_size_are_named(copy: Path) -> None:
    speaker = open_speaker("default", copy)
    np.save(speaker.path("placement.npy"), np.zeros((1, 2, 3), np.float32))
    with pytest.raises(SpeakerError, match=r"placement\.npy: shape \(1, 2, 3\), expected"):
        speaker.placement()
    speaker.path("mask.png").write_bytes(b"")
    with pytest.raises(SpeakerError, match=r"mask\.png: not a grey picture"):
        speaker.mask()
    with pytest.raises(SpeakerError, match="sees no picture"):
        speaker.crop(0)


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a/../../b"])
def test_a_path_out_of_the_folder_is_refused(copy: Path, path: str) -> None:
    change(copy, painter=path)
    with pytest.raises(SpeakerError, match="leaves"):
        open_speaker("default", copy)


def test_a_changed_file_is_named(copy: Path) -> None:
    (copy / "default" / "mask.png").write_bytes(b"no picture")
    with pytest.raises(SpeakerError, match=r"mask\.png.*SHA-256"):
        open_speaker("default", copy)


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / "default" / "frames" / "007.jpg").unlink()
    with pytest.raises(SpeakerError, match=r"007\.jpg: missing"):
        open_speaker("default", copy)


@pytest.mark.parametrize("name", ["..", "a/b", "", "Default", "x" * 40])
def test_a_name_is_not_a_path(name: str) -> None:
    with pytest.raises(SpeakerError, match="no speaker's name"):
        open_speaker(name)


def test_a_network_that_is_none_is_named(copy: Path) -> None:
    import hashlib

    painter = copy / "default" / "painter.onnx"
    painter.write_bytes(b"not a network")
    manifest = json.loads((copy / "default" / "manifest.json").read_text())
    manifest["files"]["painter.onnx"] = hashlib.sha256(b"not a network").hexdigest()
    change(copy, **manifest)
    with pytest.raises(SpeakerError, match=r"painter\.onnx"):
        OnnxEngine(open_speaker("default", copy))


def test_all_installed_speakers_are_listed() -> None:
    assert [speaker.name for speaker in list_speakers()] == SHIPPED
    assert "default" in SHIPPED


def test_the_documented_manifest_is_one() -> None:
    text = (Path(__file__).parents[1] / "docs" / "speakers.md").read_text()
    manifest = msgspec.json.decode(text.split("```json")[1].split("```")[0], type=Manifest)
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    documented = {name for row in rows for name in re.findall(r"`([a-z_.]+)`", row)}
    settings = set(msgspec.structs.asdict(manifest)) - {"mouth", "base", "image"}
    for part, spec in (("mouth", MouthSpec), ("base", BaseSpec), ("image", ImageSpec)):
        settings |= {f"{part}.{field.name}" for field in msgspec.structs.fields(spec)}
    assert documented == settings
