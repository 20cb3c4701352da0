"""The painter: small enough to serve, learns from renders, and what is served is what was trained."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from models.articulation import CHANNELS, REST

torch = pytest.importorskip("torch")
onnxruntime = pytest.importorskip("onnxruntime")
Image = pytest.importorskip("PIL.Image")

from models.training import painter, sheet  # noqa: E402

RECIPE = painter.Recipe(steps=80, batch=4, rate=1e-2)


@pytest.fixture(scope="module")
def renders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve crops of a dark slit that grows with the aperture."""
    folder = tmp_path_factory.mktemp("renders")
    (folder / "mouth").mkdir()
    vectors = np.zeros((12, len(CHANNELS)), np.float32)
    vectors[:, 1] = np.linspace(0, 1, 12)
    for number, aperture in enumerate(vectors[:, 1]):
        crop = np.full((160, 160, 3), (190, 140, 120), np.uint8)
        half = round(30 * float(aperture))
        crop[80 - half : 81 + half, 50:110] = 30
        Image.fromarray(crop).save(folder / "mouth" / f"{number:05d}.png")
    np.save(folder / "articulations.npy", vectors)
    np.save(folder / "held_out.npy", np.arange(12) % 4 == 2)
    return folder


@pytest.fixture(scope="module")
def served(renders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("painter")
    checkpoint = painter.fit(renders, out, RECIPE)
    painter.export(checkpoint, out / "painter.onnx")
    return out / "painter.onnx"


def run(path: Path, *vectors: tuple[float, ...]) -> painter.Pixels:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert [i.name for i in session.get_inputs()] == ["articulation"]
    assert [o.name for o in session.get_outputs()] == ["pixels"]
    return np.asarray(session.run(None, {"articulation": np.array(vectors, np.float32)})[0])


def test_a_frame_costs_less_than_a_fifth_of_a_gflop() -> None:
    assert painter.gflop() < 0.2


class InterruptedFitError(Exception):
    """Somebody pressed Ctrl-C."""


def test_an_interrupted_fit_goes_on_where_it_was(
    renders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(painter, "STORED_EVERY", 4)
    recipe = painter.Recipe(steps=12, batch=4, rate=3e-2)

    def interrupt(done: int) -> None:
        if done == 9:
            raise InterruptedFitError

    with pytest.raises(InterruptedFitError):
        painter.fit(renders, tmp_path / "twice", recipe, progress=interrupt)
    done: list[int] = []
    torn = painter.fit(renders, tmp_path / "twice", recipe, progress=done.append)
    whole = painter.fit(renders, tmp_path / "once", recipe)
    assert done[0] == 9  # stored after the eighth
    first, second = (torch.load(path, weights_only=True)["steady"] for path in (torn, whole))
    assert all(torch.equal(first[name], second[name]) for name in second)


def test_any_batch_gives_bytes_in_rows_columns_and_colours(served: Path) -> None:
    for count in (1, 3):
        pixels = run(served, *([REST] * count))
        assert pixels.shape == (count, 160, 160, 3)
        assert pixels.dtype == np.uint8


def test_what_is_served_is_what_was_trained() -> None:
    net = painter.Painter()
    vectors = torch.rand(2, len(CHANNELS))
    with torch.no_grad():
        trained = (net(vectors) * 255).clamp(0, 255)
        served = painter.Serving(net)(vectors)
    assert served.dtype == torch.uint8
    assert (served - trained).abs().max() <= 0.5 + 1e-3


def test_what_is_out_of_range_is_clamped(served: Path) -> None:
    wild, full = run(served, (0, 9, 0, 0, 0, 0, 0), (0, 1, 0, 0, 0, 0, 0))
    np.testing.assert_array_equal(wild, full)


def test_it_opens_with_the_aperture(served: Path) -> None:
    shut, wide = (float(frame[60:100, 55:105].mean()) for frame in run(served, REST, (0, 1, 0, 0, 0, 0, 0)))
    assert wide < shut - 0.5


def test_the_score_judges_what_was_held_out(served: Path, renders: Path) -> None:
    result = painter.score(renders, served)
    assert result["frames"] == 3
    assert result["trained_on"] == 9
    assert result["psnr"] > 15
    json.dumps(result)


def test_the_figures_are_the_literatures() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    b = np.clip(a.astype(int) + 5, 0, 255).astype(np.uint8)
    np.testing.assert_allclose(painter.ssim(a, a), 1)
    error = ((a.astype(float) - b) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(painter.psnr(a, b), 20 * np.log10(255) - 10 * np.log10(error))


def test_renders_and_paintings_stand_on_one_sheet(
    served: Path, renders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = tmp_path / "new" / "sheet.jpg"
    monkeypatch.setattr(sys, "argv", ["sheet", "paintings", str(renders), str(served), str(picture)])
    sheet.main()
    shown = np.asarray(Image.open(picture))
    side = round(160 * sheet.SCALE)
    assert shown.shape[0] % (3 * side) == 0
    assert shown.shape[1] == sheet.COLUMNS * side


def test_the_command_fits_exports_and_scores(renders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, figures = tmp_path / "painter.onnx", tmp_path / "score.json"
    for words in (
        ["fit", renders, tmp_path / "fit", "--steps", "2"],
        ["export", tmp_path / "fit" / "painter.pt", network],
        ["score", renders, network, "--out", figures],
    ):
        monkeypatch.setattr(sys, "argv", ["painter", *map(str, words)])
        painter.main()
    assert json.loads(figures.read_text()) == painter.score(renders, network) | {
        "milliseconds": json.loads(figures.read_text())["milliseconds"]
    }
