"""Precomputed features: what a speaker's front end makes of a recording, a row for each 40 ms of it.

`use_real_audio: false` paints from such a table, the speaker's own (`features` of its manifest): row `frame_id` stands
for the window that ends with the chunk of that number.
"""

import hashlib
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from models import frontend
from models.engine.image import ImageEngine
from models.frontend import CHUNK, SAMPLE_RATE, FrontEnd
from models.speaker import MANIFEST, Speaker, SpeakerError, open_speaker
from models.synctalk2d import moments

VALUES: Final = frontend.BANDS * frontend.STEPS
"""In a row: the contract's [1, 32, 16], flattened."""
FILE: Final = "features.npy"
"""The table's name in a speaker's folder."""


class FeaturesError(Exception):
    """The recording or the front end will not do; the text says which, and what was expected."""


def read_sound(path: Path) -> NDArray[np.float32]:
    """[samples] float32 mono, 24 kHz, of any file that libsndfile reads.

    Raises:
        FeaturesError: no such file, no recording, without a sample, or with samples that are no numbers.
    """
    if not path.is_file():
        raise FeaturesError(f"{path}: no such file; expected a recording (WAV, FLAC, OGG, MP3)")
    try:
        channels, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, OSError) as error:
        raise FeaturesError(f"{path}: no recording that libsndfile reads (WAV, FLAC, OGG, MP3): {error}") from None
    if not len(channels):
        raise FeaturesError(f"{path}: there is no sound in it: 0 samples")
    if not np.isfinite(channels).all():
        raise FeaturesError(f"{path}: it holds NaN or infinite samples; expected numbers in -1..1")
    mono: NDArray[np.float32] = soxr.resample(channels.mean(axis=1), rate, SAMPLE_RATE).astype(np.float32)
    return np.clip(mono, -1, 1)


def features(samples: NDArray[np.float32], front_end: FrontEnd) -> NDArray[np.float32]:
    """[samples] float32 of 24 kHz -> [T, 512] float32: row t is the window that ends with chunk t, of 40 ms.

    The last chunk is filled up with silence, and so is what a window reaches before the beginning.

    Raises:
        FeaturesError: no sample, or a front end that does not give 512 values to a window.
    """
    if not len(samples):
        raise FeaturesError("there is no sound: 0 samples")
    ends = np.arange(1, -(-len(samples) // CHUNK) + 1, dtype=np.int64) * CHUNK
    made = front_end.over(samples, ends)
    if made.shape != (len(ends), frontend.BANDS, frontend.STEPS):
        raise FeaturesError(
            f"the front end '{front_end.name}' gives {made.shape[1:]} to a window; expected "
            f"({frontend.BANDS}, {frontend.STEPS}), {VALUES} values"
        )
    return np.ascontiguousarray(made.reshape(len(ends), VALUES), np.float32)


def of_speaker(samples: NDArray[np.float32], speaker: Speaker) -> NDArray[np.float32]:
    """[samples] float32 of 24 kHz -> [T, 512] float32, as this speaker hears; an imported one by its own encoder.

    Raises:
        FeaturesError: as :func:`features`; or a speaker that hears nothing.
    """
    if speaker.manifest.image is None:
        return features(samples, frontend.get(speaker.manifest.front_end))
    try:
        return moments.heard(samples, ImageEngine(speaker))
    except (SpeakerError, ValueError) as error:
        raise FeaturesError(f"{speaker.name}: no features can be made: {error}") from None


def attach(speaker: Speaker, table: NDArray[np.float32]) -> Speaker:
    """Give an installed speaker this table [T, 512] as its own, checksum included; the speaker, checked again.

    Raises:
        SpeakerError: the package is damaged.
    """
    path = speaker.path(FILE)
    np.save(path, table)
    files = {**speaker.manifest.files, FILE: hashlib.sha256(path.read_bytes()).hexdigest()}
    manifest = msgspec.structs.replace(speaker.manifest, features=FILE, files=files)
    text = msgspec.json.format(msgspec.json.encode(manifest), indent=1)
    partial = speaker.path(f".{MANIFEST}")
    partial.write_bytes(text + b"\n")
    partial.replace(speaker.path(MANIFEST))
    return open_speaker(speaker.name, speaker.folder.parent)
