"""The voice's half of training, stage by stage; each resumes, and keeps its products in files of a work folder.

              synthesised/               for who has no recordings: sentences read by espeak-ng and flite
    speech    speech/NAME.wav, NAME.phones.tsv   24 kHz, with phone times: taken over, or force-aligned
    degrade   copies/copy-03.npz                 every utterance once, degraded, and sounds that are not speech
    windows   windows/FRONTEND-03.npy            what the front end makes of them
    fit       fits/NAME.pt                       the network, and the state from which a fit resumes
    assess    fits/NAME.json                     its figures on the speakers held out
    export    export/articulator.onnx, .json     what is served

What the mouth does (:mod:`models.training.articulate`) is made anew from the phones for every fit.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
import structlog
from numpy.typing import NDArray

from models import frontend
from models.frontend import SAMPLE_RATE
from models.training import assess, material, speech
from models.training.fit import Recipe, fit, restore
from models.training.material import Targets
from models.training.progress import bar
from models.training.speech import Utterance
from models.training.synthesise import synthesise

log = structlog.get_logger(__name__)

HELD_OUT: Final = 0.1
"""Share of the speakers that is never trained on and on which models are chosen."""
BABBLE_VOICES: Final = 40


@dataclass(frozen=True, slots=True)
class Bench:
    """A work folder and what all stages agree on."""

    work: Path
    copies: int = 12
    seed: int = 1

    def utterances(self) -> list[Utterance]:
        """What the speech stage made."""
        return speech.aligned(self.work / "speech")

    def split(self) -> tuple[list[Utterance], list[Utterance]]:
        """(to train on, held out)."""
        return speech.split(self.utterances(), HELD_OUT)

    def copy_path(self, copy: int) -> Path:
        """Where a copy is."""
        return self.work / "copies" / f"copy-{copy:02d}.npz"

    def windows_path(self, front_end: str, copy: int) -> Path:
        """Where a front end's windows of a copy are."""
        return self.work / "windows" / f"{front_end}-{copy:02d}.npy"

    def fit_path(self, recipe: Recipe) -> Path:
        """Where a fit is."""
        name = f"{recipe.front_end}-{recipe.lookahead_ms:.0f}-{recipe.steps}-{recipe.width}"
        return self.work / "fits" / f"{name}.pt"


def _each(title: str, items: Sequence[Path] | Sequence[int]) -> Iterator[Path | int]:
    with bar(title, len(items)) as progress:
        for item in items:
            yield item
            progress.advance(progress.task_ids[0])


def synthesised(bench: Bench, minutes: float) -> Path:
    """Make so many minutes of synthesised speech; the folder, in LibriSpeech's layout."""
    folder = bench.work / "synthesised"
    with bar("synthesise", round(minutes * 60)) as progress:
        task = progress.task_ids[0]
        synthesise(folder, minutes, bench.seed, lambda seconds: progress.update(task, completed=seconds))
    return folder


def make_speech(bench: Bench, folders: Iterable[Path]) -> int:
    """Take over aligned folders, align LibriSpeech's; how many utterances there are now."""
    target = bench.work / "speech"
    target.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        ready = {each.name: each for each in speech.aligned(folder)}
        texts = {audio.stem: (audio, text) for audio, text in speech.transcripts(folder)}
        if not ready and not texts:
            msg = f"{folder} holds neither NAME.flac with NAME.phones.tsv nor LibriSpeech's *.trans.txt"
            raise FileNotFoundError(msg)
        names = sorted({*ready, *texts})
        with bar("speech", len(names)) as progress:
            for name in names:
                progress.advance(progress.task_ids[0])
                if (target / f"{name}.phones.tsv").exists():
                    continue
                if name in ready:
                    audio, phones = ready[name].audio, ready[name].phones
                else:
                    from models.training.align import align

                    audio, text = texts[name]
                    phones = align(audio, text) or ()
                if not phones:
                    log.warning("speech left out: its text does not fit", name=name)
                    continue
                soundfile.write(target / f"{name}.wav", speech.read_audio(audio), SAMPLE_RATE, subtype="PCM_16")
                speech.write_phones(target / f"{name}.phones.tsv", phones)
    return len(bench.utterances())


def degrade(bench: Bench) -> None:
    """Make the copies that are not there yet."""
    bench.copy_path(0).parent.mkdir(parents=True, exist_ok=True)
    train, _ = bench.split()
    missing = [copy for copy in range(bench.copies) if not bench.copy_path(copy).exists()]
    for copy in _each("degrade", missing):
        assert isinstance(copy, int)
        material.save(bench.copy_path(copy), material.copy_of(train, bench.seed, copy))


def windows(bench: Bench, front_end: str) -> None:
    """Make the windows that are not there yet."""
    bench.windows_path(front_end, 0).parent.mkdir(parents=True, exist_ok=True)
    missing = [copy for copy in range(bench.copies) if not bench.windows_path(front_end, copy).exists()]
    for copy in _each(f"windows of {front_end}", missing):
        assert isinstance(copy, int)
        made = material.windows(material.load(bench.copy_path(copy)), frontend.get(front_end))
        partial = bench.windows_path(front_end, copy).with_suffix(".partial.npy")
        np.save(partial, made)
        partial.replace(bench.windows_path(front_end, copy))


def material_of(bench: Bench, recipe: Recipe) -> tuple[NDArray[np.float16], Targets]:
    """All windows and targets of a fit."""
    features = [np.load(bench.windows_path(recipe.front_end, copy)) for copy in range(bench.copies)]
    parts = [
        material.targets(material.load(bench.copy_path(copy)), recipe.lookahead_ms) for copy in range(bench.copies)
    ]
    joined = Targets(
        articulation=np.concatenate([part.articulation for part in parts]),
        shut=np.concatenate([part.shut for part in parts]),
        rest=np.concatenate([part.rest for part in parts]),
        phone=np.concatenate([part.phone for part in parts]),
    )
    return np.concatenate(features), joined


def train(bench: Bench, recipe: Recipe) -> Path:
    """Fit, or go on fitting; where the fit is."""
    state = bench.fit_path(recipe)
    features, targets = material_of(bench, recipe)
    with bar(f"fit {state.stem}", recipe.steps) as progress:
        task = progress.task_ids[0]
        fit(features, targets, recipe, state, lambda done: progress.update(task, completed=done))
    return state


def floor_of(bench: Bench, state: Path) -> float:
    """The aperture that a fit gives to shut lips: its 5th percentile over the held-out speakers' speech."""
    from models.training.export import evaluate
    from models.training.judge import speaking

    recipe, model = restore(state)
    _, held_out = bench.split()
    if not held_out:
        return 0.0
    heard = assess.listen(held_out, "clean", frontend.get(recipe.front_end), ())
    tracks = [assess.track(each, lambda x: evaluate(model, x), recipe.lookahead_ms) for each in heard]
    aperture = np.concatenate([track.aperture[speaking(track)] for track in tracks])
    return float(np.percentile(aperture, 5))


def assessed(bench: Bench, state: Path, test: Sequence[Utterance] = ()) -> dict[str, dict[str, float]]:
    """Figures of a fit on the held-out speakers (and on ``test``) by condition; also written beside the fit."""
    from models.training.export import evaluate

    recipe, model = restore(state)
    front_end = frontend.get(recipe.front_end)
    floor = floor_of(bench, state)
    trained, held_out = bench.split()
    voices = [each.samples() for each in trained[:BABBLE_VOICES]]

    def network(features: NDArray[np.float32]) -> NDArray[np.float32]:
        mouth: NDArray[np.float32] = evaluate(model, features, floor)
        return mouth

    table: dict[str, dict[str, float]] = {}
    for name, utterances in (("held out", held_out), ("test", list(test))):
        for condition in assess.CONDITIONS if utterances else ():
            heard = assess.listen(utterances, condition, front_end, voices)
            table[f"{name}, {condition}"] = assess.figures(heard, network, recipe.lookahead_ms).as_dict()
            if name == "held out" and condition == "clean":
                tracks = [assess.track(each, network, recipe.lookahead_ms) for each in heard]
                table["steady"] = dict(assess.steadiness(network, front_end, tracks))
    state.with_suffix(".json").write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return table
