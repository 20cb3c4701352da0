"""Sounds that are not speech, synthesised: what a microphone hears besides its owner.

All of them: ``(rng, samples) -> [samples] float32``, 24 kHz mono, peak or RMS about 1 (the mix sets the
level).
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
import scipy.signal
from numpy.random import Generator
from numpy.typing import NDArray

from models.frontend import SAMPLE_RATE

Sound = NDArray[np.float32]
Maker = Callable[[Generator, int], Sound]


def _unit(sound: NDArray[np.floating]) -> Sound:
    level = float(np.sqrt(np.mean(np.square(sound)))) or 1.0
    return (sound / level).astype(np.float32)


def _coloured(rng: Generator, samples: int, slope: float) -> Sound:
    """Noise whose power falls with frequency as ``f ** -slope``."""
    spectrum = scipy.fft.rfft(rng.standard_normal(samples).astype(np.float32))
    frequency = np.maximum(np.arange(len(spectrum)) * SAMPLE_RATE / max(samples, 1), 20.0)
    return _unit(scipy.fft.irfft(spectrum * (frequency ** (-slope / 2)).astype(np.float32), samples))


def _slow(rng: Generator, samples: int, every_s: float) -> Sound:
    """A smooth random curve, about 0..1, that turns every ``every_s`` seconds."""
    knots = rng.random(int(samples / SAMPLE_RATE / every_s) + 4)
    at = np.arange(samples) / (SAMPLE_RATE * every_s)
    low = at.astype(int)
    mix = 0.5 - 0.5 * np.cos(np.pi * (at - low))
    mixed: NDArray[np.float32] = (knots[low] * (1 - mix) + knots[low + 1] * mix).astype(np.float32)
    return mixed


def white(rng: Generator, samples: int) -> Sound:
    """White noise."""
    return rng.standard_normal(samples).astype(np.float32)


def pink(rng: Generator, samples: int) -> Sound:
    """Noise between white and brown: fans, air, tape."""
    return _coloured(rng, samples, rng.uniform(0.5, 2.2))


def hum(rng: Generator, samples: int) -> Sound:
    """Mains hum with harmonics, over a little noise."""
    base = rng.choice([50.0, 60.0])
    t = np.arange(samples) / SAMPLE_RATE
    tone = np.zeros(samples)
    for harmonic in range(1, 9):
        tone += rng.random() / harmonic * np.sin(2 * np.pi * base * harmonic * t + rng.uniform(0, 6.28))
    return _unit(_unit(tone) + rng.uniform(0.05, 0.5) * pink(rng, samples))


def street(rng: Generator, samples: int) -> Sound:
    """Traffic: rumble that comes and goes, tyres, now and then a horn."""
    rumble = _coloured(rng, samples, 2.0) * (0.3 + _slow(rng, samples, 2.5))
    tyres = _coloured(rng, samples, 0.9) * (0.05 + _slow(rng, samples, 1.7) ** 2)
    sound = rumble + rng.uniform(0.2, 1.2) * tyres
    for _ in range(rng.poisson(samples / SAMPLE_RATE / 8)):
        length = int(min(samples, rng.uniform(0.2, 0.9) * SAMPLE_RATE))
        start = rng.integers(0, samples - length + 1)
        t = np.arange(length) / SAMPLE_RATE
        base = rng.uniform(300, 600)
        horn = sum(np.sin(2 * np.pi * base * k * t) / k for k in (1.0, 1.26, 2.0, 3.0))
        sound[start : start + length] += rng.uniform(0.3, 1.5) * horn * np.hanning(length) ** 0.3
    return _unit(sound)


def keyboard(rng: Generator, samples: int) -> Sound:
    """Key strokes and mouse clicks: short resonant knocks."""
    sound = 0.003 * white(rng, samples)
    at = int(rng.uniform(0, 0.3) * SAMPLE_RATE)
    while at < samples:
        length = min(samples - at, int(rng.uniform(0.008, 0.06) * SAMPLE_RATE))
        t = np.arange(length) / SAMPLE_RATE
        ring = np.sin(2 * np.pi * rng.uniform(300, 4_500) * t) + rng.standard_normal(length)
        sound[at : at + length] += rng.uniform(0.2, 1.0) * ring * np.exp(-t * rng.uniform(80, 500))
        at += int(rng.exponential(0.16) * SAMPLE_RATE) + length
    scaled: NDArray[np.float32] = (sound / np.abs(sound).max()).astype(np.float32)
    return scaled


def breath(rng: Generator, samples: int) -> Sound:
    """Breaths in and out: noise in broad bands, swelling and falling, with stillness between."""
    sound = np.zeros(samples, np.float32)
    at = int(rng.uniform(0, 0.5) * SAMPLE_RATE)
    while at < samples:
        length = min(samples - at, int(rng.uniform(0.3, 1.1) * SAMPLE_RATE))
        low = rng.uniform(300, 900)
        band = scipy.signal.butter(1, [low, rng.uniform(low + 1_000, 7_000)], "band", fs=SAMPLE_RATE, output="sos")
        puff = scipy.signal.sosfilt(band, rng.standard_normal(length)) * np.hanning(length) ** rng.uniform(0.5, 2)
        sound[at : at + length] += rng.uniform(0.4, 1) * puff.astype(np.float32)
        at += length + int(rng.uniform(0.1, 1.5) * SAMPLE_RATE)
    return _unit(sound + 0.01 * white(rng, samples))


def _note(rng: Generator, pitch: float, length: int, decay: float) -> Sound:
    t = np.arange(length) / SAMPLE_RATE
    vibrato = rng.choice([0.0, 0.0, 0.006]) * np.sin(2 * np.pi * rng.uniform(4, 7) * t) / 6
    phase = 2 * np.pi * pitch * (t + vibrato / np.maximum(pitch / 100, 1))
    brightness = rng.uniform(0.6, 2.2)
    tone = np.zeros(length)
    for harmonic in range(1, 13):
        if pitch * harmonic > 11_000:
            break
        tone += rng.uniform(0.3, 1) * harmonic**-brightness * np.sin(harmonic * phase)
    attack = np.minimum(t / rng.uniform(0.003, 0.12), 1)
    return (tone * attack * np.exp(-t * decay)).astype(np.float32)


def music(rng: Generator, samples: int) -> Sound:
    """Chords, a tune and drums, with random timbre, tempo and key."""
    sound = np.zeros(samples + SAMPLE_RATE * 3, np.float32)
    beat = int(SAMPLE_RATE * 60 / rng.uniform(60, 170))
    root = rng.uniform(50, 130)
    scale = np.array([0, 2, 4, 5, 7, 9, 11] if rng.random() < 0.6 else [0, 2, 3, 5, 7, 8, 10])
    parts = rng.random(3) < (0.8, 0.7, 0.5)
    decay = rng.uniform(0.2, 5)
    for start in range(0, samples, beat):
        if parts[0] and (start // beat) % 2 == 0:
            degree = int(rng.integers(0, 7))
            for third in range(3):
                step = scale[(degree + 2 * third) % 7] + 12 * ((degree + 2 * third) // 7)
                note = _note(rng, root * 2 ** (1 + step / 12), min(2 * beat, SAMPLE_RATE * 2), decay)
                sound[start : start + len(note)] += 0.5 * note
        if parts[1] or not parts.any():
            for half in (0, beat // 2):
                if rng.random() < 0.7:
                    pitch = root * 2 ** (2 + rng.integers(0, 2) + rng.choice(scale) / 12)
                    note = _note(rng, pitch, int(beat * rng.uniform(0.4, 1.2)), decay)
                    sound[start + half : start + half + len(note)] += rng.uniform(0.4, 1) * note
        if parts[2]:
            for half in (0, beat // 2):
                length = int(rng.uniform(0.04, 0.2) * SAMPLE_RATE)
                t = np.arange(length) / SAMPLE_RATE
                drum = rng.standard_normal(length) * np.exp(-t * rng.uniform(20, 90))
                drum += np.sin(2 * np.pi * rng.uniform(50, 200) * t) * np.exp(-t * 25)
                sound[start + half : start + half + length] += rng.uniform(0.2, 1.2) * drum.astype(np.float32)
    return _unit(sound[:samples])


def tones(rng: Generator, samples: int) -> Sound:
    """Beeps and whistles: single tones that start, stop and glide."""
    pitch = rng.uniform(200, 3_000) * 2 ** (rng.uniform(0, 1.5) * _slow(rng, samples, rng.uniform(0.2, 2)))
    gate = _slow(rng, samples, rng.uniform(0.1, 0.6)) > rng.uniform(0.1, 0.6)
    smooth = scipy.signal.fftconvolve(gate, np.hanning(400) / 200, "same")
    return _unit(np.sin(2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE) * smooth + 0.002 * white(rng, samples))


def silence(_rng: Generator, samples: int) -> Sound:
    """Digital silence."""
    return np.zeros(samples, np.float32)


BACKGROUNDS: Final[Mapping[str, Maker]] = MappingProxyType(
    {"white": white, "pink": pink, "hum": hum, "street": street, "keyboard": keyboard, "music": music}
)
"""What may lie under speech."""

NON_SPEECH: Final[Mapping[str, Maker]] = MappingProxyType(
    {**BACKGROUNDS, "breath": breath, "tones": tones, "silence": silence}
)
"""What the mouth rests through."""
