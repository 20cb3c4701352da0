"""The networks of one speaker, behind one interface: load, warm up, infer a batch.

features [N, 32, 16] --articulator--> articulation [N, K] --painter--> pixels [N, H, W, 3]

base.py     the interface
onnx.py     ONNX Runtime, on the CPU or CUDA: always there
torch.py    PyTorch, on the CPU or CUDA, where it is installed
openvino.py OpenVINO, on the CPU, where it is installed
choose.py   measures what is installed on this machine, once, and keeps the choice
"""

from models.engine.base import Articulation, Engine, Pixels
from models.engine.onnx import OnnxEngine

__all__ = ["Articulation", "Engine", "OnnxEngine", "Pixels"]
