"""A speaker from a video: what a video must be, and a short one made into a speaker that opens, paints and is served.

What needs the face landmark networks is skipped where they are not installed (docs/from-video.md).
"""

import dataclasses
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from models.articulation import CHANNELS
from models.features import read_sound
from models.frontend import CHUNK, SAMPLE_RATE
from models.install import install
from models.motion import moved_along
from models.speaker import Speaker, open_speaker
from models.training.articulate import Phone
from models.training.painter import Recipe
from models.training.speech import write_phones
from models.training.video import (
    actor,
    align,
    choose,
    command,
    ears,
    loop,
    pack,
    read,
    seen,
    stages,
    steady,
    tflite,
    track,
)
from models.training.video.errors import VideoError
from models.training.video.show import pictures
from tests.running import ROOT

FPS = read.FPS
LINE = ("sil", "aa", "p", "aa")
Picture = NDArray[np.uint8]
needs_landmarks = pytest.mark.skipif(not tflite.available(), reason=f"no landmark networks: {tflite.HOW}")


@pytest.fixture(scope="module")
def amara() -> Speaker:
    return open_speaker("amara")


def grey(count: int, side: int = 128) -> Iterator[Picture]:
    for number in range(count):
        yield np.full((side, side, 3), number, np.uint8)


def hiss(seconds: float) -> NDArray[np.float32]:
    return (0.05 * np.random.default_rng(2).standard_normal(int(seconds * SAMPLE_RATE))).astype(np.float32)


def said(folder: Path, line: Sequence[str]) -> Path:
    """Two people's aligned recordings of a line; `folder`."""
    folder.mkdir()
    for name in ("ada-1", "bob-1"):
        soundfile.write(folder / f"{name}.wav", hiss(0.2 * len(line)), SAMPLE_RATE)
        write_phones(
            folder / f"{name}.phones.tsv", [Phone(0.2 * n, 0.2 * (n + 1), each) for n, each in enumerate(line)]
        )
    return folder


def plan_of(video: Path, work: Path) -> stages.Plan:
    about = pack.About("tiny", "Tiny", "Only for tests.\nNot for anything else.")
    return stages.Plan(video, work, about, Recipe(steps=12), shortest_s=1.0)


# ---- what a video must be --------------------------------------------------------------------------------------------


def test_an_actors_lips_close_where_the_phones_do_and_it_ends_in_silence(tmp_path: Path) -> None:
    speech = said(tmp_path / "speech", LINE)
    movie = tmp_path / "actor.mp4"
    command = ["models.training.video.actor", str(speech), str(movie), "--seconds", "1"]
    done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    track = np.load(movie.with_suffix(".npy"))
    aperture = track[:, CHANNELS.index("aperture")]
    assert aperture[5:10].max() > 0.2, "the vowel"
    assert aperture[12] < 0.05, "the closure"
    assert not track[-int(actor.QUIET_S * FPS) :].any()
    assert read.facts(movie).seconds == pytest.approx(len(track) / FPS, abs=0.1)


def test_what_is_no_video_is_said(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"gone\.mp4: no such file"):
        read.facts(tmp_path / "gone.mp4")
    text = tmp_path / "text.mp4"
    text.write_text("hello" * 100)
    with pytest.raises(VideoError, match="no video that FFmpeg reads"):
        read.facts(text)
    mute = tmp_path / "mute.mp4"
    actor.film(mute, grey(30), None, 128)
    with pytest.raises(VideoError, match="no sound in it"):
        read.facts(mute)
    with pytest.raises(VideoError, match="no picture in it"):
        read.facts(ROOT / "webclient" / "sample.wav")
    silent = tmp_path / "silent.mp4"
    actor.film(silent, grey(30), np.zeros(30 * CHUNK, np.float32), 128)
    with pytest.raises(VideoError, match="silence"):
        read.sound(silent)


def test_a_short_video_is_said_and_so_is_another_ones_folder(tmp_path: Path) -> None:
    video, other = tmp_path / "a.mp4", tmp_path / "b.mp4"
    actor.film(video, grey(50), hiss(2), 128)
    actor.film(other, grey(60), hiss(2), 128)
    plan = plan_of(video, tmp_path / "work")
    with pytest.raises(VideoError, match=r"2\.0 s long; expected 30 s"):
        stages.begin(dataclasses.replace(plan, shortest_s=30.0))
    stages.begin(plan)
    with pytest.raises(VideoError, match=r"another video.*--work"):
        stages.begin(dataclasses.replace(plan, video=other))


def test_pictures_come_at_25_a_second_and_the_sound_with_them(tmp_path: Path) -> None:
    video = tmp_path / "a.mp4"
    actor.film(video, (np.full((64, 64, 3), 4 * number, np.uint8) for number in range(50)), hiss(2), 64)
    levels = [float(picture.mean()) for picture in read.pictures(video)]
    assert len(levels) == 50
    np.testing.assert_allclose(levels, 4 * np.arange(50), atol=4)
    assert abs(len(read.sound(video)) / SAMPLE_RATE - 2) < 0.1


def test_what_a_telephone_filmed_lying_stands_up() -> None:
    class Lying:
        rotation = -90  # as FFmpeg gives a telephone's upright film: to be turned clockwise

        def to_ndarray(self, format: str) -> Picture:
            picture = np.zeros((2, 3, 3), np.uint8)
            picture[0, 0] = 255  # the corner that is shown at the top right
            return picture

    shown = read._upright(Lying())
    assert shown.shape == (3, 2, 3)
    assert shown[0, 1, 0] == 255


# ---- what is computed ------------------------------------------------------------------------------------------------


def test_a_similarity_is_found_again() -> None:
    rng = np.random.default_rng(1)
    shape = rng.normal(size=(20, 2)) * 50
    wanted = np.array([[0.9, -0.2, 30.0], [0.2, 0.9, -7.0]])
    seen = np.stack([shape @ wanted[:, :2].T + wanted[:, 2]])
    np.testing.assert_allclose(steady.similarities(shape, seen)[0], wanted, atol=1e-9)


def test_lateness_is_found_and_ranks_are_kept() -> None:
    t = np.arange(0, 40, 0.01)
    fine = np.zeros((len(t), len(CHANNELS)), np.float32)
    fine[:, 1] = np.clip(np.sin(2 * np.pi * 1.3 * t) + np.sin(2 * np.pi * 2.9 * t), 0, None) / 2
    early = ears.at_frames(fine, 60)[:, 1].astype(np.float64)
    assert align.lateness(early * 13 + 2, fine) == 60
    mapped = align.same_rank(early * 13 + 2, early.astype(np.float32))
    np.testing.assert_allclose(mapped, early, atol=0.02)


def test_what_is_not_seen_is_taken_from_the_ears() -> None:
    rng = np.random.default_rng(3)
    fine = np.repeat(rng.random((200, len(CHANNELS))).astype(np.float32), ears.FINE, axis=0)
    seen = rng.random((200, len(CHANNELS)))  # agrees with nothing
    seen[:, CHANNELS.index("aperture")] = 9 * ears.at_frames(fine, 0)[:, CHANNELS.index("aperture")]
    seen[:, CHANNELS.index("tongue")] = np.nan
    seen[7] = np.nan
    found = align.align(seen, fine)
    known = np.arange(200) != 7
    assert found.late_ms == 0
    assert np.isnan(found.articulation[7]).all()
    np.testing.assert_allclose(found.articulation[known], found.heard[known], atol=0.08)


def test_the_loop_is_the_calmest_part_of_the_longest_rest_forth_and_back() -> None:
    rests = np.zeros(500, np.bool_)
    rests[20:60], rests[200:400] = True, True
    placed = np.tile(np.array([[1.0, 0, 0], [0, 1.0, 0]]), (500, 1, 1))
    placed[200:260, 0, 2] = np.arange(60)  # the head is on the move
    first, after = loop.stretch(Path("a.mp4"), rests, placed)
    assert after - first == loop.LONGEST_S * FPS
    assert first >= 259
    assert after <= 400
    assert loop.forth_and_back(3, 7) == [3, 4, 5, 6, 5, 4]
    with pytest.raises(VideoError, match=r"a\.mp4, second 0\.8: the longest rest of the mouth is 0\.4 s"):
        loop.stretch(Path("a.mp4"), np.isin(np.arange(100), range(20, 30)), placed[:100])


def test_frames_held_out_are_never_learnt_from() -> None:
    vectors = np.random.default_rng(4).random((3_000, len(CHANNELS))).astype(np.float32)
    known = np.ones(3_000, np.bool_)
    known[:10] = False
    numbers = choose.choose(vectors, known, most=300)
    assert (numbers >= 10).all()
    judged = choose.held_out(3_000)[numbers]
    assert (~judged).sum() == 300
    assert judged.sum() == 300


# ---- with the networks -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory, amara: Speaker) -> Path:
    """Six seconds of amara speaking the page's sample, and one and a half of silence."""
    sound = read_sound(ROOT / "webclient" / "sample.wav")[: 6 * SAMPLE_RATE]
    sound = np.concatenate([sound, np.zeros(37 * CHUNK, np.float32)])
    mouths = moved_along(ears.heard(sound, len(sound) // CHUNK, amara)[:: ears.FINE])
    path = tmp_path_factory.mktemp("video") / "amara.mp4"
    actor.film(path, pictures(amara, mouths), sound, 512)
    return path


@needs_landmarks
def test_a_short_video_becomes_a_speaker(tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(video, tmp_path / "work")
    speaker, figures = stages.make(plan)
    assert install(speaker.folder, tmp_path / "speakers").name == "tiny"
    manifest = speaker.manifest
    assert manifest.licence == "Only for tests."
    assert "Not for anything else." in speaker.path("LICENSE").read_text()
    assert manifest.base.count == 2 * ((manifest.base.count + 2) // 2) - 2 > 40
    assert figures["held out"]["psnr"] > 20
    shown = next(pictures(speaker, np.zeros((1, 7), np.float32)))
    assert shown.shape == (512, 512, 3)
    looked = (plan.work / "points.npy").stat().st_mtime_ns
    monkeypatch.setattr(stages, "Plan", partial(stages.Plan, shortest_s=plan.shortest_s))
    licence = tmp_path / "licence.txt"
    licence.write_text("Only for tests.\nNot for anything else.")
    named = ["--name", "tiny", "--title", "Tiny", "--licence", str(licence), "--steps", "12"]
    folders = ["--work", str(plan.work), "--out", str(tmp_path / "by-command")]
    assert command.main([str(video), *named, *folders]) == 0
    assert open_speaker("tiny", tmp_path / "by-command").manifest == manifest
    assert (plan.work / "points.npy").stat().st_mtime_ns == looked, "nothing is done twice"


@needs_landmarks
def test_an_interrupted_look_goes_on_where_it_was(tmp_path: Path, video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(track, "PART", 20)
    from models.training.video.landmarks import Landmarker

    landmarker, asked = Landmarker(), [0, 0]

    def stop(done: int) -> None:
        asked[0] += 1
        if done == 50:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        track.track(video, tmp_path, landmarker, stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0000.npy", "0001.npy"]

    def count(_done: int) -> None:
        asked[1] += 1

    points = track.track(video, tmp_path, landmarker, count)
    assert len(points) == asked[1] + 40
    assert np.isfinite(points).all()


@needs_landmarks
@pytest.mark.parametrize(
    ("scene", "said"),
    [
        ("nobody", r"second 0\.0: no face for 2\.0 s"),
        ("two", r"second 1\.0: 2 faces; expected one person"),
        ("far", r"the face is too small: \d+ pixels .*expected 50"),
    ],
)
def test_what_is_filmed_wrongly_is_said(tmp_path: Path, amara: Speaker, scene: str, said: str) -> None:
    face = next(pictures(amara, np.zeros((1, 7), np.float32)))

    def frames() -> Iterator[Picture]:
        for number in range(50):
            canvas = np.full((512, 512, 3), 90, np.uint8)
            if scene == "far":
                canvas[192:320, 192:320] = face[::4, ::4]
            elif scene == "two":
                canvas[128:384, :256] = face[::2, ::2]
                if number >= FPS:
                    canvas[128:384, 256:] = face[::2, ::2]
            yield canvas

    path = tmp_path / "scene.mp4"
    actor.film(path, frames(), hiss(2), 512)
    plan = plan_of(path, tmp_path / "work")
    with pytest.raises(VideoError, match=said) as raised:
        stages.look(plan)
    assert str(path) in str(raised.value)


@needs_landmarks
def test_painted_lips_are_judged_by_what_is_seen_of_them(
    tmp_path: Path, amara: Speaker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from models.training.video.landmarks import Landmarker

    mouths = np.zeros((8, len(CHANNELS)), np.float32)
    mouths[4:, CHANNELS.index("aperture")] = mouths[4:, CHANNELS.index("jaw")] = 0.8
    measured = seen.lips(amara, mouths, Landmarker())[:, seen.APERTURE]
    assert measured[4:].min() > measured[:4].max() + 2, "pixels between the lips"
    speech = said(tmp_path / "speech", ("sil", "aa", "p", "aa", "iy", "m", "uw", "sil"))
    assert seen.main([str(speech), "--speaker", "amara"]) == 0
    told = capsys.readouterr()
    assert "opens" in told.out + told.err
    with pytest.raises(SystemExit, match="nobody"):
        seen.main([str(speech), "--speaker", "nobody"])


def test_the_command_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"no licence|empty"):
        command.main(["gone.mp4", "--name", "me", "--licence", " "])
    with pytest.raises(SystemExit, match=r"gone\.mp4|GPU"):
        command.main(["gone.mp4", "--name", "me", "--device", "cuda"])
    with pytest.raises(SystemExit, match=r"--test .*no NAME"):
        command.main(["gone.mp4", "--name", "me", "--test", str(tmp_path)])
    done = subprocess.run(
        [sys.executable, "-m", "models.train", "from-video", "gone.mp4", "--name", "me"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.strip() == "lipwire: gone.mp4: no such file; expected a video (MP4, MOV, MKV, WebM)"
