"""The judge of tracks: what the phones themselves reach, what a late or a still mouth gets; and the report's page."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from models import score
from models.frontend import SAMPLE_RATE
from models.training import assess, augment, sounds, speech
from models.training.articulate import Phone, articulate
from models.training.face.visemes import VISEMES, articulation
from models.training.judge import Track, auc, judge
from tests.running import voice

_WORDS = "m-aa-s-iy n-ao-t-uw s-ae-p-ow l-iy-k-aa z-uw-d-ay"
NAMES = ["sil", *_WORDS.replace(" ", "-").split("-"), "sil"]
PHONE_S = 0.11


def sentence(shift: int = 0) -> list[Phone]:
    names = [NAMES[0], *np.roll(NAMES[1:-1], shift).tolist(), NAMES[-1]]
    lengths = [0.5 if name == "sil" else PHONE_S for name in names]
    edges = np.cumsum([0.0, *lengths])
    return [Phone(float(a), float(b), name) for a, b, name in zip(edges[:-1], edges[1:], names, strict=True)]


def tracks(late_s: float = 0.0) -> list[Track]:
    made = []
    for shift in range(4):
        phones = sentence(shift)
        times = np.arange(0, phones[-1].end_s, 0.04)
        mouth = articulate(phones, times - late_s).astype(np.float64)
        made.append(Track(f"ada-{shift}", "ada", times, mouth[:, 1], mouth[:, 3], phones))
    return made


def test_the_phones_themselves_score_nearly_everything() -> None:
    figures = judge(tracks())
    assert figures.closure_mid == 1
    assert figures.false_closure == 0
    assert figures.auc_open_vs_bilabial > 0.99
    assert figures.auc_rounding > 0.9
    assert abs(figures.lag_ms) < 10
    assert figures.corr0 > 0.85
    assert abs(figures.ap_silence) < 0.05


def test_a_late_mouth_is_found_out() -> None:
    figures = judge(tracks(late_s=0.08))
    assert 60 < figures.lag_ms < 100
    assert figures.corr0 < judge(tracks()).corr0 - 0.1


def test_a_mouth_that_never_moves_fits_nothing() -> None:
    still = [track._replace(aperture=np.zeros_like(track.aperture)) for track in tracks()]
    assert judge(still).corr0 == 0


def test_auc_counts_ties_as_half_and_wants_three_of_each() -> None:
    assert auc([1, 1, 1], [1, 1, 1]) == 0.5
    assert auc([2, 3, 4], [0, 1, 1.5]) == 1
    assert np.isnan(auc([1, 2], [0, 0, 0]))


@pytest.mark.parametrize("kind", sorted(sounds.NON_SPEECH))
def test_sounds_are_finite_and_seeded(kind: str) -> None:
    first, second = (sounds.NON_SPEECH[kind](np.random.default_rng(3), SAMPLE_RATE) for _ in range(2))
    assert first.shape == (SAMPLE_RATE,)
    assert first.dtype == np.float32
    assert np.isfinite(first).all()
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("effect", [augment.room, augment.equalise, augment.narrow, augment.clip])
def test_effects_keep_length_and_timing(effect: object) -> None:
    assert callable(effect)
    click = np.zeros(SAMPLE_RATE // 2, np.float32)
    click[5_000:5_020] = 0.5
    changed = effect(np.random.default_rng(1), click)
    assert changed.shape == click.shape
    assert abs(int(np.abs(changed).argmax()) - 5_010) < 48


def test_opus_keeps_length_and_timing() -> None:
    sound = 0.1 * sounds.music(np.random.default_rng(2), SAMPLE_RATE)
    decoded = augment.opus(sound, 16_000)
    assert decoded.shape == sound.shape
    lag = int(np.correlate(decoded[4_000:20_000], sound[4_200:19_800], "valid").argmax()) - 200
    assert abs(lag) <= 12


def test_the_mix_has_the_level_asked_for() -> None:
    sound = np.full(SAMPLE_RATE, 0.1, np.float32)
    noise = sounds.white(np.random.default_rng(0), SAMPLE_RATE)
    under = augment.mix(sound, noise, 10) - sound
    assert 20 * np.log10(0.1 / augment.rms(under)) == pytest.approx(10, abs=0.2)


def renders(folder: Path) -> Path:
    """A renderer's folder: every viseme, and as many mouths held out."""
    (folder / "mouth").mkdir(parents=True)
    vectors = np.array([articulation(**channels) for channels in VISEMES.values()] * 2, np.float32)
    for number in range(len(vectors)):
        Image.new("RGB", (160, 160), (190, 140, 120)).save(folder / "mouth" / f"{number:05d}.png")
    np.save(folder / "articulations.npy", vectors)
    np.save(folder / "held_out.npy", np.arange(len(vectors)) >= len(VISEMES))
    return folder


def test_the_report_is_one_page_with_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(assess, "STEADY_S", 2.0)
    folder = tmp_path / "people"
    folder.mkdir()
    for seed in range(2):
        phones = sentence(seed)
        sound = voice(int(phones[-1].end_s * SAMPLE_RATE), seed)
        soundfile.write(folder / f"ada-{seed}.wav", sound, SAMPLE_RATE)
        speech.write_phones(folder / f"ada-{seed}.phones.tsv", phones)
    command = [str(folder), "--out", str(tmp_path / "report"), "--renders", str(renders(tmp_path / "renders"))]
    assert score.main(command) == 0
    page = (tmp_path / "report" / "report.md").read_text()
    assert "babble 10 dB" in page
    assert "closure_mid" in page
    assert "psnr" in page
    assert Image.open(tmp_path / "report" / "visemes.jpg").width > 160
    assert (tmp_path / "report" / "ada-1.png").stat().st_size > 1_000


def test_a_report_about_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="phones"):
        score.main([str(tmp_path), "--out", str(tmp_path / "report")])
