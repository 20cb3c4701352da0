"""The articulation, as landmarks show it: distances of the lips and the chin, in this person's own pixels.

Whose mouth is how large does not matter: `align` brings each channel to the range that the articulator uses. What
landmarks cannot show is not made up here: the tongue is NaN, and `align` takes it from what is heard.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.articulation import CHANNELS
from models.training.video import steady

INNER: Final = ((13, 14), (82, 87), (312, 317), (81, 178), (311, 402))
"""Upper and lower inner lip, from the middle outwards."""
CORNERS: Final = (61, 291)
UPPER_LIP: Final = ((0, 13), (37, 82), (267, 312))
"""Outer and inner edge of the upper lip."""
LOWER_LIP: Final = ((17, 14), (84, 87), (314, 317))
CHIN: Final = (152, 148, 377)
LIPS: Final = (0, 13, 14, 17)
PROTRUSION: Final = 0.5
"""How much the lips' depth counts beside the mouth's narrowness in rounding: from the front, narrowness is seen, depth
is a network's guess."""


def measure(points: NDArray[np.float32], exact: steady.Similarities) -> NDArray[np.float64]:
    """[T, 7] in the order of the channels, pixels of the patch (145 between the outer eye corners), NaN where there is
    no face, and for the tongue.

    jaw       how far the chin is below where the skull has the patch's middle
    aperture  distance of the inner lips, the mean of five places
    width     distance of the corners
    rounding  narrowness, and how far the lips are before the skull
    tuck      how little of the lower lip is seen: tucked in, it is thin; so it is when pressed or smiling
    press     how little of both lips is seen, less the aperture: pressed lips are thin and shut
    tongue    not seen
    """
    face = steady.in_patch(points, exact)
    skull = face[:, steady.STILL, 2].mean(1)
    aperture, upper, lower = (_distance(face, pairs) for pairs in (INNER, UPPER_LIP, LOWER_LIP))
    width = _distance(face, (CORNERS,))
    seen = {
        "jaw": face[:, CHIN, 1].mean(1),
        "aperture": aperture,
        "width": width,
        "rounding": -width + PROTRUSION * (skull - face[:, LIPS, 2].mean(1)),
        "tuck": -lower,
        "press": -(upper + lower) - aperture,
        "tongue": np.full(len(face), np.nan),
    }
    return np.stack([seen[name] for name in CHANNELS], axis=1)


def _distance(face: NDArray[np.float64], pairs: tuple[tuple[int, int], ...]) -> NDArray[np.float64]:
    a, b = np.array(pairs).T
    distance: NDArray[np.float64] = np.linalg.norm(face[:, a, :2] - face[:, b, :2], axis=2).mean(1)
    return distance
