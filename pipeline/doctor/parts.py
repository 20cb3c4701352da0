"""The parts that others bring: speakers, sound devices, and a frame from end to end. Each in a process of its own."""

import asyncio
import importlib.util
import json
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np

from pipeline.audio import WINDOW_SAMPLES
from pipeline.client import LipSync, ServerError, ServerGoneError
from pipeline.doctor.findings import Finding, fault, ok, warning
from pipeline.spawn import SpawnError, spawned

_PATIENCE_S: Final = 60
_REQUESTS: Final = 25
_BUDGET_MS: Final = 40.0
"""A frame's time at 25 a second."""
_SLOW_MS: Final = 20.0
"""Half of it: one session is served, several are not."""


def _run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)


def speakers(folder: Path | None) -> Iterator[Finding]:
    """Their files whole, by their own checksums."""
    done = _run("models", *(("--speakers-dir", str(folder)) if folder else ()), "verify")
    if done.returncode:
        words = done.stderr.strip().removeprefix("lipwire: ")
        yield fault("speakers", words, "install the speaker again: python -m models install")
    else:
        yield ok("speakers", ", ".join(done.stdout.split("\n")).strip(", "))


def sound_devices() -> Iterator[Finding]:
    """For `--mic` alone."""
    if importlib.util.find_spec("sounddevice") is None:
        yield ok("microphone", "the extra mic is not installed; it is for --mic alone")
        return
    done = _run("stages.mic", "--list", "--json")
    if done.returncode:
        yield warning("microphone", done.stderr.strip().removeprefix("lipwire: "), "or leave --mic out")
        return
    names = [device["name"] for device in json.loads(done.stdout)]
    if names:
        yield ok("microphone", ", ".join(names))
    else:
        yield warning(
            "microphone", "no device to record from", "plug one in, start the sound server, or leave --mic out"
        )


def frames(config: Path | None) -> Iterator[Finding]:
    """A pipeline of its own: the page, and frames in time."""
    try:
        with spawned(*(("--config", str(config)) if config else ())) as server:
            yield ok("start", f"ready after {server.ready_s:.1f} s")
            yield from _page(server.url)
            yield from asyncio.run(_in_time(server.url))
    except SpawnError as error:
        yield fault("start", str(error), "mend what its own words name, and ask again")


def _page(url: str) -> Iterator[Finding]:
    address = url.replace("ws", "http", 1).removesuffix("/ws")
    try:
        with urllib.request.urlopen(address, timeout=5) as answer:  # noqa: S310 - our own server's
            body = answer.read()
    except (urllib.error.URLError, OSError) as error:
        yield fault("page", f"{address}: {error}", "install lipwire again: its web client is missing")
        return
    yield ok("page", f"{len(body)} bytes of HTML at {address}")


async def _in_time(url: str) -> list[Finding]:
    rng = np.random.default_rng(0)
    took_ms = []
    try:
        async with LipSync(url) as face:
            for number in range(_REQUESTS):
                window = rng.normal(0, 0.1, WINDOW_SAMPLES).astype(np.float32).clip(-1, 1)
                began = time.perf_counter()
                await face.request(window, number)
                took_ms.append(1000 * (time.perf_counter() - began))
    except (ServerError, ServerGoneError) as error:
        return [fault("frames", str(error), "look into the log of `python -m pipeline.run`")]
    median_ms = statistics.median(took_ms)
    seen = f"{median_ms:.1f} ms a frame (median of {_REQUESTS}), of {_BUDGET_MS:.0f}"
    if median_ms > _BUDGET_MS:
        return [fault("frames", seen, "end what else runs, choose a smaller speaker, or another machine")]
    if median_ms > _SLOW_MS:
        return [warning("frames", seen, "one session will do, several will not; end what else runs")]
    return [ok("frames", seen)]
