"""The ring: one writer, any number of readers, nobody waits, and nobody is ever handed a torn payload."""

import os
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from pipeline.ring import OverwrittenError, RingError, RingReader, RingWriter, SlotRef, create_ring

SLOTS, SLOT_BYTES = 4, 100
STRIDE = 64 + 128  # the slot's header, and 100 bytes up to the next cache line
BEGIN_AT, END_AT = 0, 8


def uncopyable(slot_bytes: int) -> memoryview:
    """Fits the slot, but lies scattered: the copy fails when the slot is already taken."""
    return memoryview(bytes(2 * slot_bytes))[::2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ring.test.0"
    create_ring(path, SLOTS, SLOT_BYTES)
    return path


# ---- one process ------------------------------------------------------------------------------------------


def test_what_is_written_is_read(path: Path) -> None:
    with RingWriter(path) as writer, RingReader(path) as reader:
        for payload in (b"", b"a", os.urandom(SLOT_BYTES)):
            ref = writer.write(payload)
            assert ref.ring == path.name
            assert ref.length == len(payload)
            assert reader.read(ref) == payload


@pytest.mark.parametrize("slot_bytes", [1, 63, 64, 65, 127, 128, 129])
def test_neighbouring_slots_do_not_touch_whatever_their_size(tmp_path: Path, slot_bytes: int) -> None:
    path = tmp_path / "ring"
    create_ring(path, SLOTS, slot_bytes)
    with RingWriter(path) as writer, RingReader(path) as reader:
        written = [(writer.write(bytes([number]) * slot_bytes), number) for number in range(1, SLOTS + 1)]
        for ref, number in written:
            assert reader.read(ref) == bytes([number]) * slot_bytes


def test_a_reader_cannot_change_the_ring(path: Path) -> None:
    with RingReader(path):
        (mapping,) = [line for line in Path("/proc/self/maps").read_text().splitlines() if line.endswith(str(path))]
        assert mapping.split()[1].startswith("r-")


def test_an_array_is_written_without_a_copy_of_its_own(path: Path) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    samples = np.linspace(-1, 1, 25, dtype=np.float32)
    with RingWriter(path) as writer, RingReader(path) as reader:
        assert reader.read(writer.write(pixels.data)) == pixels.tobytes()
        assert reader.read(writer.write(samples.data)) == samples.tobytes()
        assert reader.read(writer.write(np.empty((0, 3)).data)) == b""


def test_what_does_not_fit_is_refused_and_leaves_the_ring_as_it_was(path: Path) -> None:
    with RingWriter(path) as writer, RingReader(path) as reader:
        before = writer.write(b"before")
        with pytest.raises(ValueError, match=f"{SLOT_BYTES + 1} bytes do not fit a slot of {SLOT_BYTES}"):
            writer.write(bytes(SLOT_BYTES + 1))
        assert writer.write(b"after").sequence == before.sequence + 1
        assert reader.read(before) == b"before"


def test_a_reader_a_whole_round_late_is_told(path: Path) -> None:
    with RingWriter(path) as writer, RingReader(path) as reader:
        first = writer.write(b"first")
        for _ in range(SLOTS - 1):
            writer.write(b"next")
        assert reader.read(first) == b"first"
        writer.write(b"comes round")
        with pytest.raises(OverwrittenError, match=r"sequence 1 was overwritten; the slot holds 5"):
            reader.read(first)


@pytest.mark.parametrize(
    "change",
    [
        lambda ref: SlotRef(ref.ring, ref.sequence + 1, ref.generation, ref.length),
        lambda ref: SlotRef(ref.ring, ref.sequence + SLOTS, ref.generation, ref.length),
        lambda ref: SlotRef(ref.ring, ref.sequence, ref.generation + 1, ref.length),
        lambda ref: SlotRef(ref.ring, ref.sequence, ref.generation, ref.length + 1),
        lambda ref: SlotRef(ref.ring, 0, 0, 0),
    ],
)
def test_a_reference_to_what_was_never_written_is_refused(path: Path, change: Callable[[SlotRef], SlotRef]) -> None:
    with RingWriter(path) as writer, RingReader(path) as reader:
        ref = writer.write(b"payload")
        with pytest.raises(OverwrittenError):
            reader.read(change(ref))


class Interrupted(RingReader):
    """A reader during whose copy the writer comes round."""

    def __init__(self, path: Path, meanwhile: Callable[[], object]) -> None:
        super().__init__(path)
        self._meanwhile = meanwhile
        self._checks = 0

    def _check(self, at: int, ref: SlotRef) -> None:
        self._checks += 1
        if self._checks == 2:
            self._meanwhile()
        super()._check(at, ref)


def test_an_overwrite_during_the_copy_is_noticed(path: Path) -> None:
    with RingWriter(path) as writer:
        ref = writer.write(b"x" * SLOT_BYTES)

        def come_round() -> None:
            for _ in range(SLOTS):
                writer.write(b"y" * SLOT_BYTES)

        with Interrupted(path, come_round) as reader, pytest.raises(OverwrittenError):
            reader.read(ref)


def test_work_in_place_sees_the_payload_and_is_undone_where_it_changed(path: Path) -> None:
    with RingWriter(path) as writer, RingReader(path) as reader:
        ref = writer.write(b"payload")
        assert reader.use(ref, lambda view: bytes(view[:3])) == b"pay"

        def come_round(view: memoryview) -> int:
            for _ in range(SLOTS):
                writer.write(b"another")
            return view[0]

        with pytest.raises(OverwrittenError):
            reader.use(ref, come_round)
        with pytest.raises(OverwrittenError):
            reader.use(ref, lambda _view: pytest.fail("what is not there is not worked on"))


def test_work_that_fails_on_what_changed_meanwhile_tells_of_the_change(path: Path) -> None:
    with RingWriter(path) as writer, RingReader(path) as reader:

        def fail(_view: memoryview) -> None:
            raise ValueError("not what it was")

        def come_round(view: memoryview) -> None:
            for _ in range(SLOTS):
                writer.write(b"another")
            fail(view)

        with pytest.raises(ValueError, match="not what it was"):
            reader.use(writer.write(b"payload"), fail)
        with pytest.raises(OverwrittenError):
            reader.use(writer.write(b"payload"), come_round)


def slot_words(path: Path, slot: int) -> tuple[int, int]:
    begin, end = struct.unpack_from("<QQ", path.read_bytes(), 64 + slot * STRIDE)
    return int(begin), int(end)


def test_a_slot_goes_from_empty_over_writing_to_complete(path: Path) -> None:
    with RingWriter(path) as writer, RingReader(path) as reader:
        assert slot_words(path, 0) == (0, 0)
        with pytest.raises(TypeError):
            writer.write(uncopyable(SLOT_BYTES))
        assert slot_words(path, 0) == (1, 0)
        with pytest.raises(OverwrittenError):
            reader.read(SlotRef(path.name, 1, writer.generation, uncopyable(SLOT_BYTES).nbytes))
        assert writer.write(b"two").sequence == 2
        assert slot_words(path, 1) == (2, 2)


# ---- the file -----------------------------------------------------------------------------------------------


def test_the_file_is_its_owners_alone_and_its_room_is_reserved(path: Path) -> None:
    status = path.stat()
    assert status.st_mode & 0o777 == 0o600
    assert status.st_size == 64 + SLOTS * STRIDE
    assert status.st_blocks * 512 >= status.st_size


def test_a_ring_is_made_once(path: Path) -> None:
    with pytest.raises(FileExistsError):
        create_ring(path, SLOTS, SLOT_BYTES)


def test_no_room_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space"):
        create_ring(tmp_path / "ring", SLOTS, SLOT_BYTES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("opened_by", [RingReader, RingWriter])
def test_what_is_no_ring_is_refused(path: Path, opened_by: type[RingReader | RingWriter]) -> None:
    good = path.read_bytes()
    with pytest.raises(RingError, match="no such ring"):
        opened_by(path.with_name("ring.absent.0"))
    for content, reason in (
        (b"", "empty file"),
        (good[:10], "10 bytes"),
        (b"\0" + good[1:], "not a ring of this version"),
        (good[:-1], "cut short"),
        (good[:8] + bytes(4) + good[12:], "not a ring"),
    ):
        path.write_bytes(content)
        with pytest.raises(RingError, match=reason):
            opened_by(path)


# ---- writers that follow one another --------------------------------------------------------------------------


def test_a_new_writer_raises_the_generation_and_goes_on(path: Path) -> None:
    with RingReader(path) as reader:
        with RingWriter(path) as first:
            old = first.write(b"of the first")
        with RingWriter(path) as second:
            new = second.write(b"of the second")
        assert (old.generation, new.generation) == (1, 2)
        assert new.sequence == old.sequence + 1
        assert reader.read(old) == b"of the first"
        assert reader.read(new) == b"of the second"


def test_the_generation_wraps(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    struct.pack_into("<I", raw, 16, 0xFFFF_FFFF)
    path.write_bytes(raw)
    with RingWriter(path) as writer, RingReader(path) as reader:
        assert writer.generation == 0
        assert reader.read(writer.write(b"payload")) == b"payload"


class Model(RuleBasedStateMachine):
    """Any interleaving of writes, deaths, restarts and reads against a model that keeps everything."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.path = self.folder / "ring.model.0"
        self.written: dict[int, tuple[SlotRef, bytes | None]] = {}
        self.generation = 1

    @initialize(slots=st.integers(1, 4), slot_bytes=st.integers(2, 120))
    def make(self, slots: int, slot_bytes: int) -> None:
        self.slots, self.slot_bytes = slots, slot_bytes
        create_ring(self.path, slots, slot_bytes)
        self.writer = RingWriter(self.path)
        self.reader = RingReader(self.path)

    @rule(data=st.data())
    def write(self, data: st.DataObject) -> None:
        payload = data.draw(st.binary(max_size=self.slot_bytes))
        ref = self.writer.write(payload)
        assert ref == SlotRef(self.path.name, len(self.written) + 1, self.generation, len(payload))
        self.written[ref.sequence] = ref, payload

    @rule()
    def die_half_way(self) -> None:
        """Take the slot, write something, and never come to the end."""
        with pytest.raises(TypeError):
            self.writer.write(uncopyable(self.slot_bytes))
        sequence = len(self.written) + 1
        length = uncopyable(self.slot_bytes).nbytes
        self.written[sequence] = SlotRef(self.path.name, sequence, self.generation, length), None
        self.restart()

    @rule()
    def restart(self) -> None:
        self.writer.close()
        self.writer = RingWriter(self.path)
        self.generation += 1
        assert self.writer.generation == self.generation

    @invariant()
    def newest_round_is_readable_and_nothing_else(self) -> None:
        for sequence, (ref, payload) in self.written.items():
            current = sequence > len(self.written) - self.slots
            if current and payload is not None:
                assert self.reader.read(ref) == payload
            else:
                with pytest.raises(OverwrittenError):
                    self.reader.read(ref)

    def teardown(self) -> None:
        if hasattr(self, "writer"):
            self.writer.close()
            self.reader.close()
        shutil.rmtree(self.folder)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


# ---- real processes -----------------------------------------------------------------------------------------

BIG_SLOTS, BIG_BYTES = 3, 800_000  # large, so that copies overlap


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "ring.big.0"
    create_ring(path, BIG_SLOTS, BIG_BYTES)
    return path


@pytest.fixture
def start() -> Iterator[Callable[[str, Path], "subprocess.Popen[str]"]]:
    """Runs a script in a process of its own, `path` and the ring's names at hand."""
    started: list[subprocess.Popen[str]] = []

    def run(script: str, path: Path) -> "subprocess.Popen[str]":
        lead = (
            "import os, signal, struct, sys\n"
            "from pathlib import Path\n"
            "from pipeline.ring import OverwrittenError, RingReader, RingWriter, SlotRef\n"
            f"path = Path({str(path)!r}); length = {BIG_BYTES}\n"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", lead + textwrap.dedent(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).resolve().parent.parent,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


Start = Callable[[str, Path], "subprocess.Popen[str]"]

# Every payload is its own sequence, over and over, so that whoever reads it can tell a torn one.
WRITE_FOR_EVER = """
    writer = RingWriter(path)
    sequence = writer._next
    print(writer.generation, flush=True)
    while True:
        writer.write(struct.pack("<Q", sequence) * (length // 8))
        sequence += 1
"""
READ_MANY = """
    whole = late = torn = 0
    reader = RingReader(path)
    while whole < 300 or late < 30:
        (newest,) = struct.unpack_from("<Q", reader._memory, 24)
        sequence = max(1, newest - 1 - (whole + late) % 4)
        try:
            payload = reader.read(SlotRef(path.name, sequence, int(sys.argv[1]), length))
        except OverwrittenError:
            late += 1
        else:
            whole += 1
            torn += payload != struct.pack("<Q", sequence) * (length // 8)
    print(torn)
"""


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_readers_beside_a_writer_in_full_flight_never_see_a_torn_payload(big: Path, start: Start) -> None:
    writer = start(WRITE_FOR_EVER, big)
    generation = line(writer)
    readers = [start(READ_MANY.replace("sys.argv[1]", generation), big) for _ in range(3)]
    for reader in readers:
        assert line(reader) == "0"
        assert reader.wait() == 0
    assert writer.poll() is None


def complete_slots(path: Path) -> dict[int, bytes]:
    """Every payload that a reader accepts now, by sequence."""
    stride = 64 + BIG_BYTES
    found = {}
    with RingReader(path) as reader:
        for slot in range(BIG_SLOTS):
            at = 64 + slot * stride
            begin, _, generation, length = struct.unpack_from("<QQII", path.read_bytes(), at)
            try:
                found[begin] = reader.read(SlotRef(path.name, begin, generation, length))
            except OverwrittenError:
                continue
    return found


def test_a_writer_killed_at_any_moment_leaves_nothing_torn(big: Path, start: Start) -> None:
    for round_number in range(4):
        victim = start(WRITE_FOR_EVER, big)
        assert line(victim) == str(2 * round_number + 1)
        with RingReader(big) as reader:
            while struct.unpack_from("<Q", reader._memory, 24)[0] < 50 * (round_number + 1):
                pass
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        left = complete_slots(big)
        assert len(left) >= BIG_SLOTS - 1
        for sequence, payload in left.items():
            assert payload == struct.pack("<Q", sequence) * (BIG_BYTES // 8)
        with RingWriter(big) as successor, RingReader(big) as reader:
            assert successor.generation == 2 * round_number + 2
            ref = successor.write(struct.pack("<Q", successor._next) * (BIG_BYTES // 8))
            assert ref.sequence > max(left)
            assert reader.read(ref)[:8] == struct.pack("<Q", ref.sequence)


def test_what_a_killed_writer_left_half_written_is_never_read(big: Path, start: Start) -> None:
    victim = start(
        """
        writer = RingWriter(path)
        writer.write(b"a" * length)

        class Deadly:
            def __setitem__(self, where, payload):
                view[where.start : where.start + 1000] = payload[:1000]
                os.kill(os.getpid(), signal.SIGKILL)

        view, writer._view = writer._view, Deadly()
        writer.write(b"b" * length)
        """,
        big,
    )
    assert victim.wait() == -signal.SIGKILL
    half = SlotRef(big.name, 2, 1, BIG_BYTES)
    with RingReader(big) as reader:
        with pytest.raises(OverwrittenError, match=r"the slot holds 2 \(0 complete\)"):
            reader.read(half)
        with RingWriter(big) as successor:
            assert successor.write(b"c" * BIG_BYTES).sequence == 3
            assert reader.read(SlotRef(big.name, 1, 1, BIG_BYTES)) == b"a" * BIG_BYTES
            with pytest.raises(OverwrittenError):
                reader.read(half)
            fourth, fifth = successor.write(b"d"), successor.write(b"e")
            assert fifth.sequence == half.sequence + BIG_SLOTS  # into the slot that was left half-written
            assert (reader.read(fourth), reader.read(fifth)) == (b"d", b"e")
            with pytest.raises(OverwrittenError):
                reader.read(half)


def test_a_stopped_reader_holds_nobody_up(big: Path, start: Start) -> None:
    with RingWriter(big) as writer:
        reader = start(
            """
            reader = RingReader(path)
            print("attached", flush=True)
            while True:
                try:
                    reader.read(SlotRef(path.name, 1, 1, length))
                except OverwrittenError:
                    pass
            """,
            big,
        )
        assert line(reader) == "attached"
        reader.send_signal(signal.SIGSTOP)
        refs = [writer.write(b"x" * BIG_BYTES) for _ in range(BIG_SLOTS * 20)]
        with RingReader(big) as other:
            assert other.read(refs[-1]) == b"x" * BIG_BYTES
        reader.send_signal(signal.SIGKILL)
        assert reader.wait() == -signal.SIGKILL
        writer.write(b"and on")


def test_a_process_that_attached_takes_nothing_with_it_when_it_ends(big: Path, start: Start) -> None:
    with RingWriter(big) as writer, RingReader(big) as mine:
        ref = writer.write(b"payload" * 9)
        for end in ("sys.exit(0)", "sys.exit(1)", "os.kill(os.getpid(), signal.SIGKILL)"):
            other = start(
                f"""
                print(RingReader(path).read(SlotRef(path.name, 1, 1, {ref.length})).decode())
                print("multiprocessing.resource_tracker" in sys.modules, flush=True)
                {end}
                """,
                big,
            )
            assert line(other) == "payload" * 9
            assert line(other) == "False", "a resource tracker would unlink the ring"
            other.wait()
            assert big.exists()
            assert mine.read(ref) == b"payload" * 9
