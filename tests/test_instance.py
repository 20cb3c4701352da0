"""One running pipeline's folder: who may remove it, and who may not."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from pipeline import instance
from pipeline.access import Access
from pipeline.config import Config, ProcessConfig, RingConfig, SocketConfig
from pipeline.instance import Instance, InstanceConfig, InstanceLock, living_instances, remove_dead_instances
from pipeline.ring import RingReader, RingWriter

CONFIG = Config(
    process={"mel": ProcessConfig(module="stages.mel", receives="windows", sends=(), replicas=2)},
    socket={"windows": SocketConfig()},
    ring={"mouths": RingConfig(owner="mel", slots=2, slot_bytes=64)},
)
Owner = Callable[[], tuple["subprocess.Popen[str]", Path]]


@pytest.fixture(autouse=True)
def shared_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /dev/shm of this test's own, so that instances running on this machine are left alone."""
    monkeypatch.setattr(instance, "SHARED_MEMORY", tmp_path)
    return tmp_path


@pytest.fixture
def owner(shared_memory: Path) -> Iterator[Owner]:
    """Another process that owns an instance with rings."""
    started: list[subprocess.Popen[str]] = []
    script = f"""
import sys, msgspec
from pathlib import Path
from pipeline import instance
from pipeline.config import Config
instance.SHARED_MEMORY = Path({str(shared_memory)!r})
lock = instance.InstanceLock()
lock.instance.create_rings(msgspec.json.decode(sys.stdin.readline(), type=Config))
print(lock.instance.folder, flush=True)
sys.stdin.readline()
lock.remove()
"""

    def start() -> tuple["subprocess.Popen[str]", Path]:
        process = subprocess.Popen(
            [sys.executable, "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parent.parent,
        )
        started.append(process)
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(msgspec.json.encode(CONFIG).decode() + "\n")
        process.stdin.flush()
        return process, Path(process.stdout.readline().strip())

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_folder_is_its_owners_alone_and_goes_with_it(shared_memory: Path) -> None:
    lock = InstanceLock()
    folder = lock.instance.folder
    assert folder.parent == shared_memory
    assert folder.name.startswith("lipwire-")
    assert folder.stat().st_mode & 0o777 == 0o700
    lock.instance.create_rings(CONFIG)
    lock.remove()
    assert list(shared_memory.iterdir()) == []


def test_every_replica_of_an_owner_has_a_ring(shared_memory: Path) -> None:
    lock = InstanceLock()
    lock.instance.create_rings(CONFIG)
    for replica in range(2):
        path = lock.instance.ring("mouths", replica)
        with RingWriter(path) as writer, RingReader(path) as reader:
            ref = writer.write(b"payload")
            assert lock.instance.ring_by_ref(ref.ring) == path
            assert reader.read(ref) == b"payload"
    lock.remove()


def test_what_the_processes_are_told_comes_back(shared_memory: Path) -> None:
    told = InstanceConfig(config=CONFIG, access=Access(port=8080, token="t" * 16), supervisor_pid=1)
    lock = InstanceLock()
    lock.instance.write_config(told)
    assert lock.instance.read_config() == told
    assert (lock.instance.folder / "config.json").stat().st_mode & 0o777 == 0o600
    lock.remove()


def test_endpoints_fit_a_socket_address(shared_memory: Path) -> None:
    endpoint = Instance(Path("/dev/shm/lipwire-abcdefgh")).endpoint("n" * 32, 999)
    assert len(endpoint.removeprefix("ipc://")) < 108  # sun_path


def test_a_living_instance_is_left_alone_and_a_dead_one_removed(owner: Owner) -> None:
    alive, living_folder = owner()
    victim, dead_folder = owner()
    assert remove_dead_instances() == []
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert (dead_folder / "ring.mouths.1").exists()
    assert remove_dead_instances() == [dead_folder]
    assert not dead_folder.exists()
    assert (living_folder / "ring.mouths.1").exists()
    assert alive.stdin is not None
    alive.stdin.write("\n")
    alive.stdin.flush()
    assert alive.wait() == 0
    assert not living_folder.exists()


def test_a_childs_life_does_not_keep_its_dead_supervisors_lock(owner: Owner) -> None:
    """The lock is not inherited: a stage that outlives its supervisor for a moment keeps nothing alive."""
    lock = InstanceLock()
    assert not os.get_inheritable(lock._descriptor)
    lock.remove()


def test_what_is_not_ours_is_left_alone(shared_memory: Path) -> None:
    foreign = shared_memory / "lipwire-notes"
    foreign.mkdir()
    (foreign / "mine.txt").touch()
    (shared_memory / "lipwire-file").touch()
    (shared_memory / "lipwire-link").symlink_to(foreign)
    (shared_memory / "other").mkdir()
    (shared_memory / "other" / "lock").touch()
    before = sorted(shared_memory.rglob("*"))
    assert remove_dead_instances() == []
    assert sorted(shared_memory.rglob("*")) == before


def test_another_users_instance_is_left_alone(shared_memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shared_memory / "lipwire-theirs"
    folder.mkdir()
    (folder / "lock").touch()
    monkeypatch.setattr(os, "getuid", lambda: 4_000_000)
    assert remove_dead_instances() == []
    assert (folder / "lock").exists()


def test_a_folder_whose_maker_died_before_locking_it_is_removed(shared_memory: Path) -> None:
    bare = shared_memory / "lipwire-bare"
    bare.mkdir()
    unlocked = shared_memory / "lipwire-unlocked"
    unlocked.mkdir()
    (unlocked / "lock").touch()
    assert sorted(remove_dead_instances()) == [bare, unlocked]
    assert list(shared_memory.iterdir()) == []


def test_a_removal_cut_short_is_finished_by_the_next(shared_memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = shared_memory / "lipwire-half"
    folder.mkdir()
    for name in ("lock", "ring.a.0", "ring.b.0"):
        (folder / name).touch()
    unlink = Path.unlink
    removed: list[str] = []

    def fail_at_the_second(path: Path, *, missing_ok: bool = False) -> None:
        if len(removed) == 1:
            raise OSError(5, "Input/output error")
        removed.append(path.name)
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", fail_at_the_second)
        assert remove_dead_instances() == []
    assert "lock" not in removed
    assert remove_dead_instances() == [folder]


@pytest.mark.parametrize("thief", ["before the lock is made", "before it is held"])
def test_two_starting_at_once_do_not_take_each_others_folder(
    shared_memory: Path, monkeypatch: pytest.MonkeyPatch, thief: str
) -> None:
    """The other's cleaning runs in the instant when the folder is there and the lock is not held."""
    taken: list[Path] = []
    real_open, real_flock = os.open, fcntl.flock

    def cleaning_before_open(path: Path, flags: int, mode: int = 0o777) -> int:
        if not taken and flags & os.O_CREAT:
            taken.extend(remove_dead_instances())
        return real_open(path, flags, mode)

    def cleaning_before_flock(descriptor: int, operation: int) -> None:
        if not taken:
            taken.append(shared_memory)
            with monkeypatch.context() as inner:
                inner.setattr(fcntl, "flock", real_flock)
                taken[:] = remove_dead_instances()
        real_flock(descriptor, operation)

    if thief == "before the lock is made":
        monkeypatch.setattr(os, "open", cleaning_before_open)
    else:
        monkeypatch.setattr(fcntl, "flock", cleaning_before_flock)
    lock = InstanceLock()
    assert len(taken) == 1
    assert taken != [lock.instance.folder]
    assert (lock.instance.folder / "lock").exists()
    assert remove_dead_instances() == []
    lock.remove()


def test_only_what_lives_is_listed(owner: Owner, shared_memory: Path) -> None:
    assert living_instances() == []
    told = InstanceConfig(config=CONFIG, access=Access(port=8080), supervisor_pid=1)
    (shared_memory / "lipwire-no-lock").mkdir()
    Instance(shared_memory / "lipwire-no-lock").write_config(told)
    folders = []
    for process, folder in (owner(), owner()):
        Instance(folder).write_config(told)
        folders.append((process, folder))
    (victim, _), (_, living_folder) = folders
    victim.kill()
    victim.wait()
    assert [found.folder for found in living_instances()] == [living_folder]
