"""GPU memory: read where there is a library and a GPU, absent without a word where not."""

import importlib.util
import sys
from types import ModuleType, SimpleNamespace

import pytest

from pipeline.messages import GpuState
from pipeline.supervision.gpu import Gpus


def library(monkeypatch: pytest.MonkeyPatch, *, driver: bool) -> None:
    """A pynvml with two GPUs, or one that finds no driver."""
    fake = ModuleType("pynvml")

    class NVMLError(Exception):
        pass

    def init() -> None:
        if not driver:
            raise NVMLError("no driver")

    def utilisation(index: int) -> SimpleNamespace:
        if index == 1:
            raise NVMLError("it is lost")
        return SimpleNamespace(gpu=37)

    processes = [[SimpleNamespace(pid=7, usedGpuMemory=3 * 2**20), SimpleNamespace(pid=8, usedGpuMemory=None)]] * 2
    vars(fake).update(
        NVMLError=NVMLError,
        nvmlInit=init,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetComputeRunningProcesses=lambda index: processes[index],
        nvmlDeviceGetMemoryInfo=lambda _index: SimpleNamespace(used=2**30, total=2**34),
        nvmlDeviceGetUtilizationRates=utilisation,
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: object())


def test_what_a_process_holds_is_summed_over_the_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    library(monkeypatch, driver=True)
    assert [Gpus().memory_mb(pid) for pid in (7, 8, 9)] == [6.0, 0.0, 0.0]


def test_how_busy_and_full_each_gpu_is_told_but_of_one_that_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    library(monkeypatch, driver=True)
    assert Gpus().states() == [GpuState(0, 37.0, 1024.0, 16384.0)]


def test_without_a_driver_or_a_library_there_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    library(monkeypatch, driver=False)
    assert Gpus().memory_mb(7) == 0
    assert Gpus().states() == []
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert Gpus().memory_mb(7) == 0
