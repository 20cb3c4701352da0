"""The articulation: what the mouth does at one moment, independent of whose mouth it is.

The articulator network hears a window and gives one vector of these channels; every speaker's painter turns that vector
into pixels. One vector drives every face, and is published with each frame.
"""

from typing import Final

CHANNELS: Final = ("jaw", "aperture", "width", "rounding", "tuck", "press", "tongue")
"""In the order of the vector's elements.

jaw       0..1   jaw opening
aperture  0..1   vertical distance of the inner lips; 0 is closed
width    -1..1   mouth corners: -1 pursed, +1 spread
rounding  0..1   lips pushed forward
tuck      0..1   lower lip against the upper teeth, as in /f v/
press     0..1   lips pressed together, as in /p b m/
tongue    0..1   tongue tip raised and visible, as in /l th/
"""

REST: Final = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
"""The closed mouth of somebody who is silent and content: what silence comes to."""
