"""The quality report: one page about a speaker's lips, with pictures.

    python -m models.score FOLDER --out REPORT [--speaker default] [--renders RENDERS]

FOLDER holds recordings with phone times (``NAME.flac`` or ``.wav`` beside ``NAME.phones.tsv``) of people that the
network was not trained on. REPORT/report.md gives the figures of every recording and of all of them together, as
recorded, in noise and through a codec (:mod:`models.training.judge` explains each), how still the mouth is when
nobody speaks, and the aperture over the spectrogram of some sentences. With ``--renders``, what the face's renderer
made, it also compares painted mouths with renders held out and shows every viseme rendered and painted.
Needs the extra ``train``.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from models import frontend
from models.articulation import CHANNELS
from models.frontend import SAMPLE_RATE
from pipeline.extras import needs

with needs("train"):
    from PIL import Image, ImageDraw

    from models.training import assess, painter, sheet
    from models.training.articulate import articulate
    from models.training.export import Network
    from models.training.judge import Track, judge
    from models.training.speech import Utterance, aligned

log = structlog.get_logger(__name__)

SPEAKERS: Final = Path(__file__).with_name("speakers")
PICTURES: Final = 4
_SECONDS: Final = 5.0
_PIXELS_PER_S: Final = 240
_HEIGHT: Final = 320
_APERTURE: Final = CHANNELS.index("aperture")


def table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Figures as a Markdown table: a row for each name."""
    columns = list(next(iter(rows.values())))
    lines = [f"| | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for name, figures in rows.items():
        values = (figures[column] for column in columns)
        lines.append(f"| {name} | {' | '.join('-' if np.isnan(value) else f'{value:.2f}' for value in values)} |")
    return "\n".join(lines)


def picture(utterance: Utterance, track: Track, path: Path) -> None:
    """A PNG: the spectrogram, over it the painted aperture (yellow), the phones' (white), and the phones' names."""
    samples = utterance.samples()[: int(_SECONDS * SAMPLE_RATE)]
    seconds = len(samples) / SAMPLE_RATE
    width = int(seconds * _PIXELS_PER_S)
    image = Image.fromarray(_spectrogram(samples)).resize((width, _HEIGHT)).convert("RGB")
    draw = ImageDraw.Draw(image)
    fine = np.arange(0, seconds, 0.01)
    taught = articulate(utterance.phones, fine)[:, _APERTURE]
    painted = np.interp(fine, track.time_s, track.aperture)
    for curve, colour, thick in ((taught, "white", 1), (painted, "yellow", 3)):
        points = [(t * _PIXELS_PER_S, _HEIGHT - 24 - y * (_HEIGHT - 40)) for t, y in zip(fine, curve, strict=True)]
        draw.line(points, fill=colour, width=thick)
    for start, end, name in utterance.phones:
        if end < seconds:
            draw.line([(start * _PIXELS_PER_S, _HEIGHT - 18), (start * _PIXELS_PER_S, _HEIGHT)], fill="grey")
            draw.text((start * _PIXELS_PER_S + 3, _HEIGHT - 14), name, fill="white")
    image.save(path)


def _spectrogram(samples: NDArray[np.float32]) -> NDArray[np.uint8]:
    """[160, frames], low frequencies at the bottom, 60 dB of range, dimmed so that curves stand out."""
    hann = np.hanning(800).astype(np.float32)
    every = np.lib.stride_tricks.sliding_window_view(samples, 800)[::120]
    level = 20 * np.log10(np.abs(np.fft.rfft(every * hann, axis=1))[:, :267] + 1e-4)
    shade = np.clip((level - level.max() + 60) / 60, 0, 1)
    dimmed: NDArray[np.uint8] = (150 * shade.T[::-1]).astype(np.uint8)
    return dimmed


def write(folder: Path, speaker: Path, out: Path, renders: Path | None = None) -> Path:
    """Write the report about a speaker's folder; where it is."""
    utterances = aligned(folder)
    if not utterances:
        msg = f"{folder} holds no NAME.flac or NAME.wav with NAME.phones.tsv beside it"
        raise FileNotFoundError(msg)
    out.mkdir(parents=True, exist_ok=True)
    manifest = json.loads((speaker / "manifest.json").read_text(encoding="utf-8"))
    front_end, lookahead = frontend.get(manifest["front_end"]), float(manifest["lookahead_ms"])
    network = Network(speaker / "articulator.onnx")
    voices = [each.samples() for each in utterances]
    by_condition = {
        condition: [
            assess.track(heard, network, lookahead) for heard in assess.listen(utterances, condition, front_end, voices)
        ]
        for condition in assess.CONDITIONS
    }
    clean = by_condition["clean"]
    steady = assess.steadiness(network, front_end, clean)
    parts = [
        f"# How well {speaker.name}'s lips fit\n",
        f"{len(utterances)} recordings of {len({each.speaker for each in utterances})} people; front end "
        f"`{front_end.name}`, lookahead {lookahead:.0f} ms.\n",
        "## All recordings\n",
        table({name: judge(tracks).as_dict() for name, tracks in by_condition.items()}),
        "\n## When nobody speaks\n",
        "Share of the frames of a minute in which the mouth is closed within a tenth of its range: "
        + ", ".join(f"{name} {share:.2f}" for name, share in steady.items())
        + ".\n",
        "## Each recording, as recorded\n",
        table({track.name: judge([track]).as_dict() for track in clean}),
        "\n## Aperture over the spectrogram\n",
        "Yellow: painted from the sound. White: what the phones ask for.\n",
    ]
    for utterance, track in list(zip(utterances, clean, strict=True))[:PICTURES]:
        picture(utterance, track, out / f"{utterance.name}.png")
        parts.append(f"![{utterance.name}]({utterance.name}.png)\n")
    if renders is not None:
        parts += _painted(renders, speaker / "painter.onnx", out)
    page = out / "report.md"
    page.write_text("\n".join(parts), encoding="utf-8")
    return page


def _painted(renders: Path, served: Path, out: Path) -> list[str]:
    """The painter's part of the page: its figures on renders held out, and every viseme rendered and painted."""
    figures = painter.score(renders, served)
    Image.fromarray(sheet.sheet(renders, served)).save(out / "visemes.jpg", quality=88)
    return [
        "## Painted mouths against renders never trained on\n",
        "| " + " | ".join(figures) + " |",
        "|---" * len(figures) + "|",
        "| " + " | ".join(str(value) for value in figures.values()) + " |",
        "\n`psnr` in dB and `ssim` are means over the frames of the 160x160 crop, `_lips` of its inner 80x88.\n",
        "## Every viseme: rendered, painted, four times the difference\n",
        "![Visemes](visemes.jpg)\n",
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m models.score", description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("folder", type=Path, help="recordings with phone times")
    parser.add_argument("--out", type=Path, required=True, help="folder of the report")
    parser.add_argument("--speaker", default="default", help="name of a shipped speaker, or a folder")
    parser.add_argument("--renders", type=Path, help="what models.training.face.render made")
    given = parser.parse_args(arguments)
    shipped = SPEAKERS / given.speaker
    try:
        page = write(given.folder, shipped if shipped.is_dir() else Path(given.speaker), given.out, given.renders)
    except (FileNotFoundError, ValueError) as problem:
        sys.exit(f"models.score: {problem}")
    log.info("report", page=str(page))
    return 0


if __name__ == "__main__":
    sys.exit(main())
