"""What rooms, microphones and networks do to a voice, so that the articulator has heard it all before.

Every effect keeps the length and the timing of what it is given (to a millisecond); only :func:`retime`
moves the phones, and gives their new times. Samples are [n] float32, 24 kHz mono.
"""

import io
from collections.abc import Sequence
from typing import Final

import av
import numpy as np
import scipy.signal
import soxr
from numpy.random import Generator
from numpy.typing import NDArray

from models.frontend import SAMPLE_RATE
from models.training import sounds
from models.training.articulate import Phone

Sound = NDArray[np.float32]

_SILENT: Final = 1e-9
LEVEL_DB: Final = -22.0
"""Of speech as people set their microphones, dB of full scale; give or take 6."""


def rms(sound: Sound) -> float:
    """Root of the mean square."""
    return float(np.sqrt(np.mean(np.square(sound, dtype=np.float64)))) if len(sound) else 0.0


def speech_level(sound: Sound) -> float:
    """RMS of the louder half of 20 ms frames: the level of speech, its pauses aside."""
    frames = sound[: len(sound) // 480 * 480].reshape(-1, 480)
    if not len(frames):
        return rms(sound)
    power = np.sort(np.mean(np.square(frames), axis=1))
    return float(np.sqrt(power[len(power) // 2 :].mean()))


def retime(sound: Sound, phones: Sequence[Phone], factor: float) -> tuple[Sound, tuple[Phone, ...]]:
    """Faster and higher (``factor`` > 1) or slower and lower: another vocal tract, another tempo."""
    changed = soxr.resample(sound, SAMPLE_RATE * factor, SAMPLE_RATE, quality="MQ").astype(np.float32)
    return changed, tuple(Phone(p.start_s / factor, p.end_s / factor, p.name) for p in phones)


def room(rng: Generator, sound: Sound) -> Sound:
    """A small room: the direct sound, some early reflections, a decaying tail."""
    decay_s = rng.uniform(0.08, 0.6)
    length = int(decay_s * SAMPLE_RATE)
    t = np.arange(length) / SAMPLE_RATE
    tail = rng.standard_normal(length) * np.exp(-6.9 * t / decay_s)
    tail[: int(0.004 * SAMPLE_RATE)] = 0
    tail = scipy.signal.lfilter([1 - (a := rng.uniform(0.2, 0.8))], [1, -a], tail)
    tail /= np.sqrt(np.sum(tail**2)) + _SILENT
    response = 10 ** (-rng.uniform(2, 20) / 20) * tail
    response[0] = 1.0
    for _ in range(rng.integers(0, 6)):
        response[rng.integers(24, min(length, 900))] += rng.uniform(-0.5, 0.5)
    heard: NDArray[np.float32] = scipy.signal.oaconvolve(sound, response.astype(np.float32))[: len(sound)]
    return heard.astype(np.float32)


def equalise(rng: Generator, sound: Sound) -> Sound:
    """A microphone's frequency response: smooth random gain, up to 10 dB either way."""
    knots = rng.uniform(-1, 1, 8) * rng.uniform(2, 10)
    bins = 129
    place = np.linspace(0, 7, bins) ** 0.7 * 7**0.3  # finer at low frequencies
    gain = 10 ** (np.interp(place, np.arange(8), knots) / 20)
    response = np.fft.irfft(gain)
    response = np.roll(response, 64)[:129] * np.hanning(129)
    heard: NDArray[np.float32] = scipy.signal.oaconvolve(sound, response.astype(np.float32), "same")
    return heard.astype(np.float32)


def narrow(rng: Generator, sound: Sound) -> Sound:
    """Through a narrower channel: 8, 11, 12 or 16 kHz and back."""
    rate = int(rng.choice([8_000, 11_025, 12_000, 16_000]))
    low = soxr.resample(sound, SAMPLE_RATE, rate, quality="MQ")
    return _fit(soxr.resample(low, rate, SAMPLE_RATE, quality="MQ"), len(sound))


def clip(rng: Generator, sound: Sound) -> Sound:
    """A preamplifier driven too hard."""
    limit = np.float32(np.quantile(np.abs(sound[::7]), rng.uniform(0.97, 0.999)) + _SILENT)
    return np.clip(sound, -limit, limit) if rng.random() < 0.5 else np.tanh(sound / limit) * limit


def mix(sound: Sound, noise: Sound, snr_db: float) -> Sound:
    """``noise`` under ``sound``, so far below the level of its speech."""
    level = rms(noise)
    if level < _SILENT:
        return sound
    return (sound + noise * (speech_level(sound) / level * 10 ** (-snr_db / 20))).astype(np.float32)


def babble(rng: Generator, voices: Sequence[Sound], samples: int, talkers: int) -> Sound:
    """Several people talking at once, elsewhere."""
    total = np.zeros(samples, np.float32)
    for _ in range(talkers):
        voice = voices[int(rng.integers(len(voices)))]
        start = rng.integers(len(voice))
        looped = np.resize(np.roll(voice, -start), samples)
        total += looped / (rms(voice) + _SILENT) * np.float32(rng.uniform(0.5, 1))
    return total / (rms(total) + _SILENT)


def opus(sound: Sound, bits_per_second: int) -> Sound:
    """Through the Opus codec and back, its delay taken out."""
    file = io.BytesIO()
    with av.open(file, "w", format="ogg") as output:
        stream = output.add_stream("libopus", rate=SAMPLE_RATE, layout="mono", bit_rate=bits_per_second)
        pcm = (np.clip(sound, -1, 1) * 32_767).astype(np.int16)[None]
        frame = av.AudioFrame.from_ndarray(pcm, format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            output.mux(packet)
    file.seek(0)
    with av.open(file) as source:
        resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
        decoded = [part for each in source.decode(audio=0) for part in resampler.resample(each)]
        decoded += resampler.resample(None)
    return _fit(np.concatenate([part.to_ndarray().reshape(-1) for part in decoded]), len(sound))


def _fit(sound: NDArray[np.floating], samples: int) -> Sound:
    cut = sound[:samples].astype(np.float32)
    return np.pad(cut, (0, samples - len(cut)))


_BACKGROUNDS: Final = ("babble",) * 7 + ("street",) * 3 + ("pink",) * 2 + ("white", "hum", "keyboard", "music")
_BACKGROUND_SHARE: Final = 0.8
"""Of the utterances, that have something under them."""
_SNR_DB: Final = (2.0, 26.0)


def background(rng: Generator, voices: Sequence[Sound], samples: int) -> Sound:
    """One of the backgrounds, babble, which is hardest, most often; as often as not in another room, or heard
    through a wall, than the speaker."""
    kind = str(rng.choice(_BACKGROUNDS))
    if kind == "babble":
        sound = babble(rng, voices, samples, int(rng.integers(3, 13)))
    else:
        sound = sounds.BACKGROUNDS[kind](rng, samples)
    if rng.random() < 0.5:
        sound = equalise(rng, sound)
    if rng.random() < 0.3:
        sound = room(rng, sound)
    return sound


def degrade(rng: Generator, sound: Sound, voices: Sequence[Sound]) -> Sound:
    """A random chain of all of it, as a microphone in some room would deliver ``sound``; peak at most 1.

    ``voices`` are other people's, for babble.
    """
    if rng.random() < 0.35:
        sound = room(rng, sound)
    if rng.random() < 0.3:
        sound = equalise(rng, sound)
    if rng.random() < _BACKGROUND_SHARE:
        sound = mix(sound, background(rng, voices, len(sound)), rng.uniform(*_SNR_DB))
    if rng.random() < 0.4:
        sound = equalise(rng, sound)
    if rng.random() < 0.15:
        sound = narrow(rng, sound)
    if rng.random() < 0.1:
        sound = clip(rng, sound)
    level = speech_level(sound)
    if level > _SILENT:
        sound = sound * np.float32(10 ** (rng.normal(LEVEL_DB, 6) / 20) / level)
    sound = np.clip(sound, -1, 1)
    if rng.random() < 0.2:
        sound = opus(sound, int(rng.choice([12_000, 16_000, 24_000, 32_000])))
    return sound
