"""A video whose lips are known, to try the making of a speaker on: an installed speaker's face, whose mouth follows the
phones that were spoken, not what a network hears of them.

    python -m models.training.video.actor SPEECH OUT.mp4 --speaker amara --seconds 180

SPEECH holds aligned recordings (``NAME.flac`` or ``.wav`` beside ``NAME.phones.tsv``). Their lips have the timing and
the closures of speech, `articulate`'s, and habits of their own besides: this actor opens less wide than the speaker
could, drops the jaw more, and no two vowels quite alike. Between sentences, and for a while at the end, it is silent.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import av
import numpy as np
from numpy.typing import NDArray

from models.articulation import CHANNELS, REST
from models.frontend import CHUNK, SAMPLE_RATE
from models.speaker import SPEAKERS_DIR, open_speaker
from models.training.articulate import articulate
from models.training.speech import Utterance, aligned
from models.training.video.show import pictures

PAUSE_S: Final = 0.5
"""Of silence after each sentence."""
QUIET_S: Final = 6.0
"""Of silence at the end, as docs/from-video.md asks for."""
LEVEL: Final = 0.06
"""RMS that every recording is brought to: -24 dBFS, a usual level of speech."""
HISS: Final = 1e-4
"""RMS of what is left of a room in the silences: -80 dBFS."""
HABIT: Final = {"jaw": 1.15, "aperture": 0.8, "width": 0.8, "rounding": 0.9}
"""How much more or less than the textbook this actor does."""
WHIM: Final = 0.06
"""Standard deviation of what each channel does besides, for no reason, a few times a second."""
_WHIM_FRAMES: Final = 9
"""Frames over which whims are smooth: a third of a second."""
_CRF: Final = "16"
"""x264's constant quality: no visible loss."""
FPS: Final = 25


def habits(track: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """[T, 7] the textbook's mouth -> this actor's; a closed mouth stays closed, a resting one at rest."""
    scale = np.array([HABIT.get(name, 1.0) for name in CHANNELS], np.float32)
    smooth = np.hanning(_WHIM_FRAMES + 2)[1:-1]
    noise = rng.standard_normal((len(track) + _WHIM_FRAMES - 1, len(CHANNELS)))
    whims = np.stack([np.convolve(column, smooth / np.linalg.norm(smooth), "valid") for column in noise.T], axis=1)
    open_by = np.clip(track[:, CHANNELS.index("aperture")] * 5, 0, 1)[:, None]
    low = np.array([-1.0 if name == "width" else 0.0 for name in CHANNELS], np.float32)
    return np.clip(track * scale + WHIM * whims * open_by, low, 1).astype(np.float32)


def play(utterances: Sequence[Utterance], seconds: float, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Sound [samples] of 24 kHz and the mouth [T, 7] at its every 40 ms, at least so long, in an order of chance."""
    rng = np.random.default_rng(seed)
    sounds, tracks, total = [], [], 0
    for index in rng.permutation(len(utterances)):
        samples = utterances[index].samples()
        samples = samples * np.float32(LEVEL / max(float(np.sqrt(np.mean(samples**2))), HISS))
        frames = -(-(len(samples) + int(PAUSE_S * SAMPLE_RATE)) // CHUNK)
        sounds.append(np.pad(samples, (0, frames * CHUNK - len(samples))))
        tracks.append(articulate(utterances[index].phones, np.arange(frames) * CHUNK / SAMPLE_RATE))
        total += frames
        if total * CHUNK >= seconds * SAMPLE_RATE:
            break
    quiet = round(QUIET_S * FPS)
    sounds.append(np.zeros(quiet * CHUNK, np.float32))
    tracks.append(np.tile(np.array(REST, np.float32), (quiet, 1)))
    sound = np.concatenate(sounds)
    hiss = (HISS * rng.standard_normal(len(sound))).astype(np.float32)
    return np.clip(sound + hiss, -1, 1), habits(np.concatenate(tracks).astype(np.float32), rng)


def film(path: Path, frames: Iterator[NDArray[np.uint8]], sound: NDArray[np.float32] | None, size: int) -> None:
    """An MP4, H.264 at 25 fps and AAC, `size` pixels a side; without `sound`, a silent one."""
    with av.open(str(path), "w", format="mp4") as container:
        video: Any = container.add_stream("libx264", rate=FPS, options={"crf": _CRF})
        video.width, video.height, video.pix_fmt = size, size, "yuv420p"
        audio: Any = None if sound is None else container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for number, frame in enumerate(frames):
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts = number
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        if sound is not None:
            piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound)[np.newaxis], format="fltp", layout="mono")
            piece.sample_rate, piece.pts = SAMPLE_RATE, 0
            container.mux(audio.encode(piece))
            container.mux(audio.encode(None))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("speech", type=Path, help="a folder of aligned recordings")
    parser.add_argument("out", type=Path, metavar="OUT.mp4")
    parser.add_argument("--speaker", default="amara", help="whose face (%(default)s)")
    parser.add_argument("--speakers-dir", type=Path, default=SPEAKERS_DIR)
    parser.add_argument("--seconds", type=float, default=180.0, help="of speech (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    speaker = open_speaker(given.speaker, given.speakers_dir)
    sound, track = play(aligned(given.speech), given.seconds, given.seed)
    film(given.out, pictures(speaker, track), sound, speaker.manifest.base.width)
    np.save(given.out.with_suffix(".npy"), track)


if __name__ == "__main__":
    main()
