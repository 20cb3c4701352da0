"""Which front end, and how much lookahead: short fits that differ in nothing else, judged on the held-out speakers.

    python -m models.training.compare --work WORK [--plot FILE.png]

uses the first copy (the speech as recorded) of a work folder that ``python -m models.train`` has filled, and keeps
its fits and ``compare.json`` there. It prints a Markdown table.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import structlog
from PIL import Image, ImageDraw

from models import frontend
from models.score import table
from models.training import assess, voice
from models.training.export import evaluate
from models.training.fit import Recipe, fit

log = structlog.get_logger(__name__)

STEPS: Final = 400
LOOKAHEADS_MS: Final = (0, 40, 80, 120)
CASES: Final = (
    *((name, 40) for name in ("original", "newest", "strided", "context", "near")),
    *(("near", lookahead) for lookahead in LOOKAHEADS_MS if lookahead != 40),
)
PLOTTED: Final = {"corr0": "gold", "closure_mid": "tomato", "auc_open_vs_close": "skyblue", "jerk": "grey"}
_SIDE: Final = (640, 400)
_MARGIN: Final = 50

Figures = dict[str, dict[str, float]]


def compare(work: Path, steps: int = STEPS) -> Figures:
    """Figures by case; the cases that ``compare.json`` has are not fitted again."""
    bench = voice.Bench(work, copies=1)
    kept = work / "compare.json"
    figures: Figures = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    _, held_out = bench.split()
    for name, lookahead in CASES:
        case = f"{name}, {lookahead} ms"
        if case in figures:
            continue
        voice.windows(bench, name)
        recipe = Recipe(name, lookahead_ms=float(lookahead), steps=steps)
        features, targets = voice.material_of(bench, recipe)
        model = fit(features, targets, recipe, work / "compare" / f"{name}-{lookahead}.pt")
        heard = assess.listen(held_out, "clean", frontend.get(name), ())
        judged = assess.figures(heard, partial(evaluate, model), float(lookahead))
        figures[case] = judged.as_dict()
        kept.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        log.info("compared", case=case, corr0=round(judged.corr0, 3))
    return figures


def plot(figures: Mapping[str, Mapping[str, float]], path: Path) -> None:
    """A PNG of some figures over the lookahead."""
    width, height = _SIDE
    image = Image.new("RGB", _SIDE, "white")
    draw = ImageDraw.Draw(image)

    def at(lookahead: float, value: float) -> tuple[float, float]:
        return (
            _MARGIN + lookahead / LOOKAHEADS_MS[-1] * (width - 4 * _MARGIN),
            height - _MARGIN - value * (height - 2 * _MARGIN),
        )

    for tenth in range(0, 11, 2):
        draw.line([at(0, tenth / 10), at(LOOKAHEADS_MS[-1], tenth / 10)], fill="lightgrey")
        draw.text((12, at(0, tenth / 10)[1] - 6), f"{tenth / 10:.1f}", fill="black")
    for lookahead in LOOKAHEADS_MS:
        draw.text((at(lookahead, 0)[0] - 12, height - _MARGIN + 8), f"{lookahead} ms", fill="black")
    for figure, colour in PLOTTED.items():
        points = [at(each, figures[f"near, {each} ms"][figure]) for each in LOOKAHEADS_MS]
        draw.line(points, fill=colour, width=3)
        draw.text((points[-1][0] + 8, points[-1][1] - 6), figure, fill="black")
    image.save(path)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m models.training.compare")
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=STEPS, help="of each fit (%(default)s)")
    parser.add_argument("--plot", type=Path, help="write the plot over lookaheads here")
    given = parser.parse_args(arguments)
    figures = compare(given.work, given.steps)
    if given.plot:
        plot(figures, given.plot)
    sys.stdout.write(table(figures) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
