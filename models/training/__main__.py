"""The voice's half of training, from speech to the articulator that is served.

    python -m models.train --work WORK --speech FOLDER [--speech FOLDER ...] [--out FOLDER]

runs every stage that is not done yet; ``--stage NAME`` (may be repeated) runs only some of them. An
interrupted run goes on where it was. docs/training.md tells the whole of it, the face included.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from models import frontend
from models.training import voice
from models.training.fit import Recipe
from models.training.speech import aligned

log = structlog.get_logger(__name__)

STAGES: Final = ("speech", "degrade", "windows", "fit", "assess", "export")
FRONT_END: Final = "near"


def parser() -> argparse.ArgumentParser:
    """What the command understands."""
    recipe = Recipe(FRONT_END)
    made = argparse.ArgumentParser(prog="python -m models.train", description=__doc__.split("\n\n", 1)[0])
    made.add_argument("--work", type=Path, required=True, help="folder of all products; may be large (3 GB)")
    made.add_argument("--speech", type=Path, action="append", default=[], help="folder to learn from")
    made.add_argument(
        "--synthesise",
        type=float,
        default=0.0,
        metavar="MINUTES",
        help="speech to make besides, by espeak-ng and flite",
    )
    made.add_argument("--test", type=Path, help="aligned folder of other people, only to report figures on")
    made.add_argument("--out", type=Path, help="where the articulator is written (default: WORK/export)")
    made.add_argument("--stage", choices=STAGES, action="append", help="run only this one (may be repeated)")
    made.add_argument("--copies", type=int, default=12, help="degraded copies of the speech (%(default)s)")
    made.add_argument("--front-end", choices=sorted(frontend.FRONT_ENDS), default=recipe.front_end)
    made.add_argument("--lookahead-ms", type=float, default=recipe.lookahead_ms, help="(%(default)s)")
    made.add_argument("--steps", type=int, default=recipe.steps, help="of the fit (%(default)s)")
    made.add_argument("--width", type=int, default=recipe.width, help="of the network (%(default)s)")
    made.add_argument("--threads", type=int, default=1, help="for the fit (%(default)s)")
    made.add_argument("--seed", type=int, default=1)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stages asked for; 0 if all went well."""
    given = parser().parse_args(arguments)
    bench = voice.Bench(given.work, given.copies, given.seed)
    recipe = Recipe(
        given.front_end,
        lookahead_ms=given.lookahead_ms,
        steps=given.steps,
        width=given.width,
        seed=given.seed,
    )
    for stage in given.stage or STAGES:
        log.info("stage", name=stage, work=str(given.work))
        run(stage, bench, recipe, given)
    return 0


def run(stage: str, bench: voice.Bench, recipe: Recipe, given: argparse.Namespace) -> None:
    """One stage."""
    if stage == "speech":
        made = [voice.synthesised(bench, given.synthesise)] if given.synthesise else []
        count = voice.make_speech(bench, [*given.speech, *made])
        if not count:
            sys.exit(
                "no speech: name a folder with --speech (docs/training.md says where to get some), or --synthesise"
            )
        train, held_out = bench.split()
        log.info("speech", utterances=count, train=len(train), held_out=len(held_out))
    elif stage == "degrade":
        voice.degrade(bench)
    elif stage == "windows":
        voice.windows(bench, recipe.front_end)
    elif stage == "fit":
        import torch

        torch.set_num_threads(given.threads)
        voice.train(bench, recipe)
    elif stage == "assess":
        table = voice.assessed(bench, bench.fit_path(recipe), aligned(given.test) if given.test else ())
        for condition, figures in table.items():
            log.info("figures", of=condition, **{name: round(value, 3) for name, value in figures.items()})
    elif stage == "export":
        from models.training.export import export
        from models.training.fit import restore

        state = bench.fit_path(recipe)
        path = export(
            restore(state)[1],
            given.out or given.work / "export",
            recipe.front_end,
            recipe.lookahead_ms,
            floor=voice.floor_of(bench, state),
        )
        log.info("exported", path=str(path), bytes=path.stat().st_size)


if __name__ == "__main__":
    sys.exit(main())
