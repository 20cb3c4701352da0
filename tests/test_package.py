"""A speaker package: everything named, hashed and of the size that the manifest says."""

import hashlib
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from models.articulation import CHANNELS, REST
from models.training import package, sheet
from models.training.face import idle, view
from models.training.face.identities import DEFAULT

SPEAKERS = Path(package.__file__).parents[1] / "speakers"


def write(path: Path, height: int, width: int, level: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((height, width, 3), level, np.uint8))


@pytest.fixture
def renders(tmp_path: Path) -> Path:
    out = tmp_path / "renders"
    write(out / "full" / "neutral.png", view.SIZE, view.SIZE, 140)
    write(out / "full" / "background.png", view.SIZE, view.SIZE, 90)
    left, top, right, bottom = view.EYES_BOX
    for name in ("open", *idle.BLINK, *(where for _, _, where in idle.GLANCES)):
        write(out / "eyes" / f"{name}.png", bottom - top, right - left, 140)
    return out


def test_a_package_says_what_is_in_it(renders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "COUNT", 3)
    monkeypatch.setattr(package, "paint_rest", lambda _: np.full((view.MOUTH, view.MOUTH, 3), 140, np.float32))
    painter, articulator = tmp_path / "painter.onnx", tmp_path / "voice" / "some.onnx"
    articulator.parent.mkdir()
    painter.write_bytes(b"painter")
    articulator.write_bytes(b"articulator")
    articulator.with_suffix(".json").write_text('{"front_end": "dense", "lookahead_ms": 40}')
    out = tmp_path / "robin"
    package.package(renders, painter, out, DEFAULT, articulator=articulator, quality=88)
    described = json.loads((out / "manifest.json").read_text())
    assert described["front_end"] == "dense"
    assert described["channels"] == list(CHANNELS)
    assert described["rest"] == list(REST)
    assert set(described["files"]) == {
        "articulator.onnx", "painter.onnx", "LICENSE", "NOTICE", "mask.png", "placement.npy",
        "frames/000.jpg", "frames/001.jpg", "frames/002.jpg",
    }  # fmt: skip
    for name, digest in described["files"].items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    frame = idle.read(out / "frames" / "001.jpg")
    assert frame.shape == (view.SIZE, view.SIZE, 3)
    assert np.abs(frame - 140).max() <= 2  # a flat face stays flat: no seam, no colour step
    assert np.load(out / "placement.npy").shape == (3, 2, 3)

    monkeypatch.setattr(sys, "argv", ["package", str(out)])
    package.main()
    assert json.loads((out / "manifest.json").read_text()) == described
    package.package(None, None, tmp_path / "deaf", DEFAULT, articulator=None, quality=88)
    assert json.loads((tmp_path / "deaf" / "manifest.json").read_text())["front_end"] == "original"


@pytest.mark.parametrize("name", sorted(path.name for path in SPEAKERS.iterdir() if path.is_dir()))
def test_the_speakers_that_are_shipped_are_whole(name: str) -> None:
    folder = SPEAKERS / name
    described = json.loads((folder / "manifest.json").read_text())
    assert described["name"] == name
    for path, digest in described["files"].items():
        assert hashlib.sha256((folder / path).read_bytes()).hexdigest() == digest, path
    base = described["base"]
    assert np.load(folder / base["placement"]).shape == (base["count"], 2, 3)
    assert all((folder / base["frames"].format(i)).is_file() for i in range(base["count"]))
    assert (
        sum(path.stat().st_size for path in folder.rglob("*")) < 12e6
    )  # a package of this project is a small download


@pytest.mark.parametrize("name", sorted(path.name for path in SPEAKERS.iterdir() if path.is_dir()))
def test_silence_shows_no_seam(name: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    folder = SPEAKERS / name
    session = onnxruntime.InferenceSession(str(folder / "painter.onnx"), providers=["CPUExecutionProvider"])
    rest = session.run(None, {"articulation": np.array([REST], np.float32)})[0][0].astype(np.float32)
    cover = idle.read(folder / "mask.png")[..., 0].astype(np.uint8)
    for number, placement in list(enumerate(np.load(folder / "placement.npy")))[::83]:
        frame = idle.read(folder / "frames" / f"{number:03d}.jpg")
        apart = idle.lay(frame, rest, cover, placement) - frame
        assert np.abs(apart).mean() < 0.3
        assert np.abs(cv2.GaussianBlur(apart, (15, 15), 0)).max() < 3


def test_every_viseme_is_shown_on_the_face() -> None:
    picture = sheet.faces(SPEAKERS / "default")
    assert picture.shape == (2 * 430, 6 * 320, 3)
    rest, open_wide = picture[:430, :320].astype(int), picture[:430, 320:640].astype(int)
    assert np.abs(rest[:40] - open_wide[:40]).mean() < np.abs(rest[200:330] - open_wide[200:330]).mean()


def test_a_render_and_its_painting_stand_one_above_the_other() -> None:
    grey = np.full((view.MOUTH, view.MOUTH, 3), 100, np.uint8)
    cell = sheet.cell("", grey, grey + 10)
    third = len(cell) // 3
    assert [int(cell[third * i + third // 2, 50, 0]) for i in range(3)] == [100, 110, 168]
