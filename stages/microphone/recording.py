"""A recording that goes on: starts a recorder, reads what it reports, and ends it when it is silent."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from typing import Final

from stages.microphone.devices import MicError
from stages.microphone.recorder import LENGTH, Block, Opened, Refused, decode

LOST_S: Final = 0.5
"""Without a block: the device, or the sound server before it, has gone. Servers deliver every 10 to 50 ms."""
_FIRST_S: Final = 5.0
"""From the start to the first block: Python is started, and a sound server wakes its device up."""


class Recording:
    """Iterate over what it reports: `Opened`, then blocks, until the device is lost.

    Raises:
        MicError: the device cannot be recorded.
    """

    def __init__(self, wanted: str) -> None:
        self._wanted = wanted

    async def __aiter__(self) -> AsyncIterator[Opened | Block]:
        command = ["-m", "stages.microphone.recorder", "--device", self._wanted, "--parent", str(os.getpid())]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            stdout=asyncio.subprocess.PIPE,
            stdin=asyncio.subprocess.DEVNULL,
        )
        assert process.stdout is not None
        try:
            patience_s = _FIRST_S
            while True:
                try:
                    async with asyncio.timeout(patience_s):
                        (length,) = LENGTH.unpack(await process.stdout.readexactly(LENGTH.size))
                        report = decode(await process.stdout.readexactly(length))
                except (TimeoutError, asyncio.IncompleteReadError):
                    return
                if isinstance(report, Refused):
                    raise MicError(report.reason)
                if isinstance(report, Block):
                    patience_s = LOST_S
                yield report
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
