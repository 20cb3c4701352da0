"""Who the speakers are: everything in which one rendered face differs from another.

Colours are sRGB, 0..255, as a person would pick them. Light powers are watts of Blender's area lights.
"""

from dataclasses import dataclass, field
from typing import Final

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Skin:
    """The colours painted on the skin, each blended over `base` with the weight that `paint` gives it."""

    base: Rgb
    flush: Rgb
    """Cheeks, nose, ears."""
    forehead: Rgb
    lid: Rgb
    under_eye: Rgb
    neck: Rgb
    lip: Rgb
    lip_inner: Rgb
    beard: Rgb
    beard_amount: float
    """0..0.4: the shaved beard's shade."""
    stubble: float
    """0..1: how strongly single hairs of it show."""
    spots: float
    """0..1: freckles and moles."""
    gloss: float = 0.47
    """Roughness of dry skin: lower shines more."""


@dataclass(frozen=True)
class Hair:
    """A haircut: see `hair.hair` for what the styles do."""

    style: str
    colour: Rgb
    brow_colour: Rgb
    strands: int
    brow_strands: int
    brow_thickness: float
    brow_drop: float
    """Centimetres below the kit's brow landmarks."""
    lash_radius: float
    lash_length: float


@dataclass(frozen=True)
class Light:
    """A disk light: centimetres in Blender's axes (z up, the face looks along -y), watts, linear colour."""

    place: tuple[float, float, float]
    size: float
    power: float
    colour: Rgb


@dataclass(frozen=True)
class Look:
    """One speaker."""

    name: str
    title: str
    description: str
    identity: dict[int, float]
    """Identity mode of ICT-FaceKit -> standard deviations; the mix is made symmetric."""
    skin: Skin
    hair: Hair
    iris: tuple[Rgb, Rgb, Rgb]
    """Linear colours from the pupil's edge to the iris's edge."""
    shirt: Rgb
    collar: float
    """Centimetres by which the collar is lowered."""
    background: tuple[Rgb, Rgb]
    """Centre and corners."""
    lights: tuple[Light, ...]
    world: tuple[float, float, float, float]
    """Linear colour and strength of the light from everywhere."""
    rest: dict[str, float] = field(default_factory=dict)
    """Rig weights that are always on: the resting expression."""
    exposure: float = 0.25
    lips_closer: float = 0.0
    """Centimetres by which the identity's lips must come nearer to be shut."""
    lid_reach: float = 1.0
    """How far the lids travel in a blink, for eyes larger than the kit's."""
    lid_arc: float = 0.0
    """Centimetres by which half-shut lids are lifted off the eye: they go straight, the eye is round."""
    earrings: bool = False
    aligned: bool = False
    """Move and scale the head so that eyes and mouth are where the mean face has them."""
    seed: int = 7


DEFAULT: Final = Look(
    name="default",
    title="Robin",
    description="A young man in a blue shirt, in soft daylight.",
    identity={0: 0.45, 1: -0.35, 2: 0.4, 3: -0.25, 4: 0.3, 6: -0.3, 8: 0.35, 11: 0.3},
    skin=Skin(
        base=(213, 160, 132),
        flush=(204, 118, 100),
        forehead=(221, 174, 141),
        lid=(186, 124, 108),
        under_eye=(176, 122, 118),
        neck=(205, 148, 123),
        lip=(184, 102, 96),
        lip_inner=(158, 76, 76),
        beard=(138, 112, 104),
        beard_amount=0.24,
        stubble=0.55,
        spots=0.5,
    ),
    hair=Hair(
        style="short",
        colour=(52, 35, 24),
        brow_colour=(44, 31, 23),
        strands=80000,
        brow_strands=2000,
        brow_thickness=1.4,
        brow_drop=0.38,
        lash_radius=0.012,
        lash_length=0.85,
    ),
    iris=((0.16, 0.085, 0.035), (0.10, 0.055, 0.028), (0.06, 0.036, 0.022)),
    shirt=(52, 70, 92),
    collar=0.0,
    background=((206, 211, 214), (128, 137, 146)),
    lights=(
        Light((-38, -62, 34), 34, 50000, (1, 0.955, 0.90)),
        Light((52, -60, 2), 60, 13000, (0.90, 0.95, 1)),
        Light((0, -70, -42), 50, 5000, (1, 0.93, 0.88)),
        Light((-10, -96, 12), 6, 3000, (1, 0.97, 0.94)),
        Light((36, 46, 34), 30, 11000, (0.93, 0.97, 1)),
        Light((-40, 44, 20), 26, 4500, (1, 0.96, 0.92)),
    ),
    world=(0.75, 0.82, 0.9, 0.22),
    rest={"smile": 0.13},
)

AMARA: Final = Look(
    name="amara",
    title="Amara",
    description="A woman with dark skin, her hair in a bun, in a green pullover, in warm evening light.",
    identity={0: 1.25, 1: 0.35, 2: -0.95, 3: -0.3, 5: 0.4, 7: -0.3, 9: 0.3},
    lips_closer=0.075,
    lid_reach=1.16,
    lid_arc=0.14,
    aligned=True,
    earrings=True,
    skin=Skin(
        base=(131, 92, 72),
        flush=(130, 78, 64),
        forehead=(141, 101, 78),
        lid=(104, 66, 52),
        under_eye=(102, 66, 56),
        neck=(124, 83, 61),
        lip=(142, 72, 70),
        lip_inner=(122, 54, 58),
        beard=(90, 60, 46),
        beard_amount=0.0,
        stubble=0.0,
        spots=0.25,
        gloss=0.53,
    ),
    hair=Hair(
        style="tied",
        colour=(26, 19, 16),
        brow_colour=(24, 18, 15),
        strands=90000,
        brow_strands=1500,
        brow_thickness=0.95,
        brow_drop=0.22,
        lash_radius=0.014,
        lash_length=1.1,
    ),
    iris=((0.07, 0.032, 0.014), (0.045, 0.020, 0.010), (0.024, 0.012, 0.007)),
    shirt=(40, 82, 68),
    collar=1.2,
    background=((196, 174, 148), (112, 92, 76)),
    lights=(
        Light((44, -58, 26), 36, 50000, (1, 0.90, 0.78)),
        Light((-50, -60, 4), 60, 21000, (0.86, 0.92, 1)),
        Light((0, -70, -42), 50, 7000, (1, 0.90, 0.80)),
        Light((10, -96, 12), 6, 3200, (1, 0.95, 0.90)),
        Light((-36, 44, 30), 30, 9000, (1, 0.86, 0.70)),
        Light((40, 44, 20), 26, 9000, (1, 0.92, 0.84)),
    ),
    world=(0.85, 0.82, 0.80, 0.26),
    rest={"smile": 0.22},
    exposure=0.30,
    seed=11,
)

LOOKS: Final = {look.name: look for look in (DEFAULT, AMARA)}
