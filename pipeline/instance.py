"""One running pipeline's folder in shared memory: its rings, its sockets, its lock.

Everything an instance makes lies in /dev/shm/lipwire-XXXXXXXX/, which only its owner can open:

    lock          held (flock) by the supervisor for as long as it lives, however it dies
    config.json   the checked configuration and the command line's choices
    ring.NAME.N   one shared-memory ring
    sock.NAME.N   one ZeroMQ ipc socket

So whether an instance is dead is a question for the kernel, not for a guess about process ids.
"""

import fcntl
import os
import shutil
import stat
import tempfile
from pathlib import Path
from typing import Final

import msgspec
import structlog

from pipeline.config import Config
from pipeline.ring import create_ring

SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder of our own in it, mode 0700
_PREFIX: Final = "lipwire-"

log = structlog.get_logger()


class InstanceConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What every process of the instance is told."""

    config: Config
    host: str
    port: int
    supervisor_pid: int
    token: str | None = None


class Instance:
    """The folder, by the names of what lies in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ring(self, name: str, replica: int = 0) -> Path:
        return self.folder / f"ring.{name}.{replica}"

    def ring_by_ref(self, file_name: str) -> Path:
        return self.folder / file_name

    def endpoint(self, socket: str, replica: int = 0) -> str:
        return f"ipc://{self.folder}/sock.{socket}.{replica}"

    def read_config(self) -> InstanceConfig:
        return msgspec.json.decode((self.folder / "config.json").read_bytes(), type=InstanceConfig)

    def write_config(self, config: InstanceConfig) -> None:
        path = self.folder / "config.json"
        path.touch(mode=0o600)
        path.write_bytes(msgspec.json.encode(config))

    def create_rings(self, config: Config) -> None:
        for name, ring in config.ring.items():
            for replica in range(config.process[ring.owner].replicas):
                create_ring(self.ring(name, replica), ring.slots, ring.slot_bytes)


class InstanceLock:
    """Owns an instance's folder: makes it, holds its lock, removes it."""

    def __init__(self) -> None:
        self.instance = Instance(Path(tempfile.mkdtemp(prefix=_PREFIX, dir=SHARED_MEMORY)))
        self._descriptor = os.open(
            self.instance.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def remove(self) -> None:
        shutil.rmtree(self.instance.folder, ignore_errors=True)
        os.close(self._descriptor)


def remove_dead_instances() -> list[Path]:
    """Clean up after supervisors that were killed with -9: folders of this user whose lock nobody holds."""
    removed = []
    for folder in SHARED_MEMORY.glob(f"{_PREFIX}*"):
        try:
            status = folder.lstat()
            if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
                continue
            descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue  # just being made, or just being removed
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
            removed.append(folder)
            log.warning("removed what a dead instance left", folder=str(folder))
        except BlockingIOError:
            pass  # alive
        finally:
            os.close(descriptor)
    return removed
