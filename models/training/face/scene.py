"""The stage: head, hair, shirt, camera and lights in Blender, posed by vertices and rendered by box.

Cycles on the CPU; the background is a screen inside the scene, so that Blender itself blends hair over it in
linear light, before the view transform.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bpy
import numpy as np
from mathutils import Vector

from models.training.face import hair, materials, view
from models.training.face.ict import (
    EYE_POLYGONS,
    GUM_POLYGONS,
    MUCOSA_POLYGONS,
    OUTER_VERTICES,
    PUPIL_VERTICES,
    SKIN_POLYGONS,
    TEAR_POLYGONS,
    TOOTH_POLYGONS,
    Floats,
    Ict,
)
from models.training.face.identities import Light, Look
from models.training.face.paint import linear, paint
from models.training.face.rig import Rig, smooth
from models.training.face.tongue import Tongue

LENS_MM, SENSOR_MM = 110.0, 36.0
SCREEN_CM = 34.0
"""How far behind the head the background's screen stands."""


def to_blender(points: Floats) -> Floats:
    """[..., 3] y up, z forward -> z up, -y forward."""
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], -1)


def _flat(points: Floats) -> Any:
    return to_blender(points).astype(np.float32).ravel()


def gradient(look: Look, size: int = view.SIZE) -> Floats:
    """[size, size, 3] linear light: the background, brightest behind the head."""
    rows, columns = np.mgrid[0:size, 0:size] / size
    far = np.clip(np.hypot(columns - 0.5, (rows - 0.42) * 0.9) / 0.72, 0, 1)[..., None] ** 1.3
    centre, corner = (linear(c) for c in look.background)
    return np.asarray(centre * (1 - far) + corner * far)


class Stage:
    """One speaker, ready to be posed and rendered."""

    def __init__(self, ict: Ict, look: Look, threads: int = 2) -> None:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        self.rig = Rig(ict, look)
        self.look = look
        self.scene = bpy.context.scene
        self._paint = paint(self.rig)
        self._parts: list[tuple[Any, Any]] = []
        self._face()
        self._strands()
        self._shirt()
        if look.earrings:
            self._earrings()
        self._camera()
        for light in look.lights:
            self._light(light)
        self._world()
        self._settings(threads)

    # ---- objects ---------------------------------------------------------

    def _link(self, name: str, data: Any) -> Any:
        thing = bpy.data.objects.new(name, data)
        bpy.context.collection.objects.link(thing)
        return thing

    def _part(self, name: str, first: int, last: int, mats: Sequence[Any]) -> Any:
        """A mesh object of the polygons first..last-1; those of the mucosa take the second material."""
        ict, starts = self.rig.ict, self.rig.ict.starts
        corners = ict.corners[starts[first] : starts[last]]
        used, index = np.unique(corners, return_inverse=True)
        sizes = ict.sizes[first:last]
        mesh = bpy.data.meshes.new(name)
        mesh.vertices.add(len(used))
        mesh.vertices.foreach_set("co", _flat(self.rig.neutral[used]))
        mesh.loops.add(len(corners))
        mesh.loops.foreach_set("vertex_index", index.astype(np.int32).ravel())
        mesh.polygons.add(len(sizes))
        mesh.polygons.foreach_set("loop_start", (starts[first:last] - starts[first]).astype(np.int32))
        mesh.polygons.foreach_set("use_smooth", np.ones(len(sizes), bool))
        for material in mats:
            mesh.materials.append(material)
        if len(mats) > 1:
            number = np.arange(first, last)
            inside = (number >= MUCOSA_POLYGONS[0]) & (number < MUCOSA_POLYGONS[1])
            mesh.polygons.foreach_set("material_index", inside.astype(np.int32))
        mesh.update(calc_edges=True)
        mesh.validate()
        colour = np.c_[self._paint.colour[used], np.ones(len(used))].astype(np.float32)
        mesh.attributes.new("col", "FLOAT_COLOR", "POINT").data.foreach_set("color", colour.ravel())
        mesh.attributes.new("rest", "FLOAT_VECTOR", "POINT").data.foreach_set("vector", _flat(self.rig.neutral[used]))
        for label, values in (("wet", self._paint.wet), ("beard", self._paint.beard)):
            mesh.attributes.new(label, "FLOAT", "POINT").data.foreach_set("value", values[used].astype(np.float32))
        thing = self._link(name, mesh)
        subdivide = thing.modifiers.new("subdivide", "SUBSURF")
        subdivide.levels = subdivide.render_levels = 1
        subdivide.boundary_smooth = "PRESERVE_CORNERS"
        self._parts.append((thing, used))
        return thing

    def _face(self) -> None:
        skin = materials.skin(self.look)
        mucosa = materials.flesh("mucosa", rough=0.24, soft=0.3, coat=0.35, glow=0.06)
        self._part("skin", *SKIN_POLYGONS, [skin, mucosa])
        self._part("gums", *GUM_POLYGONS, [materials.flesh("gum", rough=0.30, soft=0.4, coat=0.22, glow=0.14)])
        self._part(
            "teeth",
            *TOOTH_POLYGONS,
            [materials.flesh("tooth", rough=0.24, soft=0.35, coat=0.25, glow=0.05, radius=(0.9, 0.8, 0.6))],
        )
        for side, polygons, pupil in zip("LR", EYE_POLYGONS, PUPIL_VERTICES, strict=True):
            ball = self.rig.neutral[pupil - 770 : pupil]
            pole = ball[np.argsort(-ball[:, 2])[:60]].mean(0)
            self._part(f"eye{side}", *polygons, [materials.iris(self.look, (pole[0], -pole[2], pole[1]))])
        self._tongue()
        self._part("tear", *TEAR_POLYGONS, [materials.tear()])

    def _tongue(self) -> None:
        self.tongue = Tongue(self.rig)
        points = self.tongue.points({})
        mesh = bpy.data.meshes.new("tongue")
        mesh.from_pydata(to_blender(points).tolist(), [], self.tongue.quads().tolist())
        mesh.polygons.foreach_set("use_smooth", np.ones(len(mesh.polygons), bool))
        colour = np.tile([*linear((205, 112, 110)), 1.0], (len(points), 1)).astype(np.float32)
        mesh.attributes.new("col", "FLOAT_COLOR", "POINT").data.foreach_set("color", colour.ravel())
        mesh.materials.append(materials.flesh("tongue", rough=0.38, soft=0.4, coat=0.12, glow=0.22))
        self._tongue_mesh = mesh
        thing = self._link("tongue", mesh)
        thing.modifiers.new("subdivide", "SUBSURF").render_levels = 1

    def _curves(self, name: str, strands: hair.Strands, material: Any) -> Any:
        count, points = strands.points.shape[:2]
        curves = bpy.data.hair_curves.new(name)
        curves.add_curves([points] * count)
        curves.attributes["position"].data.foreach_set("vector", _flat(strands.points))
        radius = curves.attributes.get("radius") or curves.attributes.new("radius", "FLOAT", "POINT")
        radius.data.foreach_set("value", strands.radii.astype(np.float32).ravel())
        curves.materials.append(material)
        return self._link(name, curves)

    def _strands(self) -> None:
        look = self.look.hair
        self._curves("hair", hair.hair(self.rig), materials.strand("hair", linear(look.colour), 0.38))
        self._brow, self._brow_root = hair.brows(self.rig)
        self._brow_curves = self._curves("brows", self._brow, materials.strand("brow", linear(look.brow_colour), 0.5))
        self._lash = hair.lashes(self.rig)
        at_rest = hair.Strands(self._lash.points(self.rig.neutral), self._lash.radii)
        self._lash_curves = self._curves("lashes", at_rest, materials.strand("lash", linear((12, 9, 8)), 0.4))

    def _shirt(self) -> None:
        """A loft of rings from the collar to the shoulders: half width, front and back depth, z, then y at
        side, front, back.
        """
        drop = self.look.collar
        rings = [
            (6.6, 6.2, 5.0, -1.2, -11.3, -14.0, -9.0),
            (6.9, 6.6, 5.3, -1.2, -11.2, -13.8, -8.8),
            (7.25, 6.9, 5.6, -1.2, -11.5, -14.0, -9.1),
            (7.5, 7.1, 5.8, -1.2, -12.0, -14.6, -9.7),
            (9.2, 7.4, 6.6, -1.2, -12.75, -16.0, -11.0),
            (12, 8.2, 7.8, -1.2, -13.7, -18.0, -13.5),
            (15.5, 9.4, 8.8, -1.4, -14.9, -20.5, -16.5),
            (18.6, 10.4, 9.4, -1.6, -17.0, -23, -20),
            (20.2, 11.0, 9.8, -1.8, -20.5, -26, -24),
            (21, 11.2, 10, -1.8, -27, -31, -29),
        ]
        angle = np.linspace(0, 2 * np.pi, 97)[:-1]
        across, ahead = np.cos(angle), np.sin(angle)
        loft = []
        for index, (width, front, back, z0, y_side, y_front, y_back) in enumerate(rings):
            sink = drop * (1.0 if index < 4 else max(0.0, 1 - (index - 3) / 3))
            x = width * np.sign(across) * np.abs(across) ** 0.85
            z = z0 + np.where(ahead > 0, front, back) * ahead
            y = (
                y_side
                - 0.3 * sink
                + np.where(ahead > 0, y_front - y_side - sink, y_back - y_side) * np.abs(ahead) ** 1.6
            )
            loft.append(np.c_[x, y, z])
        v = np.array(loft).reshape(-1, 3)
        v[:, 1] += 0.10 * np.sin(v[:, 0] * 1.1 + v[:, 1] * 0.6) * smooth(np.abs(v[:, 0]), 6, 14)
        v[:, 2] += 0.18 * np.sin(v[:, 0] * 0.8 + v[:, 1] * 1.3)
        n = len(angle)
        quads = [
            (i * n + j, i * n + (j + 1) % n, (i + 1) * n + (j + 1) % n, (i + 1) * n + j)
            for i in range(len(rings) - 1)
            for j in range(n)
        ]
        mesh = bpy.data.meshes.new("shirt")
        mesh.from_pydata(to_blender(v).tolist(), [], quads)
        mesh.polygons.foreach_set("use_smooth", np.ones(len(quads), bool))
        mesh.materials.append(materials.cloth(self.look))
        thing = self._link("shirt", mesh)
        solid = thing.modifiers.new("solid", "SOLIDIFY")
        solid.thickness, solid.offset = 0.35, 0
        thing.modifiers.new("subdivide", "SUBSURF").render_levels = 2

    def _earrings(self) -> None:
        """A small gold ball on each lobe: the lowest of the outermost points of the ear."""
        skin = self.rig.neutral[: OUTER_VERTICES[1]]
        gold = materials.gold()
        for side in (-1, 1):
            ear = skin[(side * skin[:, 0] > 6.9) & (np.abs(skin[:, 1]) < 3.5)]
            lobe = ear[ear[:, 1].argmin()] + np.array([0.1 * side, -0.05, 0.25])
            bpy.ops.mesh.primitive_uv_sphere_add(radius=0.30, location=to_blender(lobe).tolist())
            ball = bpy.context.object
            ball.name = f"earring{side}"
            ball.data.materials.append(gold)
            ball.data.polygons.foreach_set("use_smooth", np.ones(len(ball.data.polygons), bool))

    # ---- camera, light, settings -----------------------------------------

    def _camera(self) -> None:
        camera = bpy.data.cameras.new("camera")
        camera.lens, camera.sensor_width, camera.clip_end = LENS_MM, SENSOR_MM, 1000
        thing = self._link("camera", camera)
        away = view.HEIGHT_CM * LENS_MM / SENSOR_MM + 8
        thing.location = (0, -away, view.CENTRE_CM)
        thing.rotation_euler = (math.pi / 2, 0, 0)
        self.scene.camera = thing
        half = (away + SCREEN_CM) * SENSOR_MM / LENS_MM / 2
        corners = [(-half, 0, -half), (half, 0, -half), (half, 0, half), (-half, 0, half)]
        mesh = bpy.data.meshes.new("screen")
        mesh.from_pydata(corners, [], [(0, 1, 2, 3)])
        uv = mesh.uv_layers.new()
        uv.data.foreach_set("uv", np.array([0, 0, 1, 0, 1, 1, 0, 1], np.float32))
        mesh.materials.append(materials.backdrop(gradient(self.look)))
        screen = self._link("screen", mesh)
        screen.location = (0, SCREEN_CM, view.CENTRE_CM)
        for kind in ("diffuse", "glossy", "transmission", "shadow", "volume_scatter"):
            setattr(screen, f"visible_{kind}", False)

    def _light(self, light: Light) -> None:
        data = bpy.data.lights.new("light", "AREA")
        data.shape, data.size, data.energy, data.color = "DISK", light.size, light.power, light.colour
        thing = self._link("light", data)
        thing.location = light.place
        thing.visible_camera = False
        thing.rotation_euler = (Vector((0, -5, 0)) - Vector(light.place)).to_track_quat("-Z", "Y").to_euler()

    def _world(self) -> None:
        world = bpy.data.worlds.new("world")
        self.scene.world = world
        world.use_nodes = True
        *colour, strength = self.look.world
        background = world.node_tree.nodes["Background"]
        background.inputs[0].default_value = (*colour, 1)
        background.inputs[1].default_value = strength

    def _settings(self, threads: int) -> None:
        scene, cycles = self.scene, self.scene.cycles
        scene.render.engine = "CYCLES"
        cycles.device = "CPU"
        cycles.use_adaptive_sampling = False
        cycles.max_bounces, cycles.diffuse_bounces, cycles.glossy_bounces = 4, 2, 2
        cycles.transmission_bounces, cycles.transparent_max_bounces = 3, 4
        cycles.caustics_reflective = cycles.caustics_refractive = False
        cycles.sample_clamp_indirect = 4
        cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
        cycles.denoising_input_passes, cycles.denoising_prefilter = "RGB_ALBEDO_NORMAL", "FAST"
        cycles.seed, cycles.filter_width = 1, 1.3
        scene.cycles_curves.shape, scene.cycles_curves.subdivisions = "RIBBONS", 2
        scene.render.threads_mode, scene.render.threads = "FIXED", threads
        scene.render.use_persistent_data = True
        scene.render.resolution_x = scene.render.resolution_y = view.SIZE
        scene.render.resolution_percentage = 100
        scene.render.image_settings.file_format = "PNG"
        scene.render.image_settings.color_mode = "RGB"
        scene.view_settings.view_transform = "AgX"
        scene.view_settings.look = "AgX - Medium High Contrast"
        scene.view_settings.exposure = self.look.exposure

    # ---- use ----------------------------------------------------------------

    def pose(self, weights: Mapping[str, float], eyes: Mapping[str, float] | None = None, lids: bool = True) -> None:
        """Take a shape; `lids=False` leaves eyes, brows and lashes where they are, which is faster."""
        vertices = self.rig.shape(weights, eyes)
        self._tongue_mesh.vertices.foreach_set("co", _flat(self.tongue.points(weights)))
        self._tongue_mesh.update()
        for thing, used in self._parts:
            if not lids and thing.name not in ("skin", "gums", "teeth"):
                continue
            thing.data.vertices.foreach_set("co", _flat(vertices[used]))
            thing.data.update()
        if lids:
            moved = (vertices - self.rig.neutral)[self._brow_root][:, None]
            self._move(self._brow_curves, self._brow.points + moved)
            self._move(self._lash_curves, self._lash.points(vertices))

    @staticmethod
    def _move(curves: Any, points: Floats) -> None:
        curves.data.attributes["position"].data.foreach_set("vector", _flat(points))
        curves.data.update_tag()

    def hide(self, *names: str, but: str = "") -> None:
        """Leave out these objects, or, with `but`, all but one; everything else comes back."""
        for thing in self.scene.objects:
            if thing.type in ("MESH", "CURVES"):
                thing.hide_render = thing.name in names or but not in ("", thing.name)

    def render(self, path: Path, box: view.Box, samples: int) -> None:
        """Render a box of the frame to an 8-bit PNG, whole or not at all."""
        left, top, right, bottom = box
        settings = self.scene.render
        settings.use_border = settings.use_crop_to_border = box != view.FULL_BOX
        settings.border_min_x, settings.border_max_x = left / view.SIZE, right / view.SIZE
        settings.border_min_y, settings.border_max_y = 1 - bottom / view.SIZE, 1 - top / view.SIZE
        self.scene.cycles.samples = samples
        partial = path.with_name(path.stem + ".part.png")
        settings.filepath = str(partial)
        bpy.ops.render.render(write_still=True)
        partial.rename(path)
