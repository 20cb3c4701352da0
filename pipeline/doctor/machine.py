"""The machine: Python, packages, memory, shared memory, sockets, descriptors, ports."""

import importlib
import importlib.metadata
import os
import resource
import shutil
import socket
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import psutil
from packaging.requirements import Requirement

from pipeline.config import Config
from pipeline.doctor.findings import Finding, fault, ok, warning
from pipeline.history import SIZE_BYTES
from pipeline.instance import PREFIX, SHARED_MEMORY, Instance, living_instances

_DISTRIBUTION: Final = "lipwire"
_LEAST_PYTHON: Final = (3, 11)
_LEAST_MEMORY_MB: Final = 700
"""Of all processes together, with room: 350 MB are measured (docs/performance.md)."""
_LONGEST_IPC: Final = 107
"""Bytes of a Unix socket's path; unix(7)."""
_OWN_DESCRIPTORS: Final = 200
"""Of the edge, beside its connections."""
_MB: Final = 1 << 20


def python() -> Iterator[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < _LEAST_PYTHON:
        yield fault("python", version, "install Python 3.11 or later, and lipwire with it")
    else:
        yield ok("python", version)


def requirements() -> list[str]:
    """What the core install needs, as the installed package says."""
    try:
        needed = importlib.metadata.requires(_DISTRIBUTION) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [line for line in needed if "extra ==" not in line]


def packages(needed: Sequence[str]) -> Iterator[Finding]:
    """Each of them installed, in a version that will do."""
    if not needed:
        yield warning("packages", "lipwire runs from a folder and is not installed", "pip install -e .")
        return
    good = 0
    for line in needed:
        requirement = Requirement(line)
        try:
            version = importlib.metadata.version(requirement.name)
        except importlib.metadata.PackageNotFoundError:
            yield fault("packages", f"{requirement.name} is missing", f"pip install '{requirement}'")
            continue
        if not requirement.specifier.contains(version, prereleases=True):
            yield fault(
                "packages", f"{requirement.name} {version}, {requirement} is needed", f"pip install '{requirement}'"
            )
            continue
        good += 1
    if good == len(needed):
        yield ok("packages", f"all {good} in a version that will do")


def memory() -> Iterator[Finding]:
    free_mb = psutil.virtual_memory().available // _MB
    cores = len(os.sched_getaffinity(0))
    if free_mb < _LEAST_MEMORY_MB:
        yield fault("memory", f"{free_mb} MB are free", f"make {_LEAST_MEMORY_MB} MB free")
    else:
        yield ok("memory", f"{free_mb} MB are free")
    load = os.getloadavg()[0]
    if cores < 2:
        yield warning("processor", "one core", "two are what the figures in docs/performance.md are of")
    elif load > cores:
        yield warning("processor", f"{cores} cores, load {load:.1f}", "other programs take them: frames will be late")
    else:
        yield ok("processor", f"{cores} cores, load {load:.1f}")


def shared_memory(config: Config) -> Iterator[Finding]:
    """Room for the rings, and for as many sessions as may come."""
    rings = sum(ring.slots * ring.slot_bytes * config.process[ring.owner].replicas for ring in config.ring.values())
    sessions = config.limits.sessions * SIZE_BYTES
    free = shutil.disk_usage(SHARED_MEMORY).free
    seen = f"{SHARED_MEMORY}: {free // _MB} MB free; rings take {rings // _MB} MB, {config.limits.sessions} sessions "
    seen += f"{sessions // _MB} MB"
    enlarge = f"mount -o remount,size=1G {SHARED_MEMORY}, or for a container --shm-size=1g"
    if free < rings:
        yield fault("shared memory", seen, f"{enlarge}; or smaller rings in supervisor.toml")
    elif free < rings + sessions:
        yield warning("shared memory", seen, f"{enlarge}; or fewer limits.sessions")
    else:
        yield ok("shared memory", seen)


def leftovers() -> Iterator[Finding]:
    """What supervisors that were killed with -9 have left."""
    living = {instance.folder for instance in living_instances()}
    own = [path for path in SHARED_MEMORY.glob(f"{PREFIX}*") if path.is_dir() and path.stat().st_uid == os.getuid()]
    dead = [path for path in own if path not in living]
    if dead:
        names = ", ".join(map(str, dead))
        yield warning("leftovers", f"of pipelines that were killed: {names}", "start lipwire once: it removes them")
    else:
        yield ok("leftovers", "none")


def sockets(config: Config) -> Iterator[Finding]:
    """Paths that the kernel takes; descriptors for every connection."""
    folder = Instance(SHARED_MEMORY / f"{PREFIX}12345678")
    longest = max((folder.endpoint(name).removeprefix("ipc://") for name in config.socket), key=len)
    if len(longest) > _LONGEST_IPC:
        yield fault("sockets", f"{longest} is longer than {_LONGEST_IPC} bytes", "shorten the socket's name")
    wanted = config.limits.connections + _OWN_DESCRIPTORS
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted:
        seen = f"{soft} descriptors, {config.limits.connections} connections may come"
        yield fault("sockets", seen, f"ulimit -n {wanted}, LimitNOFILE= in systemd, or fewer limits.connections")
    else:
        yield ok("sockets", f"{soft} descriptors for {config.limits.connections} connections")


def port(host: str, number: int) -> Iterator[Finding]:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, number))
        except OSError as error:
            yield warning(
                "port", f"{host}:{number}: {error.strerror}{_holder(number)}", "end it, or take another --port"
            )
            return
    yield ok("port", f"{host}:{number} is free")


def _holder(number: int) -> str:
    try:
        for connection in psutil.net_connections("inet"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == number:
                return f", held by {psutil.Process(connection.pid).name()} ({connection.pid})" if connection.pid else ""
    except psutil.Error:
        pass  # whose it is is not ours to know
    return ""


def speakers_folder(config: Config) -> Path | None:
    """The one that the configuration names."""
    return Path(config.pipeline.speakers_dir) if config.pipeline.speakers_dir else None
