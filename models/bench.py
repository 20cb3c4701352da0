"""`python -m models.bench`: what one frame costs in one process, step by step, on one thread.

Every step that the stages take of a window, one after another, without sockets, rings and processes between them: what
`python -m pipeline.bench` measures beyond it is the pipeline's own cost. Besides: how near the networks come to the
rate at which this machine multiplies matrices, and how many times cheaper they are than SyncTalk_2D's (its architecture
with random weights). Needs the extras ``train`` and ``bench``.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from models import frontend
from models.articulation import CHANNELS
from models.compose import Composer
from models.engine import OnnxEngine
from models.frontend import BANDS, CHUNK, SAMPLE_RATE, STEPS
from models.motion import moved
from models.speaker import Speaker, SpeakerError, open_speaker
from pipeline.audio import samples_of_chunk
from pipeline.bench.clients import cut
from pipeline.extras import needs
from pipeline.history import History
from pipeline.instance import SHARED_MEMORY
from pipeline.level import FFT_SIZE, LevelMeter

with needs("train", "bench"):
    from threadpoolctl import threadpool_limits

    from models import cost
    from models.training.speech import read_audio

SPEECH: Final = Path(__file__).parents[1] / "webclient" / "sample.wav"
SIDE: Final = 1_500
"""Of the square matrices whose product is the machine's rate: beyond the caches, small beside the memory."""
MATRIX_RUNS: Final = 7
NETWORK_RUNS: Final = 200
TURNS: Final = 5
SYNCTALK_RUNS: Final = 9
SYNCTALK_SIDE: Final = 160


class Step(msgspec.Struct, kw_only=True):
    """Milliseconds of one step of a frame."""

    p50: float
    p99: float


class Found(msgspec.Struct, kw_only=True):
    """What was measured.

    ``arithmetic`` is the networks' rate over the machine's matrix product rate, both one run after another;
    ``networks_ms`` is what they took between the other steps of a frame.
    """

    steps: dict[str, Step]
    frame_ms: Step
    networks_ms: float
    networks_gflop: float
    networks_gflop_per_s: float
    matrix_gflop_per_s: float
    arithmetic: float
    synctalk2d_ms: float | None
    synctalk2d_times: float | None


def frames(speaker_name: str, seconds: float, *, paced: bool) -> dict[str, NDArray[np.float64]]:
    """[frames] milliseconds of every step, and of the whole ``frame``; ``paced`` waits for each chunk, as live sound
    does.

    Raises SpeakerError for an unknown speaker.
    """
    speaker = open_speaker(speaker_name)
    front_end = frontend.get(speaker.manifest.front_end)
    engine, composer = OnnxEngine(speaker), Composer(speaker)
    engine.warm_up()
    chunks = cut(read_audio(SPEECH))
    took: dict[str, list[float]] = {}
    meter = LevelMeter()
    shown = np.array(speaker.manifest.rest, np.float32)
    has_lips = speaker.manifest.channels == CHANNELS

    def step(name: str, started: float) -> float:
        now = time.perf_counter()
        took.setdefault(name, []).append(1_000 * (now - started))
        return now

    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY) as folder:
        history = History(Path(folder) / "session")
        begin = time.perf_counter()
        for number in range(round(seconds * SAMPLE_RATE / CHUNK)):
            base = composer.base_of(number)
            composer.prepare(number)
            if paced:
                time.sleep(max(0.0, begin + number * CHUNK / SAMPLE_RATE - time.perf_counter()))
            chunk = chunks[number % len(chunks)].tobytes()
            whole = now = time.perf_counter()
            history.add(number, samples_of_chunk(chunk))
            window = history.window()
            now = step("hear", now)
            meter(window[-FFT_SIZE:])
            now = step("level", now)
            features = front_end(window)
            now = step("mel", now)
            articulation = engine.articulate(features)
            now = step("articulate", now)
            shown = moved(shown, articulation[0]) if has_lips else articulation[0]
            now = step("move", now)
            pixels = engine.paint(shown[None])[0]
            now = step("paint", now)
            box, mixed = composer.mix(pixels, base)
            now = step("compose", now)
            composer.encoded(base, box, mixed)
            step("encode", now)
            step("frame", whole)
    return {name: np.array(values) for name, values in took.items()}


def median_s(work: Callable[[], object], runs: int) -> float:
    """Of so many runs, one more to warm up."""
    took = []
    for _ in range(runs + 1):
        started = time.perf_counter()
        work()
        took.append(time.perf_counter() - started)
    return float(np.median(took[1:]))


def matrix_rate() -> float:
    """GFLOP/s of a float32 product of two large square matrices, one thread."""
    a, b = (np.random.default_rng(seed).random((SIDE, SIDE), np.float32) for seed in (1, 2))
    with threadpool_limits(1):
        return 2 * SIDE**3 / 1e9 / median_s(lambda: a @ b, MATRIX_RUNS)


def networks_s(speaker: Speaker) -> float:
    """Both networks of a frame, run after run, as matrices are multiplied in :func:`matrix_rate`; one thread."""
    engine = OnnxEngine(speaker)
    features = np.random.default_rng(0).random((1, BANDS, STEPS), np.float32)
    return median_s(lambda: engine.paint(engine.articulate(features)), NETWORK_RUNS)


def synctalk2d_ms() -> float:
    """One frame of SyncTalk_2D's U-Net under torch as it is run there (eager, float32), one thread, random weights."""
    import torch

    from models.synctalk2d.ears import MOMENTS
    from models.synctalk2d.networks import WIDTHS, UNet

    torch.set_num_threads(1)
    network = UNet(SYNCTALK_SIDE).eval()
    image = torch.rand(1, 6, SYNCTALK_SIDE, SYNCTALK_SIDE)
    sound = torch.rand(1, WIDTHS[0], MOMENTS, MOMENTS)
    with torch.inference_mode():
        return 1_000 * median_s(lambda: network(image, sound), SYNCTALK_RUNS)


def measure(speaker_name: str, seconds: float, *, paced: bool, against_synctalk2d: bool) -> Found:
    """Everything, in one run."""
    cv2.setNumThreads(1)
    with threadpool_limits(1):  # as the stages do
        took = frames(speaker_name, seconds, paced=paced)
    speaker = open_speaker(speaker_name)
    work = sum(cost.gflop(network) for network in speaker.networks())
    # By turns, as the machine's rate changes from second to second.
    turns = [(work / networks_s(speaker), matrix_rate()) for _ in range(TURNS)]
    rate, networks_rate = (float(np.median([turn[each] for turn in turns])) for each in (1, 0))
    networks_ms = float(np.median(took["articulate"] + took["paint"]))
    theirs = synctalk2d_ms() if against_synctalk2d else None
    steps = {name: _step(values) for name, values in took.items()}
    return Found(
        frame_ms=steps.pop("frame"),
        steps=steps,
        networks_ms=round(networks_ms, 3),
        networks_gflop=round(work, 3),
        networks_gflop_per_s=round(networks_rate, 1),
        matrix_gflop_per_s=round(rate, 1),
        arithmetic=round(float(np.median([mine / machines for mine, machines in turns])), 2),
        synctalk2d_ms=theirs and round(theirs, 1),
        synctalk2d_times=theirs and round(theirs / networks_ms, 1),
    )


def _step(values: NDArray[np.float64]) -> Step:
    p50, p99 = np.percentile(values, (50, 99)).round(3).tolist()
    return Step(p50=p50, p99=p99)


def _table(found: Found) -> Table:
    table = Table(title="one frame in one process, ms")
    for column in ("step", "p50", "p99"):
        table.add_column(column, justify="right")
    for name, step in (*found.steps.items(), ("frame", found.frame_ms)):
        table.add_row(name, f"{step.p50:.2f}", f"{step.p99:.2f}")
    return table


def _summary(found: Found) -> str:
    rates = f"{found.networks_gflop_per_s} of {found.matrix_gflop_per_s} GFLOP/s ({found.arithmetic:.2f})"
    said = f"networks: {found.networks_gflop} GFLOP a frame at {rates}"
    if found.synctalk2d_ms is None:
        return said
    return f"{said}\nSyncTalk_2D 160: {found.synctalk2d_ms} ms a frame, {found.synctalk2d_times} times as much"


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m models.bench", description=(__doc__ or "").split("\n\n", 1)[0])
    parser.add_argument("--speaker", default="default")
    parser.add_argument("--seconds", type=float, default=20.0, help="of sound (%(default)s)")
    parser.add_argument("--flat-out", action="store_true", help="frame after frame, instead of 25 a second")
    parser.add_argument("--synctalk2d", action="store_true", help="also SyncTalk_2D's network in the same run")
    parser.add_argument("--json", action="store_true", help="print one JSON line instead of a table")
    given = parser.parse_args()
    try:
        found = measure(given.speaker, given.seconds, paced=not given.flat_out, against_synctalk2d=given.synctalk2d)
    except SpeakerError as error:
        sys.exit(f"lipwire: {error}")
    if given.json:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
    else:
        console = Console(width=None if sys.stdout.isatty() else 120)
        console.print(_table(found))
        console.print(_summary(found))


if __name__ == "__main__":
    main()
