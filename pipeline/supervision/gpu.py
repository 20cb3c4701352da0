"""GPUs, and a process's memory on them, where there is an NVIDIA GPU and its management library (the extra ``gpu``).

Written for real and not measured here: the machine this was written on has none.
"""

import importlib.util
from typing import Any, Final

import structlog

from pipeline.messages import GpuState

log = structlog.get_logger(__name__)

_MB: Final = 1_048_576


class Gpus:
    """All GPUs of the machine; none where there is no library, no driver, or no GPU."""

    def __init__(self) -> None:
        self._nvml: Any = None
        self._devices: list[Any] = []
        if importlib.util.find_spec("pynvml") is None:
            return
        import pynvml

        try:
            pynvml.nvmlInit()
            self._devices = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        except pynvml.NVMLError as error:
            log.info("no GPU is watched", reason=str(error))
            return
        self._nvml = pynvml

    def states(self) -> list[GpuState]:
        """How busy and how full each is; those that cannot be asked are left out."""
        found = []
        for number, device in enumerate(self._devices):
            try:
                busy = self._nvml.nvmlDeviceGetUtilizationRates(device)
                memory = self._nvml.nvmlDeviceGetMemoryInfo(device)
            except self._nvml.NVMLError as error:
                log.warning("a GPU cannot be asked", gpu=number, reason=str(error))
                continue
            found.append(GpuState(number, float(busy.gpu), round(memory.used / _MB, 1), round(memory.total / _MB, 1)))
        return found

    def memory_mb(self, pid: int) -> float:
        """What the process holds on all GPUs; 0 where there is none."""
        used = 0
        for device in self._devices:
            try:
                running = self._nvml.nvmlDeviceGetComputeRunningProcesses(device)
            except self._nvml.NVMLError as error:
                log.warning("a GPU cannot be asked", reason=str(error))
                continue
            used += sum(each.usedGpuMemory or 0 for each in running if each.pid == pid)
        return round(used / _MB, 1)
