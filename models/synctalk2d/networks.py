"""SyncTalk_2D's networks, so that its checkpoints can be loaded: the U-Net of 160 and 320 pixels, the audio encoder.

Written anew from the architecture; the attributes have the names that the checkpoints' keys have, and nothing else of
that project is here. Shapes: image [N, 6, S, S] in 0..1 (the face in BGR, and the same with the mouth blacked out),
sound [N, 32, 16, 16] (sixteen features of 512), painted mouth [N, 3, S, S] in 0..1.
"""

from collections.abc import Sequence
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTHS: Final = (32, 64, 128, 256, 512)
FEATURE: Final = 512
"""Values of one moment of sound."""


class Inverted(nn.Module):  # type: ignore[misc]
    """Inverted residual: 1x1 to twice the channels, 3x3 on each by itself, 1x1 back (Sandler et al. 2018)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, *, residual: bool = False) -> None:
        super().__init__()
        wide = 2 * inputs
        self.residual = residual
        self.conv = nn.Sequential(
            nn.Conv2d(inputs, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(inplace=True),
            nn.Conv2d(wide, wide, 3, stride, 1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU(inplace=True),
            nn.Conv2d(wide, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.conv(x)
        return x + made if self.residual else made


class Double(nn.Module):  # type: ignore[misc]
    """Two of them, the second a residual."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(Inverted(inputs, outputs, stride), Inverted(outputs, outputs, residual=True))

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.double_conv(x)
        return made


class Into(nn.Module):  # type: ignore[misc]
    """The first layer."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.inconv = nn.Sequential(Inverted(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.inconv(x)
        return made


class Down(nn.Module):  # type: ignore[misc]
    """To half the side."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.maxpool_conv = nn.Sequential(Double(inputs, outputs, 2))

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.maxpool_conv(x)
        return made


class Up(nn.Module):  # type: ignore[misc]
    """To twice the side, beside what the way down had there."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
        self.conv = Double(inputs, outputs, 1)

    def forward(self, x: Tensor, beside: Tensor) -> Tensor:
        made: Tensor = self.conv(torch.cat([self.up(x), beside], dim=1))
        return made


class Out(nn.Module):  # type: ignore[misc]
    """To colours."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.conv(x)
        return made


class Listening(nn.Module):  # type: ignore[misc]
    """Sound -> [N, 512, 10, 10], the size of the U-Net's innermost map."""

    def __init__(self, third_stride: int = 1) -> None:
        super().__init__()
        narrow, mid, _, wide, widest = WIDTHS
        self.conv1 = Inverted(narrow, mid)
        self.conv2 = Inverted(mid, WIDTHS[2])
        self.conv3 = nn.Conv2d(WIDTHS[2], wide, 3, third_stride, 1)
        self.bn3 = nn.BatchNorm2d(wide)
        self.conv4 = Inverted(wide, wide, residual=True)
        self.conv5 = nn.Conv2d(wide, widest, 3, 2, 3)
        self.bn5 = nn.BatchNorm2d(widest)
        self.conv6 = Inverted(widest, widest, residual=True)
        self.conv7 = Inverted(widest, widest, residual=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(self.conv1(x))
        x = self.conv4(F.relu(self.bn3(self.conv3(x))))
        x = F.relu(self.bn5(self.conv5(x)))
        made: Tensor = self.conv7(self.conv6(x))
        return made


class UNet(nn.Module):  # type: ignore[misc]
    """The painter of SyncTalk_2D (``ave``) and of Ultralight-Digital-Human (``hubert``).

    The latter's sound is [N, 32, 32, 32]. Raises ValueError for a side that neither has.
    """

    def __init__(self, side: int = 160, mode: str = "ave") -> None:
        super().__init__()
        downs, ups = _ways(side)
        inner = WIDTHS[-1]
        self.audio_model = Listening(third_stride={"ave": 1, "hubert": 2}[mode])
        self.fuse_conv = nn.Sequential(Double(2 * inner, inner, 1), Double(inner, WIDTHS[-2], 1))
        self.inc = Into(6, WIDTHS[0])
        self.depth = len(downs)
        for number, (inputs, outputs) in enumerate(downs, 1):
            self.add_module(f"down{number}", Down(inputs, outputs))
        for number, (inputs, outputs) in enumerate(ups, 1):
            self.add_module(f"up{number}", Up(inputs, outputs))
        self.outc = Out(ups[-1][1])

    def forward(self, image: Tensor, sound: Tensor) -> Tensor:
        maps = [self.inc(image)]
        for number in range(1, self.depth + 1):
            maps.append(self.get_submodule(f"down{number}")(maps[-1]))
        x = self.fuse_conv(torch.cat([maps.pop(), self.audio_model(sound)], dim=1))
        for number in range(1, self.depth + 1):
            x = self.get_submodule(f"up{number}")(x, maps.pop())
        return torch.sigmoid(self.outc(x))


def _ways(side: int) -> tuple[Sequence[tuple[int, int]], Sequence[tuple[int, int]]]:
    """(down, up): inputs and outputs of every level, for images of ``side`` pixels."""
    a, b, c, d, e = WIDTHS
    if side == 160:
        return ((a, b), (b, c), (c, d), (d, e)), ((e, d // 2), (d, c // 2), (c, b // 2), (b, a))
    if side == 320:
        return (
            ((a, a), (a, b), (b, c), (c, d), (d, e)),
            ((e, d // 2), (d, c // 2), (c, b // 2), (b, a), (b, a // 2)),
        )
    msg = f"SyncTalk_2D paints 160 or 320 pixels, not {side}"
    raise ValueError(msg)


class _Block(nn.Module):  # type: ignore[misc]
    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int | tuple[int, int], padding: int, *, residual: bool
    ) -> None:
        super().__init__()
        self.residual = residual
        self.conv_block = nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, padding), nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        made = self.conv_block(x)
        return F.relu(made + x if self.residual else made)


class Encoder(nn.Module):  # type: ignore[misc]
    """SyncTalk_2D's audio encoder: [N, 1, 80, 16] mel, -4..4 -> [N, 512]."""

    def __init__(self) -> None:
        super().__init__()
        plan: list[tuple[int, int, int, int | tuple[int, int], int]] = [
            (1, 32, 3, 1, 1), (32, 32, 3, 1, 1), (32, 32, 3, 1, 1),
            (32, 64, 3, (3, 1), 1), (64, 64, 3, 1, 1), (64, 64, 3, 1, 1),
            (64, 128, 3, 3, 1), (128, 128, 3, 1, 1), (128, 128, 3, 1, 1),
            (128, 256, 3, (3, 2), 1), (256, 256, 3, 1, 1),
            (256, 512, 3, 1, 0), (512, 512, 1, 1, 0),
        ]  # fmt: skip
        self.audio_encoder = nn.Sequential(
            *(_Block(*layer, residual=layer[0] == layer[1] and layer[2] == 3) for layer in plan)
        )

    def forward(self, mel: Tensor) -> Tensor:
        made: Tensor = self.audio_encoder(mel)
        return made.flatten(1)
