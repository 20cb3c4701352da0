"""A ring of fixed slots in shared memory: one process writes, any number read, nobody waits.

Layout, little endian, every slot aligned to 64 bytes (a cache line):

    +--------------------------- ring header, 64 bytes ---------------------------+
    | magic u64 | slots u32 | slot_bytes u32 | generation u32 | pad u32 | next u64 |
    +------------------------------------------------------------------------------+
    | slot 0:  begin u64 | end u64 | generation u32 | length u32 | pad, to 64      |
    |          payload, slot_bytes, padded to 64                                   |
    +------------------------------------------------------------------------------+
    | slot 1 ...                                                                   |

Sequences start at 1; sequence s lies in slot (s - 1) % slots. Only the writer changes anything:

    state     begin  end   what it means                        who leaves it
    empty     0      0     never written                        the writer, by taking it
    writing   s      < s   payload is being written             the writer, when done; a writer that dies here
                                                                leaves it so, and no reader accepts the slot
    complete  s      s     payload of sequence s is whole       the writer, when the ring comes round

A reader accepts sequence s where begin == end == s before *and* after it copied, or worked on it in place: then
nothing was overwritten meanwhile (a sequence lock, Lameter 2005). On x86-64 stores become visible in program order,
so no fence is needed; on weaker machines CPython's own locking between these steps has more fences than the protocol
needs.

`generation` counts the writers that have owned the ring: a restarted stage raises it and goes on at `next`,
so what its predecessor had finished stays readable and what it left half-written is never read.

Every field is written as one aligned 64-bit word (struct.pack_into would zero it first and then write byte by
byte), so that a writer killed between any two instructions leaves no half-written field either.

The memory is a file in /dev/shm, not multiprocessing.shared_memory: until 3.13 that one registers every ring
that a process merely *attaches* with a resource tracker, which unlinks it when that process ends.
"""

import mmap
import os
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

import msgspec

_MAGIC: Final = 0x4C49_5057_4952_4531  # "LIPWIRE1"
_RING: Final = struct.Struct("<QIIIIQ")
_ALIGN: Final = 64
_WORD: Final = 8
_LOW_HALF: Final = 0xFFFF_FFFF
# Words from the start of the ring, and from the start of a slot.
_GENERATION_WORD: Final = 2
_NEXT_WORD: Final = 3
_BEGIN, _END, _GENERATION_AND_LENGTH = 0, 1, 2
_HALF_BITS: Final = 32

_Made = TypeVar("_Made")


class RingError(Exception):
    """The ring's file is missing, foreign, or smaller than it says."""


class OverwrittenError(RingError):
    """The slot was overwritten before or while it was read: the reader came a whole round too late."""


class SlotRef(msgspec.Struct, frozen=True, array_like=True):
    """Where a payload lies: what a header carries in its stead."""

    ring: str
    sequence: int
    generation: int
    length: int


def _aligned(size: int) -> int:
    return (size + _ALIGN - 1) // _ALIGN * _ALIGN


def create_ring(path: Path, slots: int, slot_bytes: int) -> None:
    """Make the ring's file, readable by its owner alone.

    Raises:
        FileExistsError: there is one already.
        OSError: no room in shared memory; nothing is left of the attempt.
    """
    size = _ALIGN + slots * (_ALIGN + _aligned(slot_bytes))
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        # Reserved now: a full /dev/shm is an error here and not a SIGBUS at the first write.
        os.posix_fallocate(descriptor, 0, size)
        os.pwrite(descriptor, _RING.pack(_MAGIC, slots, slot_bytes, 0, 0, 1), 0)
    except BaseException:
        path.unlink()
        raise
    finally:
        os.close(descriptor)


class _Mapped:
    """A ring's file in this process's memory."""

    def __init__(self, path: Path, *, write: bool) -> None:
        if sys.byteorder != "little":  # pragma: no cover - no such machine at hand
            raise RingError("rings need a little-endian machine")
        self.name = path.name
        try:
            descriptor = os.open(path, (os.O_RDWR if write else os.O_RDONLY) | os.O_CLOEXEC)
        except FileNotFoundError:
            raise RingError(f"{path}: no such ring") from None
        try:
            access = mmap.ACCESS_WRITE if write else mmap.ACCESS_READ
            self._memory = mmap.mmap(descriptor, 0, access=access)
        except ValueError:
            raise RingError(f"{path}: empty file, not a ring") from None
        finally:
            os.close(descriptor)
        if len(self._memory) < _ALIGN:
            raise RingError(f"{path}: {len(self._memory)} bytes, not a ring")
        magic, slots, slot_bytes, *_ = _RING.unpack_from(self._memory)
        self.slots = int(slots)
        self.slot_bytes = int(slot_bytes)
        self._stride = _ALIGN + _aligned(self.slot_bytes)
        size = _ALIGN + self.slots * self._stride
        if magic != _MAGIC or self.slots < 1 or len(self._memory) < size:
            raise RingError(f"{path}: not a ring of this version, or cut short")
        self._view = memoryview(self._memory)[:size]
        self._words = self._view.cast("Q")

    def _slot_at(self, sequence: int) -> int:
        return _ALIGN + (sequence - 1) % self.slots * self._stride

    def close(self) -> None:
        self._words.release()
        self._view.release()
        self._memory.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class RingWriter(_Mapped):
    """The one writer. Opening it takes the ring over from whoever wrote before.

    Raises:
        RingError: the file is not a ring.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, write=True)
        self.generation = (self._words[_GENERATION_WORD] + 1) & _LOW_HALF
        self._words[_GENERATION_WORD] = self.generation
        self._next = self._words[_NEXT_WORD]

    def write(self, payload: bytes | memoryview) -> SlotRef:
        """Copy `payload` (at most slot_bytes, C-contiguous) into the next slot.

        Raises:
            ValueError: the payload is larger than a slot.
        """
        length = len(payload) if isinstance(payload, bytes) else payload.nbytes
        if length > self.slot_bytes:
            raise ValueError(f"ring {self.name}: {length} bytes do not fit a slot of {self.slot_bytes}")
        sequence = self._next
        at = self._slot_at(sequence)
        word = at // _WORD
        self._next = self._words[_NEXT_WORD] = sequence + 1
        self._words[word + _BEGIN] = sequence
        self._words[word + _END] = 0
        self._words[word + _GENERATION_AND_LENGTH] = self.generation | length << _HALF_BITS
        if length:  # a view of nothing cannot be cast
            start = at + _ALIGN
            self._view[start : start + length] = payload if isinstance(payload, bytes) else payload.cast("B")
        self._words[word + _END] = sequence
        return SlotRef(self.name, sequence, self.generation, length)


class RingReader(_Mapped):
    """One of any number of readers; it changes nothing.

    Raises:
        RingError: the file is not a ring.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, write=False)

    def read(self, ref: SlotRef) -> bytes:
        """Copy out what `ref` points at.

        Raises:
            OverwrittenError: it is no longer, or not yet, there in one piece.
        """
        return self.use(ref, bytes)

    def use(self, ref: SlotRef, make: Callable[[memoryview], _Made]) -> _Made:
        """What `make` makes of what `ref` points at, without a copy. It must keep nothing of its view, and whatever it
        does besides is done on what may turn out to have changed under its hands.

        Raises:
            OverwrittenError: it is no longer, or not yet, there in one piece; before `make` or after it.
        """
        at = self._slot_at(ref.sequence)
        self._check(at, ref)
        try:
            return make(self._view[at + _ALIGN : at + _ALIGN + ref.length])
        finally:
            self._check(at, ref)  # where `make` fails as well: this may be why

    def _check(self, at: int, ref: SlotRef) -> None:
        begin, end, generation_and_length = self._words[at // _WORD : at // _WORD + 3]
        whole = begin == end == ref.sequence > 0
        if not whole or generation_and_length != ref.generation | ref.length << _HALF_BITS:
            raise OverwrittenError(
                f"ring {self.name}: sequence {ref.sequence} was overwritten; the slot holds {begin} ({end} complete)"
            )
