"""The lips of a painted face, judged by what is seen of them: landmarks of the very frames that a client gets.

    python -m models.training.video.seen SPEECH --speaker NAME [--speaker NAME ...]

SPEECH holds aligned recordings of people that nothing was trained on. The figures of `models.training.judge` are made
from the distance of the inner lips in the frames, not from the articulation that was asked for, so that a painter that
mumbles is found out. Beside them: how far the lips open, in pixels of the patch, and how closely what is seen follows
what was asked for.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from models import frontend
from models.articulation import CHANNELS
from models.motion import moved_along
from models.speaker import SPEAKERS_DIR, Speaker, SpeakerError, open_speaker
from models.training import assess
from models.training.export import Network
from models.training.judge import Track, judge
from models.training.progress import bar
from models.training.speech import Utterance, aligned
from models.training.video import steady
from models.training.video.align import correlation
from models.training.video.errors import VideoError
from models.training.video.landmarks import Face, Landmarker, around
from models.training.video.measure import measure
from models.training.video.show import pictures

log = structlog.get_logger(__name__)

APERTURE: Final = CHANNELS.index("aperture")
ROUNDING: Final = CHANNELS.index("rounding")


def lips(speaker: Speaker, mouths: NDArray[np.float32], landmarker: Landmarker) -> NDArray[np.float64]:
    """[T, 7] measured on the frames that this speaker shows of the articulations [T, 7]; NaN where no face is seen."""
    points, where = [], _first(speaker, landmarker)
    for picture in pictures(speaker, mouths):
        found = landmarker.points(picture, where)
        if found is None:
            raise VideoError(f"{speaker.folder}: no face is seen in a painted frame")
        where = around(found)
        points.append(found)
    seen = np.stack(points)
    return measure(seen, steady.head(seen).exact)


def _first(speaker: Speaker, landmarker: Landmarker) -> Face:
    rest = np.array([speaker.manifest.rest], np.float32)
    faces = landmarker.faces(next(pictures(speaker, rest)))
    if not faces:
        raise VideoError(f"{speaker.folder}: no face is seen in its first frame")
    return faces[0]


def judged(
    speaker: Speaker,
    utterances: Sequence[Utterance],
    landmarker: Landmarker,
    told: Callable[[], object] = lambda: None,
) -> tuple[dict[str, float], dict[str, float]]:
    """(of what is seen, of what was asked for): the judge's figures, and of the first besides `opens`, the range of the
    inner lips' distance over speech (5th to 95th percentile, pixels of the patch), and `follows`, its correlation with
    the aperture asked for."""
    manifest = speaker.manifest
    network = Network(speaker.articulator())
    heard = assess.listen(utterances, "clean", frontend.get(manifest.front_end), ())
    tracks, asked = [], []
    for each in heard:
        mouths = moved_along(network(each.features))
        seen = lips(speaker, mouths, landmarker)
        times = each.time_s - manifest.lookahead_ms / 1_000
        of = each.utterance
        tracks.append(Track(of.name, of.speaker, times, seen[:, APERTURE], seen[:, ROUNDING], of.phones))
        wanted = mouths.astype(np.float64)
        asked.append(tracks[-1]._replace(aperture=wanted[:, APERTURE], rounding=wanted[:, ROUNDING]))
        told()
    openings = np.concatenate([track.aperture for track in tracks])
    wanted = np.concatenate([track.aperture for track in asked])
    low, high = np.percentile(openings, [5, 95])
    extra = {"opens": float(high - low), "follows": correlation(openings, wanted)}
    return judge(tracks).as_dict() | extra, judge(asked).as_dict()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("speech", type=Path, help="a folder of aligned recordings")
    parser.add_argument("--speaker", action="append", required=True, help="may be repeated")
    parser.add_argument("--speakers-dir", type=Path, default=SPEAKERS_DIR)
    given = parser.parse_args(arguments)
    try:
        utterances, landmarker = aligned(given.speech), Landmarker()
        for name in given.speaker:
            speaker = open_speaker(name, given.speakers_dir)
            with bar(name, len(utterances)) as progress:
                told = partial(progress.advance, progress.task_ids[0])
                seen, asked = judged(speaker, utterances, landmarker, told)
            for of, figures in (("seen", seen), ("asked for", asked)):
                log.info("lips", speaker=name, of=of, **{key: round(value, 3) for key, value in figures.items()})
    except (VideoError, SpeakerError) as error:
        sys.exit(f"lipwire: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
