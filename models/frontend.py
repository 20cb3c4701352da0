"""Front ends: what of a 640 ms window the articulator network is shown, as the contract's ``[1, 32, 16]``
tensor.

Every front end is defined once, here, and used by training and by serving alike. All of them are made of
frames of

    librosa.feature.melspectrogram(y=window, sr=24000, n_fft=2048, hop_length=200, win_length=800, n_mels=80)

(power, ``center=True``, zeros beyond the window's ends; ``n_fft`` is librosa's default), whose shape is
(80, 77). librosa is the reference, and the source of the filter bank in ``mel_bank.npy``, but takes three
seconds to import: its numbers are made here in single precision, and only for the frames that a front end
keeps. OpenCV transforms them: of what is installed anyway it is the quickest for a process that has slept.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.audio import CHUNK_SAMPLES, SAMPLE_RATE_HZ, WINDOW_SAMPLES

SAMPLE_RATE: Final = SAMPLE_RATE_HZ
CHUNK: Final = CHUNK_SAMPLES
"""Samples in 40 ms: one frame of video."""
WINDOW: Final = WINDOW_SAMPLES
"""Samples in a window: 640 ms, the newest last."""
N_FFT: Final = 2_048
WIN_LENGTH: Final = 800
HOP: Final = 200
MEL_BANDS: Final = 80
MEL_FRAMES: Final = 1 + WINDOW // HOP
BANDS: Final = 32
STEPS: Final = 16
"""A front end gives ``[1, BANDS, STEPS]``."""

_HALF: Final = WIN_LENGTH // 2
_HANN: Final = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WIN_LENGTH) / WIN_LENGTH)).astype(np.float32)
_BLOCK: Final = 1_024
"""Frames transformed at once over a recording: bounds the memory, not the result."""


def mel_bank() -> NDArray[np.float32]:
    """``librosa.filters.mel(sr=24000, n_fft=2048, n_mels=80)``: [80, 1025] float32, from the file shipped
    here."""
    bank: NDArray[np.float32] = np.load(Path(__file__).with_name("mel_bank.npy"), allow_pickle=False)
    return bank


class FrontEnd(Protocol):
    """Turns a window into what a network is shown."""

    @property
    def name(self) -> str:
        """As a model's manifest names it."""
        ...

    @property
    def summaries(self) -> int:
        """How many of the first steps sum the window up, instead of being moments of it."""
        ...

    def __call__(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        """(15360,) float32 in [-1, 1] -> (1, 32, 16) float32: batch, band, time (newest last)."""
        ...

    def over(self, recording: NDArray[np.float32], ends: NDArray[np.int64]) -> NDArray[np.float32]:
        """The same for many windows of one recording.

        ``recording`` is [samples] float32; a window ends before the sample ``ends[n]``, and what it reaches
        beyond the recording is silence. Returns [N, 32, 16] float32, row n equal to ``self(window n)[0]``.
        """
        ...


@dataclass(frozen=True, slots=True)
class MelFrontEnd:
    """A front end made of frames of the mel spectrogram."""

    name: str
    frames: NDArray[np.int64]
    """Which of the 77 frames are computed, ascending; [F]."""
    bank: NDArray[np.float32]
    """[bins, B]: a spectrum's parts, squared -> bands; see `_trimmed`."""
    form: Callable[[NDArray[np.float32]], NDArray[np.float32]]
    """Power by frame and band [N, F, B] -> [N, 32, 16]."""
    summaries: int = 0
    _samples: NDArray[np.int64] = field(init=False, repr=False)
    """[F, 800] which samples of a window with half a frame of silence on either side; ready, as each window asks it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_samples", (self.frames * HOP)[:, None] + np.arange(WIN_LENGTH))

    def __call__(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        if window.shape != (WINDOW,):
            msg = f"a window is {WINDOW} samples of 24 kHz mono, not an array of shape {window.shape}"
            raise ValueError(msg)
        padded = np.zeros(WINDOW + 2 * _HALF, np.float32)
        padded[_HALF:-_HALF] = window
        return self.form(self._power(padded[self._samples])[None])

    def over(self, recording: NDArray[np.float32], ends: NDArray[np.int64]) -> NDArray[np.float32]:
        before = max(0, int(WINDOW - ends.min())) + WIN_LENGTH
        after = max(0, int(ends.max()) - len(recording)) + WIN_LENGTH
        padded = np.pad(recording.astype(np.float32, copy=False), (before, after))
        starts = (ends + (before - WINDOW - _HALF))[:, None] + self.frames * HOP
        power = np.empty((*starts.shape, self.bank.shape[1]), np.float32)
        # A frame at the window's edge hears only what lies inside; windows share all the others.
        inside = self.frames[:, None] * HOP - _HALF + np.arange(WIN_LENGTH)
        masks = ((inside >= 0) & (inside < WINDOW)).astype(np.float32)
        whole = masks.all(axis=1)
        shared, place = np.unique(starts[:, whole], return_inverse=True)
        power[:, whole] = self._at(padded, shared)[place.reshape(len(ends), -1)]
        for column in np.flatnonzero(~whole):
            power[:, column] = self._at(padded, starts[:, column], masks[column])
        return self.form(power)

    def _at(
        self,
        padded: NDArray[np.float32],
        starts: NDArray[np.int64],
        mask: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Band powers of the frames that begin at ``starts``; [n, B]."""
        every = np.lib.stride_tricks.sliding_window_view(padded, WIN_LENGTH)
        power = np.empty((len(starts), self.bank.shape[1]), np.float32)
        for first in range(0, len(starts), _BLOCK):
            cut = every[starts[first : first + _BLOCK]]
            power[first : first + _BLOCK] = self._power(cut if mask is None else cut * mask)
        return power

    def _power(self, cut: NDArray[np.float32]) -> NDArray[np.float32]:
        """Frames of samples [F, 800] -> powers by band [F, B]."""
        padded = np.zeros((len(cut), N_FFT), np.float32)
        np.multiply(cut, _HANN, out=padded[:, :WIN_LENGTH])
        parts = cv2.dft(padded, flags=cv2.DFT_ROWS)[:, : len(self.bank)]
        power: NDArray[np.float32] = np.square(parts) @ self.bank
        return power


_SPEECH_BANDS: Final = 70
"""Mel bands below 7.7 kHz: what narrower microphones, codecs and training material still carry."""


def _original_bank() -> NDArray[np.float32]:
    return _trimmed(mel_bank()[:BANDS].T)


def _speech_bank() -> NDArray[np.float32]:
    """80 bands -> 32 groups of two or three neighbours, from 0 to 7.7 kHz; [bins, 32]."""
    edges = np.round(np.linspace(0, _SPEECH_BANDS, BANDS + 1)).astype(int)
    return _trimmed(np.add.reduceat(mel_bank()[:_SPEECH_BANDS], edges[:-1], axis=0).T)


def _trimmed(bank: NDArray[np.float32]) -> NDArray[np.float32]:
    """[bins, B] -> [parts, B]: for a real frame's spectrum as OpenCV packs it, the first bin's real part, then each
    bin's real and imaginary part. Bins above the highest band are left out."""
    used = np.flatnonzero(bank.any(axis=1))
    return np.repeat(bank[: used[-1] + 1], 2, axis=0)[1:]


def _as_is(power: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(power.transpose(0, 2, 1))


_FLOOR: Final = np.float32(1e-5)
"""Band power under which nothing is heard: white noise of about -67 dBFS."""


def _log(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log-compressed, -1.25 (silence) to about 0.5 (loud); [N, F, B] -> [N, B, F]."""
    level: NDArray[np.float32] = np.log10(power + _FLOOR) / np.float32(4)
    return _as_is(level)


_RANGE: Final = np.float32(1e5)
"""The loudest moment of the window is 1; what is 50 dB under it is close to 0."""
_QUIET: Final = np.float32(1e-3)
"""A window whose loudest frame has less power than this is not lifted: silence stays silence."""


def _levelled(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Log-compressed under the loudest moment of the window, so that the gain of a microphone does not
    matter."""
    loudest = power.mean(axis=2).max(axis=1)[:, None, None]
    relative = power / np.maximum(loudest, _QUIET)
    compressed: NDArray[np.float32] = np.log1p(relative * _RANGE) / np.log1p(_RANGE)
    return compressed


def _levelled_steps(power: NDArray[np.float32]) -> NDArray[np.float32]:
    return _as_is(_levelled(power))


_CONTEXT: Final = np.arange(2, 50, 4)
_DENSE: Final = np.arange(52, 77, 2)


def _with_context(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Three steps that sum up the window, then the newest 13 frames, relative to its loudest moment.

    The three: the mean over the window, as loud as it is; the quietest, all but two of its frames louder; the mean
    of its older part. The first tells voices near from voices far, the second is the noise.
    """
    compressed = _levelled(power)
    loud = np.log10(power.mean(axis=1) + _FLOOR) / np.float32(4) + np.float32(1)
    older = compressed[:, : len(_CONTEXT)].mean(axis=1)
    summary = np.stack([loud, np.sort(compressed, axis=1)[:, 2], older], axis=1)
    return _as_is(np.concatenate([summary, compressed[:, len(_CONTEXT) :]], axis=1))


_NEAR_RANGE: Final = np.float32(1e3)
"""In ``near``, what is 30 dB under the window's loudest moment is close to 0: other people are further away."""
_NEAR_LOG: Final = np.log1p(_NEAR_RANGE)
_NEAR_QUIET: Final = np.float32(1e-4)
"""As ``_QUIET``, white noise of about -57 dBFS: ``near`` knows no loudness but this, for a microphone's gain says
nothing of who speaks."""


def _near(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """Three steps that sum up the window, then the newest 13 frames, all under its loudest moment.

    The three: the loudest and the quietest of each band, two frames aside (voice and noise), and the mean of the older
    part.
    """
    loudest = power.mean(axis=2).max(axis=1)[:, None, None]
    compressed = np.log1p(power * (_NEAR_RANGE / np.maximum(loudest, _NEAR_QUIET)))
    compressed /= _NEAR_LOG
    ranked = np.sort(compressed, axis=1)
    steps = np.empty((len(power), STEPS, BANDS), np.float32)
    steps[:, 0] = ranked[:, -3]
    steps[:, 1] = ranked[:, 2]
    steps[:, 2] = compressed[:, : len(_CONTEXT)].mean(axis=1)
    steps[:, 3:] = compressed[:, len(_CONTEXT) :]
    return _as_is(steps)


def _frames(first: int, step: int = 1) -> NDArray[np.int64]:
    return np.arange(first, MEL_FRAMES, step, dtype=np.int64)


_ALL: Final[tuple[FrontEnd, ...]] = (
    # The contract's literal crop, mel[:16, :32].T: the oldest 133 ms, under 1.4 kHz, no logarithm.
    MelFrontEnd("original", np.arange(STEPS, dtype=np.int64), _original_bank(), _as_is),
    # The newest 125 ms, every frame.
    MelFrontEnd("newest", _frames(61), _speech_bank(), _log),
    # The newest 250 ms, every second frame.
    MelFrontEnd("strided", _frames(46, 2), _speech_bank(), _log),
    # The newest 200 ms, every second frame, levelled by the whole window, and three steps that sum up the
    # window.
    MelFrontEnd("context", np.concatenate([_CONTEXT, _DENSE]), _speech_bank(), _with_context, summaries=3),
    # The same, blind to what is far below the loudest moment.
    MelFrontEnd("near", np.concatenate([_CONTEXT, _DENSE]), _speech_bank(), _near, summaries=3),
)

FRONT_ENDS: Final[Mapping[str, FrontEnd]] = MappingProxyType({each.name: each for each in _ALL})


def get(name: str) -> FrontEnd:
    """The front end of that name, as a manifest gives it.

    >>> get("original").name
    'original'
    """
    try:
        return FRONT_ENDS[name]
    except KeyError:
        known = ", ".join(sorted(FRONT_ENDS))
        msg = f"there is no front end {name!r}; this version knows: {known}"
        raise ValueError(msg) from None
