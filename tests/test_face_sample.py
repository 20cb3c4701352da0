"""Which mouths are rendered: along speech, every beginning a training set, the judged ones apart."""

import sys
from pathlib import Path

import numpy as np
import pytest

from models.training.face import sample
from models.training.face.visemes import VISEMES


def frames(seed: int, count: int = 400) -> sample.Vectors:
    return sample.clamp(np.random.default_rng(seed).normal(0.3, 0.3, (count, 7)).astype(np.float32))


def test_held_out_rows_come_from_the_judged_speech_alone() -> None:
    rows = sample.held_out(90, 40, 20)
    judge = frames(2)
    chosen = sample.choose(frames(1), judge, rows)
    known = {tuple(row) for row in judge.tolist()}
    assert [tuple(row) in known for row in chosen.tolist()] == rows.tolist()
    assert rows[40:60].all()
    assert rows[:40].sum() == 8


def test_the_visemes_come_first_and_everything_is_in_range() -> None:
    chosen = sample.choose(frames(1), frames(2), sample.held_out(60, 40, 5))
    early = chosen[:16].tolist()
    for channels in VISEMES.values():
        assert any(
            np.allclose([row[0], row[1]], [channels.get("jaw", 0), channels.get("aperture", 0)]) for row in early
        )
    np.testing.assert_array_equal(chosen, sample.clamp(chosen))


def test_the_same_seed_gives_the_same_mouths_and_a_shorter_run_is_its_beginning() -> None:
    long = sample.choose(frames(1), frames(2), sample.held_out(60, 100, 5))
    short = sample.choose(frames(1), frames(2), sample.held_out(30, 100, 5))
    np.testing.assert_array_equal(long[:30], short)


def test_alignments_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.phones.tsv"
    path.write_text("0.0\t0.3\tsil\tforced\n0.3\t0.4\tb\tforced\n0.4\t0.8\taa\tforced\n0.8\t1.2\tsil\tforced\n")
    track = sample.tracks([path])
    assert track.shape == (30, 7)
    assert track[:, 1].max() > 0.5


def test_the_command_writes_the_mouths_and_which_are_held_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(7):
        (tmp_path / f"{number}.phones.tsv").write_text(f"0.0\t0.{number + 2}\taa\n0.{number + 2}\t1.2\tb\n")
    out = tmp_path / "renders" / "articulations.npy"
    counts = ["--count", "60", "--judged-from", "30", "--judged", "5"]
    monkeypatch.setattr(sys, "argv", ["sample", str(tmp_path), str(out), *counts])
    sample.main()
    assert np.load(out).shape == (60, 7)
    assert np.load(out.with_name("held_out.npy"))[30:35].all()
