"""Fits an articulator to windows and targets."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import structlog
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from models import frontend
from models.articulation import CHANNELS
from models.training.articulator import APERTURE, Articulator, Heard
from models.training.denormals import each_flushed
from models.training.half import rounded
from models.training.material import Targets, bilabial

log = structlog.get_logger(__name__)

CHANNEL_WEIGHTS: Final = {
    "jaw": 1.0, "aperture": 4.0, "width": 0.7, "rounding": 2.0, "tuck": 0.7, "press": 1.0, "tongue": 0.4,
}  # fmt: skip
"""Of the squared errors; the mouth's opening is what one sees."""

BILABIAL_WEIGHT: Final = 3.0
"""Of the aperture's error during /p b m/, which are 6 % of the windows."""

EMA: Final = 0.998
"""The weights kept are an exponential mean over the last 500 steps."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that a fit depends on beside its data."""

    front_end: str
    lookahead_ms: float = 40.0
    width: int = 192
    dropout: float = 0.2
    steps: int = 6_000
    batch: int = 512
    rate: float = 3e-3
    decay: float = 0.02
    phone_weight: float = 0.15
    shut_weight: float = 0.4
    rest_weight: float = 0.3
    jump_weight: float = 5.0
    seed: int = 1


def fit(
    features: NDArray[np.float16],
    targets: Targets,
    recipe: Recipe,
    state: Path,
    progress: Callable[[int], object] = lambda _done: None,
) -> Articulator:
    """Train for ``recipe.steps`` steps; resumes from ``state`` if a fit of the same recipe was interrupted.

    ``features`` is [N, 32, 16]; ``progress`` is told after each step how many are done.
    """
    torch.manual_seed(recipe.seed)
    summaries = frontend.get(recipe.front_end).summaries
    model = Articulator(recipe.width, summaries, recipe.dropout)
    _standardise(model, features)
    kept = Articulator(recipe.width, summaries)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=recipe.rate, weight_decay=recipe.decay
    )
    done = _resume(state, recipe, model, kept, optimizer)
    if not done:
        kept.load_state_dict(model.state_dict())
    schedule = _schedule(recipe)
    learnt = _tensors(targets)
    heard_in = torch.from_numpy(features)
    model.train()
    recent = 0.0
    for step in each_flushed(range(done, recipe.steps)):
        for group in optimizer.param_groups:
            group["lr"] = schedule(step)
        rng = torch.Generator().manual_seed(recipe.seed * 1_000_003 + step)
        first = torch.randint(len(features) - 1, (recipe.batch // 2,), generator=rng)
        pick = torch.cat([first, first + 1])
        batch = _perturb(heard_in[pick].float(), rng)
        loss = _loss(model(batch), tuple(part[pick] for part in learnt), recipe)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        _average(kept, model, min(EMA, (step + 1) / (step + 10)))
        recent = 0.98 * recent + 0.02 * float(loss.detach()) if step > done else float(loss.detach())
        progress(step + 1)
        if (step + 1) % 500 == 0:
            log.info("fit", step=step + 1, of=recipe.steps, loss=round(recent, 4))
            _store(state, recipe, step + 1, model, kept, optimizer)
    _store(state, recipe, recipe.steps, model, kept, optimizer)
    kept.eval()
    return kept


def restore(state: Path) -> tuple[Recipe, Articulator]:
    """The articulator of a finished fit, its weights rounded as they are shipped."""
    stored = torch.load(state, weights_only=True)
    recipe = Recipe(**stored["recipe"])
    model = Articulator(recipe.width, frontend.get(recipe.front_end).summaries)
    model.load_state_dict(rounded(stored["kept"]))
    return recipe, model.eval()


def _schedule(recipe: Recipe) -> Callable[[int], float]:
    """Linear warm-up over a twentieth, then half a cosine down to a hundredth."""
    warm = max(1, recipe.steps // 20)

    def rate(step: int) -> float:
        if step < warm:
            return recipe.rate * (step + 1) / warm
        fell = 0.5 + 0.5 * np.cos(np.pi * (step - warm) / max(1, recipe.steps - warm))
        return float(recipe.rate * (0.01 + 0.99 * fell))

    return rate


def _tensors(targets: Targets) -> tuple[Tensor, ...]:
    emphasis = 1 + (BILABIAL_WEIGHT - 1) * bilabial(targets.phone)
    parts = (targets.articulation, targets.shut, targets.rest, targets.phone, emphasis.astype(np.float32))
    return tuple(torch.from_numpy(part) for part in parts)


def _loss(heard: Heard, learnt: tuple[Tensor, ...], recipe: Recipe) -> Tensor:
    mouth, shut, rest, phone, emphasis = learnt
    weights = torch.tensor([CHANNEL_WEIGHTS[name] for name in CHANNELS])
    error = (heard.articulation - mouth) ** 2 * weights
    error = torch.cat([error[:, :APERTURE], error[:, APERTURE:2] * emphasis[:, None], error[:, 2:]], dim=1)
    total: Tensor = error.sum(dim=1).mean()
    # Neighbouring windows should err alike: what jumps from frame to frame is what one sees.
    miss = (heard.articulation - mouth)[:, APERTURE]
    total = total + recipe.jump_weight * (miss.chunk(2)[1] - miss.chunk(2)[0]).square().mean()
    total = total + recipe.shut_weight * F.binary_cross_entropy_with_logits(heard.shut, shut)
    total = total + recipe.rest_weight * F.binary_cross_entropy_with_logits(heard.rest, rest)
    return total + recipe.phone_weight * F.cross_entropy(heard.phone, phone)


def _perturb(features: Tensor, rng: torch.Generator) -> Tensor:
    """Hide a random stretch of bands, and a random step, from a part of the batch (as SpecAugment does)."""
    batch, bands, _steps = features.shape
    width = torch.randint(0, 7, (batch, 1), generator=rng)
    first = torch.randint(0, bands, (batch, 1), generator=rng)
    band = torch.arange(bands)[None]
    hide = (band >= first) & (band < first + width) & (torch.rand(batch, 1, generator=rng) < 0.5)
    mean = features.mean(dim=(1, 2), keepdim=True)
    return torch.where(hide[:, :, None], mean, features)


def _standardise(model: Articulator, features: NDArray[np.float16]) -> None:
    """Mean 0 and deviation 1 per band, over a sample of the windows."""
    sample = features[:: max(1, len(features) // 20_000)].astype(np.float32)
    model.mean.copy_(torch.from_numpy(sample.mean(axis=(0, 2), keepdims=True)).expand_as(model.mean))
    deviation = sample.std(axis=(0, 2), keepdims=True) + 1e-3
    model.scale.copy_(torch.from_numpy(1 / deviation).expand_as(model.scale))


@torch.no_grad()  # type: ignore[untyped-decorator]
def _average(kept: Articulator, model: Articulator, share: float) -> None:
    for old, new in zip(kept.state_dict().values(), model.state_dict().values(), strict=True):
        if old.dtype.is_floating_point:
            old.lerp_(new, 1 - share)
        else:
            old.copy_(new)


def _store(
    path: Path,
    recipe: Recipe,
    step: int,
    model: Articulator,
    kept: Articulator,
    optimizer: torch.optim.Optimizer,
) -> None:
    partial = path.with_suffix(".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(
        {
            "recipe": asdict(recipe),
            "step": step,
            "model": model.state_dict(),
            "kept": kept.state_dict(),
            "optimizer": optimizer.state_dict(),
        },
        partial,
    )
    partial.replace(path)


def _resume(path: Path, recipe: Recipe, model: Articulator, kept: Articulator, optimizer: torch.optim.Optimizer) -> int:
    """Load a stored fit of the same recipe; the step it had reached, or 0."""
    if not path.exists():
        return 0
    stored = torch.load(path, weights_only=True)
    if replace(Recipe(**stored["recipe"])) != recipe:
        return 0
    model.load_state_dict(stored["model"])
    kept.load_state_dict(stored["kept"])
    optimizer.load_state_dict(stored["optimizer"])
    return int(stored["step"])
