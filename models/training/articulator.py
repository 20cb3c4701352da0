"""The articulator: the network that hears ``[N, 32, 16]`` and says what the mouth does, ``[N, 7]``.

Three convolutions over bands and time, as in the smallest networks that spot keywords (Sainath & Parada 2015); two
dense layers weigh the whole window. The steps that sum the window up, where the front end has them, are not neighbours
in time: each is spread over all steps as a channel of its own. Beside the mouth's channels the network says, each for
itself, whether the lips are shut for /p b m/ and whether the mouth rests; both are multiplied into the channels, so
that a closure is never an average of open and shut. It has no memory between frames. 5.6 million multiply-adds. Dense
layers alone were cheaper, and stayed at a higher loss.
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
_HALVINGS: Final = 2
"""Of the bands, by the first two convolutions."""


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


def _convolution(inputs: int, outputs: int, bands: int, stride: int) -> nn.Sequential:
    """Over so many bands and three steps; every ``stride``-th band remains."""
    layer = nn.Conv2d(inputs, outputs, (bands, 3), (stride, 1), (bands // 2, 1), bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class Articulator(nn.Module):  # type: ignore[misc]
    """See the module's docstring.

    ``width`` scales the number of channels throughout; ``summaries`` of the first steps sum the window up.
    """

    def __init__(self, width: int = 192, summaries: int = 0, dropout: float = 0.2) -> None:
        super().__init__()
        self.width = width
        self.summaries = summaries
        self.mean = nn.Parameter(torch.zeros(1, BANDS, STEPS), requires_grad=False)
        self.scale = nn.Parameter(torch.ones(1, BANDS, STEPS), requires_grad=False)
        maps = width // 4
        self.heard = nn.Sequential(
            _convolution(1 + summaries, maps // 2, 5, 2),
            _convolution(maps // 2, maps, 3, 2),
            _convolution(maps, maps, 3, 1),
        )
        self.whole = nn.Sequential(
            nn.Dropout(dropout),
            _dense(maps * (BANDS >> _HALVINGS) * (STEPS - summaries), 2 * width),
            nn.Dropout(dropout),
            _dense(2 * width, 2 * width),
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
        even = ((features - self.mean) * self.scale).unsqueeze(1)
        steps = even[..., self.summaries :]
        summed = even[..., : self.summaries].transpose(1, 3).repeat(1, 1, 1, STEPS - self.summaries)
        x = self.whole(self.heard(torch.cat([steps, summed], dim=1)).flatten(1))
        gates = self.gates(x)
        closed, resting = torch.sigmoid(gates * self.calibration[0::2] + self.calibration[1::2]).split(1, dim=1)
        raw = self.channels(x)
        # Whole columns at a time: at one window, every operation costs its call.
        jaw, aperture, _, rounding_and_tuck, tongue = torch.sigmoid(raw).split((1, 1, 1, 2, 1), dim=1)
        spread = torch.tanh(raw[:, WIDTH : WIDTH + 1])
        mouth = torch.cat([jaw, aperture * (1 - closed), spread, rounding_and_tuck, closed, tongue], dim=1)
        return Heard(mouth * (1 - resting), gates[:, 0], gates[:, 1], self.phones(x))
