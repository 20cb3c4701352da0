"""The face: renders of a talking head, made with Blender, from which a painter learns a mouth.

Geometry and expressions are ICT-FaceKit's (MIT; R. Li et al., "Learning Formation of Physically-Based Face
Attributes", CVPR 2020). Only `scene`, `materials`, `hair` and `render` need `bpy`; the rig and the idle loop
are numpy.
"""
