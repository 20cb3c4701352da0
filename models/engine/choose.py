"""Which backend runs a speaker's networks on this machine: measured once, kept, and said.

    python -m models.engine.choose [SPEAKER ...]      # measures anew and prints what it found

What is installed is tried in processes of their own, so that a stage imports nothing that it does not run. The choice
is kept in ``$XDG_CACHE_HOME/lipwire/engines.json``, under a key made of the networks, the processor and the versions of
the backends: another speaker, another machine or an upgrade is measured again.
"""

import argparse
import hashlib
import importlib
import importlib.metadata
import importlib.util
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
import structlog

from models.engine.base import BATCHES, Engine, warm_up
from models.frontend import BANDS, STEPS
from models.speaker import SPEAKERS_DIR, Speaker, SpeakerError, open_speaker

log = structlog.get_logger(__name__)


class Backend(NamedTuple):
    """Where an engine is, and the packages that it needs. Imported only where it runs: some take seconds and 200 MB."""

    module: str
    engine: str
    packages: tuple[str, ...]


BACKENDS: Final = {
    "onnxruntime": Backend("models.engine.onnx", "OnnxEngine", ("onnxruntime",)),
    "torch": Backend("models.engine.torch", "TorchEngine", ("torch", "onnx")),
    "openvino": Backend("models.engine.openvino", "OpenvinoEngine", ("openvino",)),
}
USUAL: Final = "onnxruntime"
AUTO: Final = "auto"
RULES: Final = 5
"""Counts the versions of how a choice is made: with another, kept choices are made anew."""
TURNS: Final = 8
"""Of all batches one after another: a machine that is slow for a while is slow for each of them."""
RUNS: Final = 5
"""In a turn: the first find the caches full of another batch. The fastest of all counts, as what else the machine does
only ever adds."""
TOGETHER_COSTS: Final = 1.1
"""Windows that have arrived are taken together unless a frame of theirs costs more than so many times one alone. The
first waits for the last, but the next stage is woken once, and does not take the core from the rest: with eight
sessions on two cores that is what keeps infer from falling behind (docs/performance.md)."""
PATIENCE_S: Final = 20.0
"""For one candidate; what takes longer to load is nothing to start with."""
TWO_THREADS_PAY: Final = 1.6
"""A second thread takes a core from the other stages: it has to make a frame so many times faster."""
OTHERS_PAY: Final = 1.15
"""Another backend than the usual one costs memory and start-up: it has to be so many times faster."""


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What runs a speaker's networks. ``batch``: as many windows are best taken together; ``measured``: the ms of one
    frame by candidate, which is a backend, threads and a batch."""

    backend: str
    threads: int
    batch: int = 1
    measured: dict[str, float] = {}

    @property
    def reason(self) -> str:
        """For people."""
        if not self.measured:
            return "configured"
        return ", ".join(f"{name} {ms:.1f} ms" for name, ms in sorted(self.measured.items(), key=lambda item: item[1]))


def installed() -> list[str]:
    """The backends whose packages are there."""
    return [
        name for name, each in BACKENDS.items() if all(importlib.util.find_spec(package) for package in each.packages)
    ]


def open_engine(speaker: Speaker, choice: Choice) -> Engine:
    """The speaker's networks under the chosen backend, warm.

    Raises SpeakerError where they cannot be loaded.
    """
    backend = BACKENDS[choice.backend]
    engine: Engine = getattr(importlib.import_module(backend.module), backend.engine)(speaker, choice.threads)
    warm_up(engine, speaker)
    return engine


def open_like(speaker: Speaker, choice: Choice) -> Engine:
    """As :func:`open_engine`, by the usual backend where a network is not one that the chosen one can run.

    Raises SpeakerError where that cannot load it either.
    """
    try:
        return open_engine(speaker, choice)
    except SpeakerError as error:
        if choice.backend == USUAL:
            raise
        log.warning("another backend", speaker=speaker.name, backend=USUAL, reason=str(error))
        return open_engine(speaker, Choice(backend=USUAL, threads=choice.threads))


def choose(speaker: Speaker, wanted: str, threads: int) -> Choice:
    """The configured backend, or where that is ``auto``, the fastest of those installed, from the cache or measured (a
    second for ONNX Runtime, one for OpenVINO, five for PyTorch, once).

    Raises ValueError for a backend that is not there.
    """
    if wanted != AUTO:
        if wanted not in installed():
            msg = f"backend {wanted!r} is not installed here; there are: {', '.join((AUTO, *installed()))}"
            raise ValueError(msg)
        return Choice(backend=wanted, threads=threads)
    key = _key(speaker, threads)
    kept = _read_cache().get(key)
    if kept is not None:
        return kept
    choice = _fastest(measure(speaker, (threads,)), threads)
    _write_cache(key, choice)
    log.info("engine chosen", speaker=speaker.name, backend=choice.backend, threads=choice.threads, of=choice.reason)
    return choice


def measure(speaker: Speaker, threads: Sequence[int]) -> dict[str, float]:
    """Milliseconds of one frame by candidate, e.g. {"onnxruntime 1 thread": 3.6, "torch 2 threads, 4 at once": 5.1}."""
    found: dict[str, float] = {}
    for backend in installed():
        for count in threads:
            command = [sys.executable, "-m", "models.engine.choose", "--trial", backend, "--threads", str(count)]
            command += ["--speakers-dir", str(speaker.folder.parent), speaker.name]
            try:
                done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE_S)
                found |= json.loads(done.stdout)
            except subprocess.CalledProcessError as error:
                log.warning("backend left out", backend=backend, reason=error.stderr.strip()[-300:])
            except subprocess.TimeoutExpired:
                log.warning("backend left out", backend=backend, reason=f"no result within {PATIENCE_S:.0f} s")
    return found


def _trial(speaker: Speaker, backend: str, threads: int) -> dict[str, float]:
    engine = open_engine(speaker, Choice(backend=backend, threads=threads))
    features = {batch: np.random.default_rng(batch).random((batch, BANDS, STEPS), np.float32) for batch in BATCHES}
    least_ms = dict.fromkeys(BATCHES, math.inf)
    for batch in TURNS * BATCHES:
        for _ in range(RUNS):
            began = time.perf_counter()
            engine.paint(engine.articulate(features[batch]))
            least_ms[batch] = min(least_ms[batch], 1_000 * (time.perf_counter() - began) / batch)
    return {_candidate(backend, threads, batch): round(ms, 2) for batch, ms in least_ms.items()}


def _candidate(backend: str, threads: int, batch: int) -> str:
    return f"{backend} {threads} thread{'s' * (threads > 1)}" + (f", {batch} at once" if batch > 1 else "")


def _fastest(measured: dict[str, float], threads: int) -> Choice:
    """By one frame alone, as a single live session has it."""
    single = {
        (backend, count): measured[name]
        for backend in BACKENDS
        for count in sorted({1, threads, 2})
        if (name := _candidate(backend, count, 1)) in measured
    }
    if not single:
        return Choice(backend=USUAL, threads=threads, measured=measured)
    frugal = {
        (backend, count): ms * (TWO_THREADS_PAY if count > threads else 1) * (1 if backend == USUAL else OTHERS_PAY)
        for (backend, count), ms in single.items()
    }
    backend, count = min(frugal, key=lambda candidate: frugal[candidate])
    return Choice(backend=backend, threads=count, batch=_batch(measured, backend, count), measured=measured)


def _batch(measured: dict[str, float], backend: str, threads: int) -> int:
    alone = measured[_candidate(backend, threads, 1)]
    ms = {batch: measured.get(_candidate(backend, threads, batch), math.inf) for batch in BATCHES}
    return max(batch for batch in BATCHES if batch == 1 or ms[batch] <= TOGETHER_COSTS * alone)


# ---- the cache -------------------------------------------------------------------------------------------------------


def cache_path() -> Path:
    """Where choices are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lipwire" / "engines.json"


def _key(speaker: Speaker, threads: int) -> str:
    files = speaker.manifest.files
    parts = [files.get(speaker.manifest.articulator or "", ""), files.get(speaker.manifest.painter, ""), _processor()]
    versions = [
        f"{package} {importlib.metadata.version(package)}"
        for each in installed()
        for package in BACKENDS[each].packages
    ]
    return hashlib.sha256("|".join([*parts, *versions, str(threads), str(RULES)]).encode()).hexdigest()[:16]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        model = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        model = platform.processor()
    return f"{model} x{os.cpu_count()}"


def _read_cache() -> dict[str, Choice]:
    try:
        return msgspec.json.decode(cache_path().read_bytes(), type=dict[str, Choice])
    except (FileNotFoundError, msgspec.MsgspecError):
        return {}


def _write_cache(key: str, choice: Choice) -> None:
    path = cache_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        partial.write_bytes(msgspec.json.encode(_read_cache() | {key: choice}))
        partial.replace(path)
    except OSError as error:  # a read-only home: it is measured again next time
        log.warning("the choice of engine cannot be kept", path=str(path), reason=str(error))


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m models.engine.choose", description=(__doc__ or "").split("\n", 1)[0]
    )
    parser.add_argument("speakers", nargs="*", default=["default"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--speakers-dir", type=Path, default=SPEAKERS_DIR)
    parser.add_argument("--trial", choices=sorted(BACKENDS), help=argparse.SUPPRESS)
    given = parser.parse_args()
    try:
        for name in given.speakers:
            speaker = open_speaker(name, given.speakers_dir)
            if given.trial:
                sys.stdout.write(json.dumps(_trial(speaker, given.trial, given.threads)) + "\n")
                continue
            both = sorted({given.threads, min(2, os.cpu_count() or 1)})
            choice = _fastest(measure(speaker, both), given.threads)
            _write_cache(_key(speaker, given.threads), choice)
            sys.stdout.write(f"{name}: {choice.backend}, {choice.threads} thread(s); {choice.reason}\n")
    except SpeakerError as error:
        sys.exit(f"lipwire: {error}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
