"""A face of your own, from a few minutes of a talking person.

    python -m models.train from-video VIDEO --name NAME [--work DIR] [--out DIR]

docs/from-video.md says how to film, what it takes, and what it makes. An interrupted run goes on where it was.
"""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog

from models.install import install
from models.speaker import SPEAKERS_DIR, SpeakerError
from models.training.painter import Recipe
from models.training.speech import Utterance, aligned
from models.training.video import pack, stages
from models.training.video.errors import VideoError

log = structlog.get_logger(__name__)

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,31}")


def parser() -> argparse.ArgumentParser:
    """What the command understands."""
    usual = Recipe()
    made = argparse.ArgumentParser(
        prog="python -m models.train from-video", description=(__doc__ or "").split("\n\n", 1)[0]
    )
    made.add_argument("video", type=Path, help="one person, talking to the camera")
    made.add_argument("--name", required=True, type=_name, help="the speaker's: lower-case letters, digits, - and _")
    made.add_argument("--title", help="as people read it (default: the name)")
    made.add_argument("--work", type=Path, help="folder of all products (default: NAME.work; 0.5 GB)")
    made.add_argument("--out", type=Path, default=SPEAKERS_DIR, help="where the speaker is installed (%(default)s)")
    made.add_argument("--licence", default=pack.UNLICENSED, metavar="TEXT|FILE", help="the speaker's LICENSE")
    made.add_argument("--test", type=Path, help="aligned speech of other people, only to report figures on")
    made.add_argument(
        "--seen-share", type=float, metavar="0..1", help="of what is seen in what is learnt, to compare (by channel)"
    )
    made.add_argument("--steps", type=int, default=usual.steps, help="of the fit (%(default)s)")
    made.add_argument("--seed", type=int, default=usual.seed)
    made.add_argument("--threads", type=int, default=1, help="(%(default)s)")
    made.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="what fits the painter (%(default)s)")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the speaker and install it; 0 if all went well."""
    given = parser().parse_args(arguments)
    about = pack.About(given.name, given.title or given.name.capitalize(), _licence(given.licence))
    plan = stages.Plan(
        given.video,
        given.work or Path(f"{given.name}.work"),
        about,
        Recipe(steps=given.steps, seed=given.seed),
        given.threads,
        given.device,
        share=given.seen_share,
    )
    try:
        _check_device(given.device)
        speaker, figures = stages.make(plan, _tested(given.test))
        for of, values in figures.items():
            log.info("figures", of=of, **{name: round(value, 3) for name, value in values.items()})
        installed = install(speaker.folder, given.out)
    except (VideoError, SpeakerError) as error:
        sys.exit(f"lipwire: {error}")
    except KeyboardInterrupt:
        sys.exit(f"lipwire: stopped; the same command goes on from {plan.work}")
    log.info("installed", speaker=installed.name, folder=str(installed.folder))
    return 0


def _tested(folder: Path | None) -> list[Utterance]:
    """The recordings to judge by; none where no folder is named."""
    if folder is None:
        return []
    utterances = aligned(folder)
    if not utterances:
        raise VideoError(f"--test {folder}: no NAME.flac or NAME.wav with NAME.phones.tsv beside it")
    return utterances


def _check_device(device: str) -> None:
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise VideoError("--device cuda: PyTorch sees no GPU here; leave it out, or install a PyTorch with CUDA")


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r}: lower-case letters, digits, - and _, at most 32, a letter first")
    return text


def _licence(given: str) -> str:
    """The text itself, or that of a file."""
    path = Path(given)
    try:
        text = path.read_text(encoding="utf-8") if path.is_file() else given
    except (OSError, UnicodeDecodeError) as error:
        sys.exit(f"lipwire: {path}: no licence can be read: {error}")
    if not text.strip():
        sys.exit(f"lipwire: --licence {given!r}: empty; expected a text, or a file with one")
    return text
