"""The voice's training: what the mouth is taught, and a whole tiny run of it, from recordings to a served network."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from models import frontend
from models.articulation import CHANNELS
from models.frontend import SAMPLE_RATE
from models.training import compare, material, speech, voice
from models.training.__main__ import main
from models.training.articulate import Phone, articulate
from models.training.export import Network, evaluate
from models.training.fit import Recipe, restore
from tests.running import voice as buzz

APERTURE, ROUNDING, TUCK, PRESS = (CHANNELS.index(name) for name in ("aperture", "rounding", "tuck", "press"))
SENTENCE = ("sil", "m", "aa", "p", "iy", "f", "uw", "b", "ae", "sil")
PHONE_S = 0.12
NAMES = ("ada-1", "bob-1", "cleo-1", "dan-1", "eve-1", "fay-1", "gus-1", "hal-1", "ida-1", "jon-1", "kim-1", "leo-1")


def phones(names: tuple[str, ...] = SENTENCE, each_s: float = PHONE_S) -> list[Phone]:
    return [Phone(i * each_s, (i + 1) * each_s, name) for i, name in enumerate(names)]


def middle_of(name: str) -> float:
    index = SENTENCE.index(name)
    return (index + 0.5) * PHONE_S


@pytest.mark.parametrize("name", ["m", "p", "b"])
def test_bilabials_shut_the_lips(name: str) -> None:
    mouth = articulate(phones(), np.array([middle_of(name)]))[0]
    assert mouth[APERTURE] < 0.02
    assert mouth[PRESS] > 0.9


@pytest.mark.parametrize("each_s", [0.03, 0.05])
def test_even_a_quick_closure_shuts(each_s: float) -> None:
    mouth = articulate(phones(("aa", "b", "aa"), each_s), np.array([1.5 * each_s]))[0]
    assert mouth[APERTURE] < 0.02


def test_f_puts_the_lip_to_the_teeth_and_vowels_differ() -> None:
    times = np.array([middle_of(name) for name in ("f", "aa", "iy", "uw")])
    f, aa, iy, uw = articulate(phones(), times)
    assert f[TUCK] > 0.8
    assert aa[APERTURE] > 2 * max(iy[APERTURE], uw[APERTURE])
    assert uw[ROUNDING] > 0.6 > iy[ROUNDING] + 0.3


def test_a_long_pause_is_rest_and_a_curve_stays_in_its_range() -> None:
    pause = [Phone(0, 0.2, "aa"), Phone(0.2, 1.2, "sil"), Phone(1.2, 1.4, "aa")]
    assert not articulate(pause, np.array([0.7])).any()
    curve = articulate(phones(), np.arange(0, 1.2, 0.01))
    low = np.array([-1 if name == "width" else 0 for name in CHANNELS])
    assert (curve >= low - 1e-6).all()
    assert (curve <= 1 + 1e-6).all()


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of aligned recordings: a buzz while a phone sounds, nothing in its pauses."""
    folder = tmp_path_factory.mktemp("speech")
    for seed, name in enumerate(NAMES):
        sentence = phones()
        samples = buzz(int(len(SENTENCE) * PHONE_S * SAMPLE_RATE), seed)
        for phone in sentence:
            if phone.name == "sil":
                samples[int(phone.start_s * SAMPLE_RATE) : int(phone.end_s * SAMPLE_RATE)] = 0
        soundfile.write(folder / f"{name}.wav", samples, SAMPLE_RATE)
        speech.write_phones(folder / f"{name}.phones.tsv", sentence)
    return folder


def test_no_speaker_is_both_trained_on_and_held_out(recordings: Path) -> None:
    train, held_out = speech.split(speech.aligned(recordings), 0.3)
    assert train
    assert held_out
    assert not {each.speaker for each in train} & {each.speaker for each in held_out}


def test_a_second_run_gives_the_same_data(recordings: Path) -> None:
    utterances = speech.aligned(recordings)[:2]
    first, second = (material.copy_of(utterances, seed=1, copy=1) for _ in range(2))
    other = material.copy_of(utterances, seed=2, copy=1)
    for one, two in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.samples, two.samples)
    assert any(
        len(a.samples) != len(b.samples) or (a.samples != b.samples).any() for a, b in zip(first, other, strict=False)
    )


def test_from_recordings_to_a_served_network(recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(voice, "HELD_OUT", 0.3)
    command = ["--work", str(tmp_path), "--speech", str(recordings), "--copies", "2", "--steps", "6", "--width", "16"]
    for stage in ("speech", "degrade", "windows", "fit", "assess", "export"):
        assert main([*command, "--stage", stage]) == 0
    about = json.loads((tmp_path / "export" / "articulator.json").read_text())
    assert about["front_end"] in frontend.FRONT_ENDS
    assert about["lookahead_ms"] == 40
    assert "LibriSpeech" in about["attribution"]
    network = Network(tmp_path / "export" / "articulator.onnx")
    features = frontend.get(about["front_end"])(buzz())
    (state,) = (tmp_path / "fits").glob("*.pt")
    figures = json.loads(state.with_suffix(".json").read_text())
    assert {"held out, clean", "steady"} <= set(figures)
    assert 0 <= figures["held out, clean"]["closure_mid"] <= 1
    _, model = restore(state)
    floor = voice.floor_of(voice.Bench(tmp_path, copies=2), state)
    assert 0 <= floor < 0.5
    np.testing.assert_allclose(network(features), evaluate(model, features, floor), atol=1e-4)
    assert network(features)[0, APERTURE] <= evaluate(model, features)[0, APERTURE]


def test_who_has_no_recordings_makes_them_and_makes_the_same_again(tmp_path: Path) -> None:
    command = ["--synthesise", "0.25", "--stage", "speech"]
    for work in ("one", "two"):
        assert main(["--work", str(tmp_path / work), *command]) == 0
    made = {work: speech.aligned(tmp_path / work / "speech") for work in ("one", "two")}
    assert made["one"]
    for one, two in zip(made["one"], made["two"], strict=True):
        np.testing.assert_array_equal(one.samples(), two.samples())
        assert one.phones == two.phones
    assert {phone.name for each in made["one"] for phone in each.phones} > {"sil", "aa", "iy", "n"}


def test_an_interrupted_fit_goes_on_where_it_was(recordings: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    bench = voice.Bench(tmp_path, copies=1)
    voice.make_speech(bench, [recordings])
    voice.degrade(bench)
    recipe = Recipe("newest", steps=3, width=16, batch=32)
    voice.windows(bench, "newest")
    state = voice.train(bench, recipe)
    finished = state.stat().st_mtime_ns
    once = torch.load(state, weights_only=True)
    voice.train(bench, recipe)
    again = torch.load(state, weights_only=True)
    assert state.stat().st_mtime_ns >= finished
    for key, value in once["kept"].items():
        assert torch.equal(value, again["kept"][key])


def test_a_folder_without_speech_is_said(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match=r"trans\.txt"):
        voice.make_speech(voice.Bench(tmp_path / "work"), [empty])


def test_front_ends_are_compared_and_what_was_fitted_is_not_fitted_again(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(voice, "HELD_OUT", 0.3)
    monkeypatch.setattr(compare, "CASES", (("newest", 40), ("near", 40), ("near", 0)))
    monkeypatch.setattr(compare, "LOOKAHEADS_MS", (0, 40))
    bench = voice.Bench(tmp_path, copies=1)
    voice.make_speech(bench, [recordings])
    voice.degrade(bench)
    picture = tmp_path / "plot.png"
    capsys.readouterr()
    assert compare.main(["--work", str(tmp_path), "--steps", "2", "--plot", str(picture)]) == 0
    table = capsys.readouterr().out.splitlines()[-5:]
    assert {"newest, 40 ms", "near, 40 ms", "near, 0 ms"} <= {row.split("|")[1].strip() for row in table}
    assert picture.read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr(compare, "fit", None)
    assert compare.main(["--work", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines() == table
