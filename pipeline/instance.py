"""One running pipeline's folder in shared memory: its rings, its sockets, its lock.

Everything an instance makes lies in /dev/shm/lipwire-XXXXXXXX/, which only its owner can open:

    lock          held (flock) by the supervisor for as long as it lives, however it dies; removed last
    config.json   the checked configuration and the command line's choices
    ring.NAME.N   one shared-memory ring
    sock.NAME.N   one ZeroMQ ipc socket
    hand.NAME.N   which windows a stage is working on

So whether an instance is dead is a question for the kernel, not for a guess about process ids.
"""

import contextlib
import fcntl
import os
import stat
import tempfile
from pathlib import Path
from typing import Final

import msgspec
import structlog

from pipeline.access import Access
from pipeline.config import Config
from pipeline.ring import create_ring

SHARED_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder of our own in it, mode 0700
PREFIX: Final = "lipwire-"
_LOCK: Final = "lock"

log = structlog.get_logger()


class InstanceConfig(msgspec.Struct, frozen=True, kw_only=True):
    """What every process of the instance is told."""

    config: Config
    access: Access
    supervisor_pid: int


class Instance:
    """The folder, by the names of what lies in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def ring(self, name: str, replica: int = 0) -> Path:
        return self.folder / f"ring.{name}.{replica}"

    def hand(self, process: str, replica: int) -> Path:
        return self.folder / f"hand.{process}.{replica}"

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
        while (made := self._try_to_make()) is None:
            pass
        self.instance, self._descriptor = made

    @staticmethod
    def _try_to_make() -> tuple[Instance, int] | None:
        """None if another start took the folder for a dead one's in the instant before it was locked."""
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=SHARED_MEMORY))
        lock = folder / _LOCK
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(lock.stat(), os.fstat(descriptor)):
                return Instance(folder), descriptor
        except (BlockingIOError, FileNotFoundError):
            pass
        os.close(descriptor)
        return None

    def remove(self) -> None:
        try:
            _remove_folder(self.instance.folder)
        except OSError as error:
            log.warning("could not remove the instance", folder=str(self.instance.folder), reason=str(error))
        finally:
            os.close(self._descriptor)


def _remove_folder(folder: Path) -> None:
    """The lock goes last, so that a removal cut short is finished by the next start."""
    for path in folder.iterdir():
        if path.name != _LOCK:
            path.unlink(missing_ok=True)
    (folder / _LOCK).unlink(missing_ok=True)
    folder.rmdir()


def remove_dead_instances() -> list[Path]:
    """Clean up after supervisors that were killed with -9: folders of this user whose lock nobody holds."""
    removed = []
    for folder in SHARED_MEMORY.glob(f"{PREFIX}*"):
        status = _lstat(folder)
        if status is None or not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            continue
        if _remove_if_dead(folder):
            removed.append(folder)
            log.warning("removed what a dead instance left", folder=str(folder))
    return removed


def _lstat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _remove_if_dead(folder: Path) -> bool:
    try:
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        # If empty: its maker died before locking it, or is about to and will make another.
        # If not: no instance of ours, and none of our business.
        with contextlib.suppress(OSError):
            folder.rmdir()
            return True
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _remove_folder(folder)
    except BlockingIOError:
        return False  # alive
    except OSError as error:
        log.warning("could not remove a dead instance", folder=str(folder), reason=str(error))
        return False
    finally:
        os.close(descriptor)
    return True


def living_instances() -> list[Instance]:
    """This user's instances whose supervisor lives."""
    living = []
    for folder in sorted(SHARED_MEMORY.glob(f"{PREFIX}*")):
        status = _lstat(folder)
        if status is None or status.st_uid != os.getuid() or not (folder / "config.json").exists():
            continue
        try:
            descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            living.append(Instance(folder))
        finally:
            os.close(descriptor)
    return living
