"""From a video to a speaker, stage by stage; each keeps its products in files of a work folder, and is not run again
where they are.

    look      landmarks/0000.npy, ...; points.npy     the face's points in every frame, 20 s a file
    hear      heard.npy                               what the articulator hears, every 10 ms
    align     aligned.npz                             both made one, and where the head is
    crop      mouth/00000.png, articulations.npy, held_out.npy   what the painter learns from
    fit       painter.pt; painter-6000-1.onnx               the painter, and the state from which a fit resumes
    pack      package/NAME/                           the speaker's folder, checked
    score     score.json                              how well it paints what it never saw

`video.json` says of which video all this is, and whose ears heard it; another one needs another folder.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from models.articulation import CHANNELS
from models.speaker import Speaker, open_speaker
from models.training import painter
from models.training.progress import bar
from models.training.speech import Utterance
from models.training.video import align, choose, ears, loop, measure, pack, read, seen, steady, track
from models.training.video.errors import VideoError
from models.training.video.landmarks import Landmarker

log = structlog.get_logger(__name__)

SHORTEST_S: Final = 30.0
"""Of a video: in half a minute of speech every phone has come; two minutes and more are better."""
LONGEST_S: Final = 1_200.0
"""Beyond it a video adds hours of looking, and no mouth that has not been seen: 20 minutes."""
_READ_BYTES: Final = 2**20


@dataclass(frozen=True, slots=True)
class Plan:
    """What is made of what, and how."""

    video: Path
    work: Path
    about: pack.About
    recipe: painter.Recipe = field(default_factory=painter.Recipe)
    threads: int = 1
    device: str = "cpu"
    shortest_s: float = SHORTEST_S
    share: float | None = None
    """Of what is seen in what the painter learns from; None: `align.SEEN`, by channel."""
    ears: str = "default"
    """The installed speaker whose articulator hears."""

    @property
    def onnx(self) -> Path:
        return self.work / f"painter-{self.recipe.steps}-{self.recipe.seed}.onnx"

    @property
    def package(self) -> Path:
        return self.work / "package" / self.about.name


class Made(NamedTuple):
    """What `align` made of a video."""

    articulation: NDArray[np.float32]
    heard: NDArray[np.float32]
    placed: steady.Similarities
    rests: NDArray[np.bool_]


def begin(plan: Plan) -> read.Facts:
    """Look whether the video will do, and whether the folder is its own.

    Raises:
        VideoError: it will not; or the folder holds the work on another video.
    """
    facts = read.facts(plan.video)
    if facts.seconds < plan.shortest_s:
        raise VideoError(
            f"{plan.video}: {facts.seconds:.1f} s long; expected {plan.shortest_s:.0f} s and more, best 2 to 5 minutes "
            "of speech"
        )
    if facts.seconds > LONGEST_S:
        raise VideoError(f"{plan.video}: {facts.seconds / 60:.0f} minutes long; expected at most 20: cut out a part")
    plan.work.mkdir(parents=True, exist_ok=True)
    note = plan.work / "video.json"
    ears = open_speaker(plan.ears)
    articulator = ears.manifest.files[ears.articulator().name]
    made_of = {"sha256": _digest(plan.video), "articulator": articulator, "share": plan.share}
    if not note.is_file():
        note.write_text(json.dumps({"video": str(plan.video), **made_of}) + "\n", encoding="utf-8")
    elif {name: json.loads(note.read_text(encoding="utf-8")).get(name) for name in made_of} != made_of:
        raise VideoError(
            f"{plan.work} holds the work on another video, or by another articulator or share ({note}); name another "
            "folder with --work"
        )
    return facts


def look(plan: Plan) -> NDArray[np.float32]:
    """[T, 478, 3]. Raises VideoError: no face, two, a small one."""
    whole = plan.work / "points.npy"
    if not whole.is_file():
        count = round(read.facts(plan.video).seconds * read.FPS)
        with bar("look", count) as progress:
            task = progress.task_ids[0]
            points = track.track(
                plan.video,
                plan.work / "landmarks",
                Landmarker(plan.threads),
                lambda done: progress.update(task, completed=done),
            )
        _save(whole, points)
    points = np.load(whole)
    return np.asarray(points, np.float32)


def hear(plan: Plan, frames: int) -> NDArray[np.float32]:
    """[T * 4, 7]. Raises VideoError: there is no voice."""
    path = plan.work / "heard.npy"
    if not path.is_file():
        _save(path, ears.heard(read.sound(plan.video), frames, open_speaker(plan.ears)))
    return np.asarray(np.load(path), np.float32)


def aligned(plan: Plan, points: NDArray[np.float32], fine: NDArray[np.float32]) -> Made:
    """What each frame's picture is learnt for. Raises VideoError: the sound is not this mouth's."""
    head = steady.head(points)
    lips = measure.measure(points, head.exact)
    found = align.align(lips, fine, plan.share)
    agreement = {
        name: round(float(value), 2)
        for name, value in zip(CHANNELS, found.agreement, strict=True)
        if not np.isnan(value)
    }
    log.info("aligned", sound_late_ms=found.late_ms, agreement=agreement)
    if found.fit < align.LEAST_FIT:
        raise VideoError(
            f"{plan.video}: the lips do not move with the sound: correlation {found.fit:.2f} at best, expected "
            f"{align.LEAST_FIT} and more within {align.LATEST_MS} ms; take a video in which the person in the picture "
            "is the one heard, without music or other voices, and whose sound is not further off"
        )
    rests = loop.resting(lips, found.heard)
    return Made(found.articulation, found.heard, head.placed, rests)


def crop(plan: Plan, made: Made) -> None:
    """The crops, in the layout that `models.training.painter` reads."""
    folder = plan.work / "mouth"
    done = plan.work / "held_out.npy"
    if done.is_file():
        return
    folder.mkdir(exist_ok=True)
    known = ~np.isnan(made.articulation[:, 0])
    numbers = choose.choose(made.articulation, known)
    place = {int(number): row for row, number in enumerate(numbers)}
    from PIL import Image

    with bar("crop", len(numbers)) as progress:
        for number, picture in enumerate(read.pictures(plan.video)):
            if number not in place:
                continue
            patch = steady.crop(picture, made.placed[number])
            Image.fromarray(patch).save(folder / f"{place[number]:05d}.png", compress_level=1)
            progress.advance(progress.task_ids[0])
    judged = choose.held_out(len(made.articulation))[numbers]
    # frames that judge are painted from what was heard, as in serving; only the others from what was seen as well
    vectors = np.where(judged[:, None], made.heard[numbers], made.articulation[numbers])
    _save(plan.work / "articulations.npy", vectors)
    _save(done, judged)


def fit(plan: Plan) -> None:
    """The painter; an interrupted fit goes on where it was."""
    if plan.onnx.is_file():
        return
    with bar("fit", plan.recipe.steps) as progress:
        task = progress.task_ids[0]
        state = painter.fit(
            plan.work,
            plan.work,
            plan.recipe,
            plan.threads,
            lambda done: progress.update(task, completed=done),
            plan.device,
        )
    partial = plan.onnx.with_suffix(".partial.onnx")
    painter.export(state, partial)
    partial.replace(plan.onnx)


def packed(plan: Plan, facts: read.Facts, points: NDArray[np.float32], made: Made) -> Speaker:
    """The speaker's folder, checked as any other. Raises VideoError: no rest for the idle loop; a face cut off."""
    first, after = loop.stretch(plan.video, made.rests, made.placed)
    log.info("idle loop", from_s=first / read.FPS, to_s=after / read.FPS)
    frames = loop.forth_and_back(first, after)
    shown = pack.window(plan.video, points, made.placed, facts)
    shutil.rmtree(plan.package, ignore_errors=True)
    with bar("pack", after - first) as progress:
        task = progress.task_ids[0]
        pack.write_loop(
            plan.video,
            plan.package,
            frames,
            made.placed,
            shown,
            plan.onnx,
            lambda done: progress.update(task, completed=done),
        )
    pack.write(plan.package, plan.about, open_speaker(plan.ears), plan.onnx, len(frames))
    return open_speaker(plan.about.name, plan.package.parent)


def score(plan: Plan, speaker: Speaker, test: Sequence[Utterance]) -> dict[str, Any]:
    """Painted mouths against the frames held out, and with `test` the lips as they are seen; also in score.json."""
    figures: dict[str, Any] = {"held out": painter.score(plan.work, plan.onnx)}
    if test:
        with bar("score", len(test)) as progress:
            figures["seen"], figures["asked for"] = seen.judged(
                speaker, test, Landmarker(plan.threads), lambda: progress.advance(progress.task_ids[0])
            )
    # what too little was there to judge is NaN, which JSON does not know
    known = {of: {name: None if np.isnan(x) else x for name, x in each.items()} for of, each in figures.items()}
    (plan.work / "score.json").write_text(json.dumps(known, indent=1) + "\n", encoding="utf-8")
    return figures


def make(plan: Plan, test: Sequence[Utterance] = ()) -> tuple[Speaker, dict[str, Any]]:
    """All stages that are not done yet: the speaker, in its work folder, and its figures.

    Raises:
        VideoError: see each stage.
    """
    facts = begin(plan)
    points = look(plan)
    made = aligned(plan, points, hear(plan, len(points)))
    loop.stretch(plan.video, made.rests, made.placed)  # before the long stages: it may be missing
    pack.window(plan.video, points, made.placed, facts)
    crop(plan, made)
    fit(plan)
    speaker = packed(plan, facts, points, made)
    return speaker, score(plan, speaker, test)


def _save(path: Path, values: NDArray[Any]) -> None:
    """Whole or not at all."""
    partial = path.with_suffix(".partial.npy")
    np.save(partial, values)
    partial.replace(path)


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()
