"""The articulator: the network that hears ``[N, 32, 16]`` and says what the mouth does, ``[N, 7]``.

Patches of four neighbouring steps go through one shared layer, two dense layers weigh the whole window.
Beside the channels it says, each for itself, whether the lips are shut for /p b m/ and whether the mouth
rests; both are multiplied into the channels, so that a closure is never an average of open and shut. It has
no memory between frames. 0.6 million multiply-adds and 0.47 million weights; convolutions over bands and
time were six times slower to train.
"""

from typing import Final, NamedTuple

import torch
from torch import Tensor, nn

from models.articulation import CHANNELS
from models.frontend import BANDS, STEPS
from models.training.material import PHONES

JAW, APERTURE, WIDTH, ROUNDING, TUCK, PRESS, TONGUE = range(len(CHANNELS))
_RAW: Final = 6
"""All channels but press, which is the closure itself."""
SURENESS: Final = (2.0, -0.7, 1.0, 0.0)
"""Slope and offset of the closure's logit, and of the rest's, when served: a mouth that shuts only when it is surer
than in training moves more calmly, and fits better. Chosen on the held-out speakers."""
_PATCH: Final = 4
_PATCHES: Final = (STEPS - _PATCH) // 2 + 1


class Heard(NamedTuple):
    """What the network says of N windows."""

    articulation: Tensor
    """[N, 7], gated, within the channels' ranges."""
    shut: Tensor
    """[N] logit: the lips are shut for /p b m/."""
    rest: Tensor
    """[N] logit: the mouth rests."""
    phone: Tensor
    """[N, phones] logits of the auxiliary task; not exported."""


def _dense(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs), nn.ReLU(inplace=True))


class Articulator(nn.Module):  # type: ignore[misc]
    """See the module's docstring.

    ``width`` scales the number of channels throughout.
    """

    def __init__(self, width: int = 128, dropout: float = 0.2) -> None:
        super().__init__()
        self.width = width
        self.mean = nn.Parameter(torch.zeros(1, BANDS, STEPS), requires_grad=False)
        self.scale = nn.Parameter(torch.ones(1, BANDS, STEPS), requires_grad=False)
        self.patch = _dense(BANDS * _PATCH, width)
        self.whole = nn.Sequential(
            nn.Dropout(dropout),
            _dense(width * _PATCHES, 3 * width),
            nn.Dropout(dropout),
            _dense(3 * width, 2 * width),
            nn.Dropout(dropout),
        )
        self.channels = nn.Linear(2 * width, _RAW)
        self.gates = nn.Linear(2 * width, 2)
        self.phones = nn.Linear(2 * width, len(PHONES))
        self.calibration = nn.Parameter(torch.tensor([1.0, 0.0, 1.0, 0.0]), requires_grad=False)
        """Slope and offset of the closure's logit, then of the rest's; set after training on held-out
        speakers."""

    def forward(self, features: Tensor) -> Heard:
        """[N, 32, 16] -> what is heard."""
        steps = ((features - self.mean) * self.scale).transpose(1, 2)
        patches = torch.cat([steps[:, first : first + 2 * _PATCHES : 2] for first in range(_PATCH)], dim=2)
        x = self.patch(patches.flatten(0, 1)).reshape(-1, _PATCHES * self.width)
        x = self.whole(x)
        shut, rest = self.gates(x).unbind(1)
        slope_shut, offset_shut, slope_rest, offset_rest = self.calibration.unbind(0)
        closed = torch.sigmoid(shut * slope_shut + offset_shut)
        awake = 1 - torch.sigmoid(rest * slope_rest + offset_rest)
        raw = self.channels(x)
        level = torch.sigmoid(raw)
        open_ = level[:, 1] * (1 - closed)
        spread = torch.tanh(raw[:, 2])
        mouth = torch.stack([level[:, 0], open_, spread, level[:, 3], level[:, 4], closed, level[:, 5]], dim=1)
        return Heard(mouth * awake[:, None], shut, rest, self.phones(x))


class Exported(nn.Module):  # type: ignore[misc]
    """The articulator as it is served: features in, articulation out, clamped to the channels' ranges.

    ``floor`` is what the network says of lips that are shut (a guess is never exactly 0): apertures from there to 1
    are spread over 0 to 1, so that closures close and rest is no further shut than a closure.
    """

    def __init__(self, articulator: Articulator, floor: float = 0.0) -> None:
        super().__init__()
        self.articulator = articulator
        with torch.no_grad():
            articulator.calibration.copy_(torch.tensor(SURENESS))
        low = torch.zeros(len(CHANNELS))
        low[WIDTH] = -1
        shift, gain = torch.zeros(len(CHANNELS)), torch.ones(len(CHANNELS))
        shift[APERTURE], gain[APERTURE] = floor, 1 / (1 - floor)
        self.low = nn.Parameter(low, requires_grad=False)
        self.high = nn.Parameter(torch.ones(len(CHANNELS)), requires_grad=False)
        self.shift = nn.Parameter(shift, requires_grad=False)
        self.gain = nn.Parameter(gain, requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """[N, 32, 16] -> [N, 7]."""
        articulation: Tensor = (self.articulator(features).articulation - self.shift) * self.gain
        return torch.minimum(torch.maximum(articulation, self.low), self.high)
