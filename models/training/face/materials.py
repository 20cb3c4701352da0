"""Blender materials: skin, mouth, teeth, eyes, hair, cloth. Only this file and `scene` know shader nodes."""

from typing import Any

import bpy
import numpy as np

from models.training.face.ict import Floats
from models.training.face.identities import Look
from models.training.face.paint import linear

Node = Any
Socket = Any


class Shader:
    """A material under construction: nodes by type, links by arithmetic."""

    def __init__(self, name: str) -> None:
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self.tree = self.material.node_tree
        self.surface: Node = self.tree.nodes["Principled BSDF"]

    def node(self, kind: str, **values: Any) -> Node:
        """A node of a type; values set inputs (underscores are spaces) or, failing that, properties."""
        node = self.tree.nodes.new(kind)
        for key, value in values.items():
            label = key.replace("_", " ")
            if label in node.inputs:
                self.connect(value, node.inputs[label])
            else:
                setattr(node, key, value)
        return node

    def connect(self, value: Any, socket: Socket) -> None:
        """Link a socket to another, or set its default."""
        if isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, socket)
        else:
            socket.default_value = value

    def set(self, **values: Any) -> None:
        """Inputs of the Principled surface."""
        for key, value in values.items():
            self.connect(value, self.surface.inputs[key.replace("_", " ")])

    def attribute(self, name: str) -> Node:
        """A mesh attribute: use its Color, Vector or Fac output."""
        return self.node("ShaderNodeAttribute", attribute_name=name)

    def math(self, operation: str, a: Any, b: Any = 0.0, c: Any = 0.0) -> Socket:
        """One arithmetic node's result."""
        node = self.node("ShaderNodeMath", operation=operation)
        for socket, value in zip(node.inputs, (a, b, c), strict=True):
            self.connect(value, socket)
        return node.outputs[0]

    def span(self, value: Any, low: float, high: float, to_low: float, to_high: float) -> Socket:
        """A value mapped linearly, clamped, from low..high to to_low..to_high."""
        node = self.node("ShaderNodeMapRange", From_Min=low, From_Max=high, To_Min=to_low, To_Max=to_high)
        self.connect(value, node.inputs["Value"])
        return node.outputs[0]

    def noise(self, vector: Any, scale: float, detail: float = 3.0, rough: float = 0.6) -> Socket:
        """0..1 fractal noise."""
        node = self.node("ShaderNodeTexNoise", Vector=vector, Scale=scale, Detail=detail, Roughness=rough)
        return node.outputs[0]

    def mix(self, amount: Any, a: Any, b: Any) -> Socket:
        """A colour between a and b."""
        node = self.node("ShaderNodeMix", data_type="RGBA")
        self.connect(amount, node.inputs[0])
        self.connect(a, node.inputs[6])
        self.connect(b, node.inputs[7])
        return node.outputs[2]


def rgba(colour: Any) -> tuple[float, float, float, float]:
    """A linear colour with alpha 1."""
    r, g, b = (float(c) for c in colour)
    return (r, g, b, 1.0)


def skin(look: Look) -> Any:
    """Skin: painted colour broken up by blotches, moles and stubble; pores and fine relief; uneven shine."""
    s = Shader("skin")
    rest = s.attribute("rest").outputs["Vector"]
    wet = s.attribute("wet").outputs["Fac"]
    beard = s.attribute("beard").outputs["Fac"]
    dry = s.math("SUBTRACT", 1.0, wet)
    blotch, mottle, grain = s.noise(rest, 0.8, 5), s.noise(rest, 3.2, 4), s.noise(rest, 9, 3)
    tone = s.math("ADD", s.span(blotch, 0.3, 0.7, 0.93, 1.06), s.span(mottle, 0.3, 0.7, -0.065, 0.065))
    tone = s.math("ADD", tone, s.span(grain, 0.3, 0.7, -0.05, 0.05))
    hue = s.node(
        "ShaderNodeHueSaturation",
        Color=s.attribute("col").outputs["Color"],
        Value=tone,
        Saturation=s.span(s.noise(rest, 1.7, 4), 0.3, 0.7, 1.08, 0.94),
    )
    colour = hue.outputs[0]
    flecks = s.node("ShaderNodeTexVoronoi", Vector=rest, Scale=1.15)
    pick = s.math("GREATER_THAN", s.math("FRACT", s.math("MULTIPLY", flecks.outputs["Color"], 7.13)), 0.78)
    fleck = s.math("MULTIPLY", s.span(flecks.outputs["Distance"], 0.05, 0.13, 1.0, 0.0), pick)
    fleck = s.math("MULTIPLY", fleck, s.math("MULTIPLY", dry, 0.55 * look.skin.spots))
    colour = s.mix(fleck, colour, rgba(linear((112, 72, 52))))
    hairs = s.node("ShaderNodeTexVoronoi", Vector=rest, Scale=8.0)
    stubble = s.math("MULTIPLY", s.span(hairs.outputs["Distance"], 0.12, 0.42, 1.0, 0.0), beard)
    colour = s.mix(s.math("MULTIPLY", stubble, 0.5 * look.skin.stubble), colour, rgba(linear(look.skin.beard) * 0.55))
    pores = s.node("ShaderNodeTexVoronoi", Vector=rest, Scale=7.5)
    relief = s.math("ADD", pores.outputs["Distance"], s.math("MULTIPLY", s.noise(rest, 16, 4), 0.9))
    relief = s.math("ADD", relief, s.math("MULTIPLY", s.noise(rest, 2.6, 4), 1.3))
    # lips: fine vertical creases
    stretched = s.node("ShaderNodeVectorMath", operation="MULTIPLY")
    s.connect(rest, stretched.inputs[0])
    stretched.inputs[1].default_value = (7.0, 1.0, 1.2)
    creases = s.math("MULTIPLY", s.noise(stretched.outputs[0], 1.0, 3), s.math("MULTIPLY", wet, 2.6))
    relief = s.math("ADD", s.math("MULTIPLY", relief, s.span(wet, 0, 1, 1.0, 0.25)), creases)
    bump = s.node("ShaderNodeBump", Height=relief, Strength=0.34, Distance=0.035)
    gloss = s.span(wet, 0, 1, look.skin.gloss, 0.30)
    gloss = s.math("ADD", gloss, s.span(s.noise(rest, 2.2, 4), 0.3, 0.7, -0.09, 0.09))
    s.set(
        Base_Color=colour,
        Roughness=gloss,
        Normal=bump.outputs[0],
        Subsurface_Weight=0.75,
        Subsurface_Radius=(1, 0.30, 0.14),
        Subsurface_Scale=0.17,
        Specular_IOR_Level=0.5,
    )
    s.surface.subsurface_method = "BURLEY"
    return s.material


def flesh(name: str, *, rough: float, soft: float, coat: float, glow: float, radius: Any = (1, 0.4, 0.25)) -> Any:
    """Painted flesh or enamel; `glow` is a faint emission for light scattered inside the mouth."""
    s = Shader(name)
    colour = s.attribute("col").outputs["Color"]
    s.set(
        Base_Color=colour,
        Roughness=rough,
        Subsurface_Weight=soft,
        Subsurface_Scale=0.14,
        Subsurface_Radius=radius,
        Coat_Weight=coat,
        Coat_Roughness=0.12,
        Emission_Color=colour,
        Emission_Strength=glow,
    )
    s.surface.subsurface_method = "BURLEY"
    return s.material


def iris(look: Look, centre: tuple[float, float, float]) -> Any:
    """An eye: pupil, fibres, limbus, sclera by distance from the optical axis at `centre`; a clear coat
    catches light.
    """
    s = Shader("eye")
    offset = s.node("ShaderNodeVectorMath", operation="SUBTRACT")
    s.connect(s.attribute("rest").outputs["Vector"], offset.inputs[0])
    offset.inputs[1].default_value = centre
    flat = s.node("ShaderNodeVectorMath", operation="MULTIPLY")
    s.connect(offset.outputs[0], flat.inputs[0])
    flat.inputs[1].default_value = (1, 0, 1)
    length = s.node("ShaderNodeVectorMath", operation="LENGTH")
    s.connect(flat.outputs[0], length.inputs[0])
    radius = length.outputs[1]
    parts = s.node("ShaderNodeSeparateXYZ")
    s.connect(flat.outputs[0], parts.inputs[0])
    angle = s.math("ARCTAN2", parts.outputs[0], parts.outputs[2])
    polar = s.node("ShaderNodeCombineXYZ")
    s.connect(s.math("MULTIPLY", angle, 5.0), polar.inputs[0])
    s.connect(radius, polar.inputs[1])
    fibre = s.noise(polar.outputs[0], 2.4, 4)
    ramp = s.node("ShaderNodeValToRGB")
    s.connect(s.math("ADD", radius, s.math("MULTIPLY_ADD", fibre, 0.12, -0.06)), ramp.inputs[0])
    edge = 0.62
    inner, middle, outer = look.iris
    stops = [
        (0.0, (0.004, 0.003, 0.003)),
        (0.19, (0.004, 0.003, 0.003)),
        (0.235, inner),
        (0.36, middle),
        (0.52, outer),
        (edge - 0.04, tuple(0.3 * c for c in outer)),
        (edge + 0.06, (0.50, 0.43, 0.40)),
        (0.95, (0.64, 0.57, 0.54)),
    ]
    elements = ramp.color_ramp.elements
    for index, (place, colour) in enumerate(stops):
        element = elements[index] if index < 2 else elements.new(place)
        element.position = place
        element.color = rgba(colour)
    s.set(
        Base_Color=ramp.outputs[0],
        Roughness=0.3,
        Coat_Weight=1.0,
        Coat_Roughness=0.01,
        Coat_IOR=1.45,
        Specular_IOR_Level=0.4,
    )
    return s.material


def tear() -> Any:
    """The wet strip along the lids: clear, shining at grazing angles."""
    s = Shader("tear")
    s.tree.nodes.remove(s.surface)
    gloss = s.node("ShaderNodeBsdfGlossy", Roughness=0.05)
    clear = s.node("ShaderNodeBsdfTransparent")
    fresnel = s.node("ShaderNodeFresnel", IOR=1.33)
    mix = s.node("ShaderNodeMixShader")
    s.connect(fresnel.outputs[0], mix.inputs[0])
    s.connect(clear.outputs[0], mix.inputs[1])
    s.connect(gloss.outputs[0], mix.inputs[2])
    s.connect(mix.outputs[0], s.tree.nodes["Material Output"].inputs[0])
    return s.material


def strand(name: str, colour: Any, rough: float) -> Any:
    """Hair (Chiang et al., "A Practical and Controllable Hair and Fur Model", 2016) of a linear colour."""
    s = Shader(name)
    s.tree.nodes.remove(s.surface)
    hair = s.node("ShaderNodeBsdfHairPrincipled", parametrization="COLOR")
    hair.inputs["Color"].default_value = rgba(colour)
    hair.inputs["Roughness"].default_value = rough
    hair.inputs["Radial Roughness"].default_value = 0.45
    for label in ("Random Color", "Random Roughness"):
        if label in hair.inputs:
            hair.inputs[label].default_value = 0.3
    s.connect(hair.outputs[0], s.tree.nodes["Material Output"].inputs[0])
    return s.material


def cloth(look: Look) -> Any:
    """Knitted cloth."""
    s = Shader("cloth")
    place = s.node("ShaderNodeTexCoord").outputs["Object"]
    wave = s.node("ShaderNodeTexWave", Vector=place, Scale=3.2, Distortion=1.0, bands_direction="X")
    relief = s.math("ADD", wave.outputs[1], s.noise(place, 14))
    bump = s.node("ShaderNodeBump", Height=relief, Strength=0.28, Distance=0.05)
    tint = s.math("ADD", 0.9, s.math("MULTIPLY", s.noise(place, 0.35, 3), 0.2))
    colour = s.node("ShaderNodeHueSaturation", Value=tint)
    colour.inputs["Color"].default_value = rgba(linear(look.shirt))
    s.set(
        Base_Color=colour.outputs[0],
        Normal=bump.outputs[0],
        Roughness=0.9,
        Specular_IOR_Level=0.2,
        Sheen_Weight=0.35,
        Sheen_Roughness=0.5,
    )
    return s.material


def gold() -> Any:
    """Polished gold."""
    s = Shader("gold")
    s.set(Base_Color=rgba((0.85, 0.56, 0.22)), Metallic=1.0, Roughness=0.22)
    return s.material


def backdrop(image: Floats) -> Any:
    """A screen that shows an image [h, w, 3] of linear light as it is, unlit."""
    height, width = image.shape[:2]
    picture = bpy.data.images.new("backdrop", width, height, float_buffer=True)
    picture.colorspace_settings.name = "Linear Rec.709"
    flipped = np.concatenate([image[::-1], np.ones((height, width, 1))], 2)
    picture.pixels.foreach_set(flipped.astype(np.float32).ravel())
    s = Shader("backdrop")
    s.tree.nodes.remove(s.surface)
    texture = s.node("ShaderNodeTexImage", image=picture, extension="EXTEND")
    glow = s.node("ShaderNodeEmission", Color=texture.outputs["Color"])
    s.connect(glow.outputs[0], s.tree.nodes["Material Output"].inputs[0])
    return s.material
