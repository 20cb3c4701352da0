"""SyncTalk_2D's precomputed features of a whole recording, as its `aud_ave.npy` has them."""

import numpy as np
from numpy.typing import NDArray

from models.engine.image import ImageEngine
from models.synctalk2d.ears import BANDS, MEL_PER_S, MOMENTS, STEPS, VIDEO_PER_S, mel, pieces, resampled


def heard(samples: NDArray[np.float32], engine: ImageEngine) -> NDArray[np.float32]:
    """[samples] of 24 kHz -> [T, 512]: a row for each video frame, the first and the last one twice.

    Raises:
        SpeakerError: the speaker has no encoder.
        ValueError: less than 200 ms of sound.
    """
    spectrogram = mel(resampled(samples))
    count = (len(spectrogram) - STEPS) * VIDEO_PER_S // MEL_PER_S + 2
    shown = pieces(spectrogram, max(count, 1))
    whole = np.pad(shown, ((0, -len(shown) % MOMENTS), (0, 0), (0, 0)))
    said = engine.articulate(whole.reshape(-1, MOMENTS, BANDS, STEPS)).reshape(len(whole), -1)[: len(shown)]
    return np.concatenate([said[:1], said, said[-1:]]).astype(np.float32)
