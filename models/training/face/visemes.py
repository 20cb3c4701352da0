"""Named mouths: what each viseme looks like in the articulation's channels."""

from typing import Final

from models.articulation import CHANNELS, REST

VISEMES: Final[dict[str, dict[str, float]]] = {
    "rest": {},
    "aa": {"jaw": 1.0, "aperture": 1.0, "width": 0.1},
    "eh": {"jaw": 0.55, "aperture": 0.6, "width": 0.4},
    "ee": {"jaw": 0.25, "aperture": 0.38, "width": 0.9},
    "oh": {"jaw": 0.7, "aperture": 0.65, "width": -0.4, "rounding": 0.7},
    "oo": {"jaw": 0.3, "aperture": 0.25, "width": -0.8, "rounding": 1.0},
    "mm": {"jaw": 0.1, "press": 1.0},
    "ff": {"jaw": 0.15, "aperture": 0.12, "tuck": 1.0},
    "th": {"jaw": 0.3, "aperture": 0.3, "tongue": 0.9},
    "l": {"jaw": 0.4, "aperture": 0.45, "width": 0.1, "tongue": 1.0},
    "sh": {"jaw": 0.15, "aperture": 0.3, "rounding": 0.55, "width": -0.2},
    "ss": {"jaw": 0.1, "aperture": 0.25, "width": 0.45},
}


def articulation(**channels: float) -> tuple[float, ...]:
    """A vector of channels, those not named at rest."""
    return tuple(channels.get(name, rest) for name, rest in zip(CHANNELS, REST, strict=True))
