"""What an array on the audio's path looks like, as debug logs: samples, shape, range, mean, NaN, infinities, layout.

Off by default, and then one comparison. `LIPWIRE_LOG=debug python -m pipeline.run` switches it on, for every window.
"""

from typing import Any

import numpy as np
import structlog
from numpy.typing import NDArray

from pipeline.logs import is_debugging

log = structlog.get_logger()


def describe(array: NDArray[Any]) -> dict[str, Any]:
    """Any array of numbers; range and mean are of its finite values, and absent where it has none."""
    finite = array[np.isfinite(array)]
    seen: dict[str, Any] = {
        "samples": int(array.size),
        "shape": "x".join(map(str, array.shape)),
        "dtype": str(array.dtype),
        "contiguous": bool(array.flags.c_contiguous),
        "nan": int(np.isnan(array).sum()),
        "inf": int(np.isinf(array).sum()),
    }
    if finite.size:
        values = finite.astype(np.float64)
        seen |= {"min": float(values.min()), "max": float(values.max()), "mean": float(values.mean())}
    return seen


def look_at(what: str, array: NDArray[Any], session: str, sequence: int, device: str = "cpu") -> None:
    """Log it, if anybody wants to know."""
    if is_debugging():
        log.debug(what, session=session, sequence=sequence, device=device, **describe(array))
