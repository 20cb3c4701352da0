"""The articulator as it is served: the same mouth in half as many operations.

At one window at a time every operation costs its call, and thrice as much where the processor has slept before. So what
normalises a layer while it learns is multiplied into its weights, the windows' steps are laid out by one look-up, and
the gates are columns of the last product.
"""

from typing import Final

import torch
from torch import Tensor, nn

from models.articulation import CHANNELS
from models.frontend import BANDS, STEPS
from models.training.articulator import APERTURE, PRESS, SURENESS, WIDTH, Articulator
from models.training.half import rounded

_OPEN: Final = 30.0
"""A gate's logit whose sigmoid is 1 in single precision."""
_RAW: Final = [channel for channel in range(len(CHANNELS)) if channel != PRESS]
"""The channels of the articulator's own product, in its order; press is the closure itself."""
_SAID, _LET, _AWAKE = (slice(part * len(CHANNELS), (part + 1) * len(CHANNELS)) for part in range(3))


class Exported(nn.Module):  # type: ignore[misc]
    """Features in, articulation out, clamped to the channels' ranges; what :func:`fused` makes of an articulator.

    Apertures from what the network says of shut lips, which is never exactly 0, to 1 are spread over 0 to 1: closures
    close, and rest is no further shut than a closure.
    """

    def __init__(self, articulator: Articulator) -> None:
        super().__init__()
        channels, summaries = len(CHANNELS), articulator.summaries
        self.shape: Final = (1 + summaries, BANDS, STEPS - summaries)
        """Channels, bands and steps that the convolutions see."""
        self.order = nn.Parameter(_order(summaries), requires_grad=False)
        self.mean = nn.Parameter(torch.zeros(self.shape), requires_grad=False)
        self.scale = nn.Parameter(torch.ones(self.shape), requires_grad=False)
        self.heard = nn.ModuleList(_with_bias(block[0]) for block in articulator.heard)
        self.whole = nn.ModuleList(_with_bias(block[0]) for block in _dense_blocks(articulator))
        self.said = nn.Linear(2 * articulator.width, 3 * channels)
        """Of each channel: what is said, how far it is let through, how far the mouth does not rest."""
        low = torch.zeros(channels)
        low[WIDTH] = -1
        self.low = nn.Parameter(low, requires_grad=False)
        self.high = nn.Parameter(torch.ones(channels), requires_grad=False)
        self.gain = nn.Parameter(torch.ones(channels), requires_grad=False)
        self.floor = nn.Parameter(torch.zeros(channels), requires_grad=False)

    def forward(self, features: Tensor) -> Tensor:
        """[N, 32, 16] -> [N, 7]."""
        x = (features.flatten(1)[:, self.order].reshape(-1, *self.shape) - self.mean) * self.scale
        for convolution in self.heard:
            x = torch.relu(convolution(x))
        x = x.flatten(1)
        for dense in self.whole:
            x = torch.relu(dense(x))
        said, let, awake = torch.sigmoid(self.said(x)).split(len(CHANNELS), dim=1)
        mouth = (said * self.gain + self.low) * let * awake - self.floor
        return torch.minimum(torch.maximum(mouth, self.low), self.high)


@torch.no_grad()  # type: ignore[untyped-decorator]
def fused(articulator: Articulator, floor: float = 0.0) -> Exported:
    """A trained articulator, as it is served; weights rounded to half precision, as they ship. ``floor`` is the
    aperture that it says of lips that are shut."""
    served = Exported(articulator)
    for mine, theirs in ((served.mean, articulator.mean), (served.scale, articulator.scale)):
        mine.copy_(theirs.flatten()[served.order].reshape(served.shape))
    trained = [*articulator.heard, *_dense_blocks(articulator)]
    for layer, (weights, norm, _) in zip([*served.heard, *served.whole], trained, strict=True):
        factor = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        layer.weight.copy_(weights.weight * factor.reshape(-1, *(1 for _ in weights.weight.shape[1:])))
        layer.bias.copy_(norm.bias - norm.running_mean * factor)
    _say(served, articulator)
    served.gain[WIDTH] = 2  # from its low, -1, on: tanh x = 2 sigmoid 2x - 1
    served.gain[APERTURE], served.floor[APERTURE] = 1 / (1 - floor), floor / (1 - floor)
    served.load_state_dict(rounded(served.state_dict()))
    return served


def _say(served: Exported, articulator: Articulator) -> None:
    """The last product's rows: the channels', and the gates', calibrated, where they let one through."""
    sureness = torch.tensor(SURENESS)
    gate = articulator.gates.weight * sureness[0::2, None]
    asked = articulator.gates.bias * sureness[0::2] + sureness[1::2]
    (closed, resting), (closed_at, resting_at) = gate, asked
    weight, bias = served.said.weight.zero_(), served.said.bias.zero_()
    weight[_SAID][_RAW], bias[_SAID][_RAW] = articulator.channels.weight, articulator.channels.bias
    weight[_SAID][WIDTH] *= 2  # its tanh, said by a sigmoid
    bias[_SAID][WIDTH] *= 2
    weight[_SAID][PRESS], bias[_SAID][PRESS] = closed, closed_at
    bias[_LET] = _OPEN
    weight[_LET][APERTURE], bias[_LET][APERTURE] = -closed, -closed_at
    weight[_AWAKE], bias[_AWAKE] = -resting, -resting_at


def _order(summaries: int) -> Tensor:
    """[channels * 32 * steps] where each value that the convolutions see lies among a window's features, flat: the
    steps, and each summary over all of them."""
    place = torch.arange(BANDS * STEPS).reshape(1, BANDS, STEPS)
    steps = place[..., summaries:]
    spread = [place[..., each : each + 1].expand_as(steps) for each in range(summaries)]
    return torch.cat([steps, *spread]).flatten()


def _dense_blocks(articulator: Articulator) -> list[nn.Sequential]:
    """Without what drops out between them while it learns."""
    return [block for block in articulator.whole if isinstance(block, nn.Sequential)]


def _with_bias(layer: nn.Module) -> nn.Module:
    """An empty layer of the same form, with a bias."""
    if isinstance(layer, nn.Conv2d):
        return nn.Conv2d(layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding)
    assert isinstance(layer, nn.Linear)
    return nn.Linear(layer.in_features, layer.out_features)
