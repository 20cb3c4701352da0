"""Checkpoints of SyncTalk_2D and Ultralight-Digital-Human: a PyTorch file with the weights by name, nothing else of it.

Read with ``weights_only=True``: a file that carries code is refused, not run.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal, get_args

import torch
from torch import Tensor, nn

from models.speaker import SpeakerError
from models.synctalk2d.networks import Encoder, UNet

Mode = Literal["ave", "hubert"]
MODES: Final[tuple[str, ...]] = get_args(Mode)
SIDES: Final = (160, 320)
"""Pixels a side of what is painted, of a crop 8 wider: 168 and 328."""
_DEEPER: Final = "down5."
"""The U-Net of 320 pixels has one level more."""
_ENCODER: Final = "audio_encoder."
_SHOWN: Final = 3
"""Names that an error lists."""


def read(path: Path) -> dict[str, Tensor]:
    """The weights in a file.

    Raises:
        SpeakerError: missing, cut short, with code in it, or no weights by name.
    """
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise SpeakerError(f"{path}: no such file") from None
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0]
        raise SpeakerError(
            f"{path}: not plain weights (it may carry code, which is never run here): {reason}"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError) as error:
        raise SpeakerError(f"{path}: not a whole PyTorch file: {error}; copy it again") from None
    if not isinstance(stored, Mapping) or not all(isinstance(each, Tensor) for each in stored.values()):
        raise SpeakerError(f"{path}: expected weights by name (a state_dict), found {type(stored).__name__}")
    return dict(stored)


def load_painter(path: Path, mode: Mode) -> tuple[UNet, int]:
    """The U-Net and its side in pixels, which its levels tell.

    Raises:
        SpeakerError: as :func:`read`; or weights of another network.
    """
    weights = read(path)
    side = SIDES[1] if any(name.startswith(_DEEPER) for name in weights) else SIDES[0]
    painter = UNet(side, mode)
    _fill(painter, weights, path, f"a U-Net of {side} pixels in mode '{mode}'")
    painter.eval()
    return painter, side


def load_encoder(path: Path) -> Encoder:
    """The audio encoder; its file names the layers with or without their first word.

    Raises:
        SpeakerError: as :func:`load_painter`.
    """
    weights = read(path)
    named = {name if name.startswith(_ENCODER) else f"{_ENCODER}{name}": value for name, value in weights.items()}
    encoder = Encoder()
    _fill(encoder, named, path, "SyncTalk_2D's audio encoder")
    encoder.eval()
    return encoder


def _fill(network: nn.Module, weights: Mapping[str, Tensor], path: Path, kind: str) -> None:
    own = network.state_dict()
    missing = [name for name in own if name not in weights and not name.endswith("num_batches_tracked")]
    foreign = [name for name in weights if name not in own]
    if missing or foreign:
        said = [f"no {', '.join(missing[:_SHOWN])}"] if missing else []
        said += [f"unknown {', '.join(foreign[:_SHOWN])}"] if foreign else []
        raise SpeakerError(f"{path}: not {kind}: {'; '.join(said)} ({len(missing)} missing, {len(foreign)} unknown)")
    for name, value in weights.items():
        if own[name].shape != value.shape:
            expected, found = tuple(own[name].shape), tuple(value.shape)
            hint = f"; another mode than {MODES}?" if "audio_model" in name else ""
            raise SpeakerError(f"{path}: not {kind}: {name} has the shape {found}, expected {expected}{hint}")
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise SpeakerError(f"{path}: {name} has values that are not finite; take an earlier checkpoint")
    network.load_state_dict(dict(weights), strict=False)
