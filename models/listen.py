"""Every front end that a manifest may name: this project's own (`models/frontend.py`), and those of imported ones."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from models import frontend
from models.synctalk2d.ears import Ears


class Listener(Protocol):
    """Turns a window into what a network is shown."""

    @property
    def name(self) -> str:
        """As a manifest names it."""
        ...

    def __call__(self, window: NDArray[np.float32]) -> NDArray[np.float32]:
        """(15360,) float32 in [-1, 1] -> (1, ...) float32."""
        ...


FRONT_ENDS: Final[Mapping[str, Listener]] = MappingProxyType({**frontend.FRONT_ENDS, Ears.name: Ears()})


def shape_of(name: str) -> tuple[int, ...]:
    """Of what the front end ``name`` gives for one window, without the batch."""
    return Ears.shape if name == Ears.name else (frontend.BANDS, frontend.STEPS)
