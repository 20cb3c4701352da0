"""What an articulator does on people it never heard: as recorded, in noise, through a codec, and when
nobody speaks.

Windows are fed exactly as in serving: one every 40 ms, the mouth shown is that of ``lookahead`` before the
window's end.
"""

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.frontend import CHUNK, SAMPLE_RATE, FrontEnd
from models.motion import moved_along
from models.training import augment, sounds
from models.training.articulator import APERTURE, ROUNDING
from models.training.judge import Figures, Track, judge
from models.training.speech import Utterance

Sound = NDArray[np.float32]
Network = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""[N, 32, 16] -> [N, 7]."""

NOISE_DB: Final = 10.0
BABBLE_TALKERS: Final = 6
OPUS_BITS: Final = 16_000
STEADY_S: Final = 60.0
STEADY_SOUNDS: Final = ("silence", "white", "music")
STEADY_LEVEL_DB: Final = -25.0
STEADY_SHARE: Final = 0.1
"""The mouth is steady within this share of its range above closed."""


def _clean(_rng: np.random.Generator, sound: Sound, _voices: Sequence[Sound]) -> Sound:
    return sound


def _noisy(sound: Sound, noise: Sound) -> Sound:
    """``noise`` of a power ``NOISE_DB`` under the whole recording's, pauses included: SNR as it is usually meant."""
    gain = augment.rms(sound) / augment.rms(noise) * 10 ** (-NOISE_DB / 20)
    return (sound + noise * gain).astype(np.float32)


def _babble(rng: np.random.Generator, sound: Sound, voices: Sequence[Sound]) -> Sound:
    return _noisy(sound, augment.babble(rng, voices, len(sound), BABBLE_TALKERS))


def _street(rng: np.random.Generator, sound: Sound, _voices: Sequence[Sound]) -> Sound:
    return _noisy(sound, sounds.street(rng, len(sound)))


def _opus(_rng: np.random.Generator, sound: Sound, _voices: Sequence[Sound]) -> Sound:
    return augment.opus(sound, OPUS_BITS)


CONDITIONS: Final = MappingProxyType(
    {"clean": _clean, "babble 10 dB": _babble, "street 10 dB": _street, "opus 16 kbit/s": _opus}
)


@dataclass(frozen=True, slots=True)
class Heard:
    """What a front end makes of one recording, window by window."""

    utterance: Utterance
    time_s: NDArray[np.float64]
    """[N]: the ends of the windows."""
    features: NDArray[np.float32]
    """[N, 32, 16]"""


def window_ends(samples: int, lookahead_ms: float = 40.0) -> NDArray[np.int64]:
    """Ends (samples) of the windows that show every moment of a recording."""
    reach = samples + round(lookahead_ms / 1_000 * SAMPLE_RATE)
    return np.arange(CHUNK, reach + CHUNK, CHUNK, dtype=np.int64)


def listen(
    utterances: Sequence[Utterance], condition: str, front_end: FrontEnd, voices: Sequence[Sound]
) -> list[Heard]:
    """Every utterance under one of ``CONDITIONS``; ``voices`` are the babble's."""
    heard = []
    for utterance in utterances:
        rng = np.random.default_rng(zlib.crc32(f"{utterance.name} {condition}".encode()))
        sound = CONDITIONS[condition](rng, utterance.samples(), voices)
        ends = window_ends(len(sound), 120)
        heard.append(Heard(utterance, ends / SAMPLE_RATE, front_end.over(sound, ends)))
    return heard


def track(heard: Heard, network: Network, lookahead_ms: float) -> Track:
    """The track that a network paints, moved from frame to frame as it is served."""
    mouth = moved_along(network(heard.features)).astype(np.float64)
    utterance = heard.utterance
    times = heard.time_s - lookahead_ms / 1_000
    return Track(utterance.name, utterance.speaker, times, mouth[:, APERTURE], mouth[:, ROUNDING], utterance.phones)


def figures(heard: Sequence[Heard], network: Network, lookahead_ms: float) -> Figures:
    """The judge's figures of a network on many recordings."""
    return judge([track(each, network, lookahead_ms) for each in heard])


def steadiness(network: Network, front_end: FrontEnd, speech: Sequence[Track]) -> Mapping[str, float]:
    """Share of frames in which the mouth stays closed through a minute of each of ``STEADY_SOUNDS``.

    Closed is within ``STEADY_SHARE`` of the range that the aperture has over ``speech``.
    """
    low, high = np.percentile(np.concatenate([each.aperture for each in speech]), [5, 95])
    shares = {}
    for kind in STEADY_SOUNDS:
        rng = np.random.default_rng(zlib.crc32(kind.encode()))
        sound = sounds.NON_SPEECH[kind](rng, int(STEADY_S * SAMPLE_RATE))
        sound = np.clip(sound * np.float32(10 ** (STEADY_LEVEL_DB / 20)), -1, 1)
        aperture = network(front_end.over(sound, window_ends(len(sound))))[:, APERTURE]
        shares[kind] = float(np.mean(aperture <= low + STEADY_SHARE * (high - low)))
    return shares
