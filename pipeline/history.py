"""A session's last 20 s of audio, in shared memory so that it survives the process that keeps it.

    | next u64: sequence of the chunk after the newest | pad to 64 | 500 chunks | the first 16 of them once more |

Chunk s lies at s % 500. Those that lie at 0..15 are written twice, so the newest 16 are always contiguous.
"""

import mmap
import os
import struct
from pathlib import Path
from typing import Final

import numpy as np

from pipeline.audio import CHUNK_SAMPLES, HISTORY_CHUNKS, WINDOW_CHUNKS, Samples

_HEADER_BYTES: Final = 64
_NEXT: Final = struct.Struct("<Q")
_SLOTS: Final = HISTORY_CHUNKS + WINDOW_CHUNKS
SIZE_BYTES: Final = _HEADER_BYTES + _SLOTS * CHUNK_SAMPLES * 4


class History:
    """Opens the session's memory if it is there, makes it if not.

    Raises:
        OSError: no room in shared memory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            # Reserved now: a full /dev/shm is an error here and not a SIGBUS at a later chunk. Mapped whole now: a
            # process's memory then tells how many sessions it keeps, and not how long each has spoken.
            os.posix_fallocate(descriptor, 0, SIZE_BYTES)
            self._memory = mmap.mmap(descriptor, SIZE_BYTES, flags=mmap.MAP_SHARED | mmap.MAP_POPULATE)
        finally:
            os.close(descriptor)
        self._chunks = np.frombuffer(self._memory, np.float32, offset=_HEADER_BYTES).reshape(_SLOTS, CHUNK_SAMPLES)

    @property
    def next(self) -> int:
        """The sequence that follows the newest chunk's."""
        (sequence,) = _NEXT.unpack_from(self._memory)
        return int(sequence)

    def add(self, sequence: int, samples: Samples) -> None:
        """Append chunk `sequence` [960]; chunks that never came before it are silence, so that time stays true."""
        for missing in range(max(self.next, sequence - HISTORY_CHUNKS), sequence):
            self._put(missing, np.zeros(CHUNK_SAMPLES, np.float32))
        self._put(sequence, samples)
        _NEXT.pack_into(self._memory, 0, sequence + 1)

    def _put(self, sequence: int, samples: Samples) -> None:
        slot = sequence % HISTORY_CHUNKS
        self._chunks[slot] = samples
        if slot < WINDOW_CHUNKS:
            self._chunks[HISTORY_CHUNKS + slot] = samples

    def window(self) -> Samples:
        """The newest 16 chunks [15360], the newest sample last; a view. What is before the start is silence."""
        last = (self.next - 1) % HISTORY_CHUNKS
        end = last + 1 if last + 1 >= WINDOW_CHUNKS else last + 1 + HISTORY_CHUNKS
        return self._chunks[end - WINDOW_CHUNKS : end].reshape(-1)

    def remove(self) -> None:
        """Give the memory back; the session has ended."""
        self._path.unlink(missing_ok=True)
        del self._chunks
        self._memory.close()
