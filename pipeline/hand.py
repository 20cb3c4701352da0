"""What a stage has in its hands, in shared memory, so that it is known after the stage's death.

    | u16 length | marks (see Route) of the windows being worked on, one a line |

The process writes before it works and clears afterwards; its supervisor reads once it has died. A window that takes the
whole process down (a crash in native code, `os._exit`, a hang) can be told from one that raises only in this way.
"""

import mmap
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

_LENGTH: Final = struct.Struct("<H")
_SIZE: Final = 4096
_NOTHING: Final = _LENGTH.pack(0)


class Hand:
    """The stage's side. Raises OSError where shared memory has no room."""

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, _SIZE)
            self._memory = mmap.mmap(descriptor, _SIZE)
        finally:
            os.close(descriptor)
        self.free()

    def hold(self, marks: Iterable[str]) -> None:
        """Windows of these marks are being worked on."""
        text = "\n".join(marks).encode()[: _SIZE - _LENGTH.size]
        self._memory[_LENGTH.size : _LENGTH.size + len(text)] = text
        self._memory[: _LENGTH.size] = _LENGTH.pack(len(text))

    def free(self) -> None:
        """Nothing is."""
        self._memory[: _LENGTH.size] = _NOTHING


def held(path: Path) -> list[str]:
    """The supervisor's side: the marks that a dead stage had in hand; none if it never came so far."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return []
    (length,) = _LENGTH.unpack_from(raw)
    text = raw[_LENGTH.size : _LENGTH.size + length].decode(errors="replace")
    return text.split("\n") if text else []
