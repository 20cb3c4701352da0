"""`python -m models`: the speakers that are installed.

python -m models list
python -m models info NAME
python -m models verify [NAME]
python -m models install FOLDER-OR-ARCHIVE
python -m models remove NAME
python -m models import-synctalk2d CHECKPOINT DATASET-FOLDER --encoder ENCODER.pth --name NAME
python -m models features IN.wav --speaker NAME -o features.npy
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from models.features import FeaturesError, attach, of_speaker, read_sound
from models.install import install, remove
from models.speaker import SPEAKERS_DIR, Speaker, SpeakerError, list_speakers, open_speaker
from pipeline.extras import needs


def listing(speakers: list[Speaker]) -> Table:
    """Name, title, size, what it hears by, how large it is."""
    table = Table()
    for column in ("name", "title", "frame", "front end", "lookahead", "MB"):
        table.add_column(column)
    for speaker in speakers:
        manifest = speaker.manifest
        table.add_row(
            speaker.name,
            manifest.title,
            f"{manifest.base.width} x {manifest.base.height}",
            manifest.front_end,
            f"{manifest.lookahead_ms} ms",
            f"{_megabytes(speaker):.1f}",
        )
    return table


def about(speaker: Speaker) -> Table:
    """Everything of one, for people."""
    manifest = speaker.manifest
    table = Table(show_header=False)
    rows = {
        "name": speaker.name,
        "title": manifest.title,
        "description": manifest.description,
        "licence": manifest.licence,
        "folder": str(speaker.folder),
        "size": f"{_megabytes(speaker):.1f} MB in {len(manifest.files)} files",
        "frame": f"{manifest.base.width} x {manifest.base.height}, {manifest.base.count} base frames",
        "mouth": f"{manifest.mouth.width} x {manifest.mouth.height}",
        "front end": f"{manifest.front_end}, {manifest.lookahead_ms} ms of lookahead",
        "channels": ", ".join(manifest.channels),
        "precomputed features": str(len(speaker.features())),
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def precompute(recording: Path, speaker: Speaker, out: Path | None, *, attached: bool) -> str:
    """Write a recording's features, give them to the speaker, or both; what was done, for people.

    Raises:
        FeaturesError: a recording that cannot be read.
    """
    table = of_speaker(read_sound(recording), speaker)
    done = f"{len(table)} rows of {table.shape[1]} values, by the front end '{speaker.manifest.front_end}'"
    if out is not None:
        try:
            with out.open("wb") as file:
                np.save(file, table)
        except OSError as error:
            raise FeaturesError(f"{out}: cannot be written: {error.strerror or error}") from None
        done += f"; written to {out}"
    if attached:
        attach(speaker, table)
        done += f"; now {speaker.name}'s own: restart lipwire to use them"
    return done


def _megabytes(speaker: Speaker) -> float:
    return sum(path.stat().st_size for path in speaker.folder.rglob("*") if path.is_file()) / 1e6


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help="the U-Net's .pth, of 160 or 328 pixels")
    parser.add_argument("dataset", type=Path, help="the folder with full_body_img/ and landmarks/")
    parser.add_argument("--encoder", type=Path, help="audio_visual_encoder.pth; for live sound, mode ave")
    parser.add_argument("--name", required=True, help="of the speaker: lower-case letters, digits, - and _")
    parser.add_argument("--mode", choices=("ave", "hubert"), default="ave", help="(%(default)s)")
    parser.add_argument("--features", type=Path, help="precomputed, .npy (default: the dataset's own)")
    parser.add_argument("--frames", type=int, default=500, help="of the dataset, at most (%(default)s)")
    parser.add_argument("--title", help="for people (default: the name)")
    parser.add_argument("--licence", default="not stated: ask whose face and network it is")


def _import(given: argparse.Namespace) -> Speaker:
    with needs("train"):
        from models.synctalk2d.convert import convert
    return convert(
        given.checkpoint,
        given.dataset,
        given.name,
        encoder=given.encoder,
        mode=given.mode,
        features=given.features,
        title=given.title,
        licence=given.licence,
        most_frames=given.frames,
        speakers_dir=given.speakers_dir,
    )


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m models", description="The speakers that are installed.")
    parser.add_argument("--speakers-dir", type=Path, default=SPEAKERS_DIR)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="all of them")
    for name, words in (("info", "everything of one"), ("remove", "remove one")):
        commands.add_parser(name, help=words).add_argument("name")
    commands.add_parser("verify", help="shapes and checksums of one, or of all").add_argument("name", nargs="?")
    commands.add_parser("install", help="from a folder, .zip or .tar").add_argument("source", type=Path)
    _add_import(commands.add_parser("import-synctalk2d", help="a SyncTalk_2D or Ultralight-Digital-Human checkpoint"))
    table = commands.add_parser("features", help="precompute those of a recording, for use_real_audio: false")
    table.add_argument("recording", type=Path, metavar="IN.wav")
    table.add_argument("--speaker", required=True, help="whose front end")
    table.add_argument("-o", "--out", type=Path, metavar="features.npy", help="where the (T, 512) table is written")
    table.add_argument("--attach", action="store_true", help="make them the speaker's own")
    given = parser.parse_args()
    if given.command == "features" and given.out is None and not given.attach:
        table.error("say where to write them: -o FILE, --attach, or both")
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        if given.command == "list":
            console.print(listing(list_speakers(given.speakers_dir)))
        elif given.command == "info":
            console.print(about(open_speaker(given.name, given.speakers_dir)))
        elif given.command == "verify":
            names = [given.name] if given.name else [each.name for each in list_speakers(given.speakers_dir)]
            for name in names:
                open_speaker(name, given.speakers_dir)
                console.print(f"{name}: whole")
        elif given.command == "install":
            console.print(f"{install(given.source, given.speakers_dir).name}: installed; a running lipwire finds it")
        elif given.command == "import-synctalk2d":
            console.print(f"{_import(given).name}: imported; a running lipwire finds it")
        elif given.command == "features":
            speaker = open_speaker(given.speaker, given.speakers_dir)
            console.print(precompute(given.recording, speaker, given.out, attached=given.attach))
        else:
            remove(given.name, given.speakers_dir)
            console.print(f"{given.name}: removed")
    except (SpeakerError, FeaturesError) as error:
        sys.exit(f"lipwire: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
