"""Mic: a microphone of this machine as a live session.

Receives nothing from other stages: it is a client like any other, and speaks to the edge by the WebSocket, so that
limits, watching and speakers are the same for it as for all. While its device is away it sends silence, and while the
edge is, it records on and connects again. `python -m stages.mic --list` shows what there is to record from.
"""

import argparse
import asyncio
import contextlib
import sys
import time
from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np
import structlog
from rich.console import Console
from rich.table import Table

from pipeline.audio import CHUNK_MS, CHUNK_SAMPLES, Samples
from pipeline.client import LipSync, ServerError, ServerGoneError
from pipeline.messages import Probe
from pipeline.runtime import StageContext, stage_process
from stages.microphone.clock import Chunker
from stages.microphone.devices import Device, MicError, devices
from stages.microphone.recorder import Block
from stages.microphone.recording import Recording

PROCESS: Final = "mic"
_OPTIONS: Final = {"device": "", "name": "mic", "speaker": ""}
_SILENT_AFTER_S: Final = 0.2
"""Without a block from the device: silence is sent in its place; the face rests, and the stream's clock goes on."""
_LOOK_EVERY_S: Final = 1.0
"""For a device that is away."""
_RETRY_S: Final = 0.5
_LONGEST_RETRY_S: Final = 10.0
_TELL_EVERY_S: Final = 60.0
_CHUNK_S: Final = CHUNK_MS / 1000
_NS_PER_S: Final = 1e9

log = structlog.get_logger()


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """``device``: its index, or its name or a part of it; empty: the system's default. ``name``: of the session.
    ``speaker``: whose face; empty: the server's choice."""

    device: str
    name: str
    speaker: str


def options_of(given: dict[str, str]) -> Options:
    """Raises MicError for one that there is not."""
    unknown = sorted(set(given) - set(_OPTIONS))
    if unknown:
        raise MicError(f"process.{PROCESS}.options: there is no {unknown[0]!r}; there are {', '.join(_OPTIONS)}")
    return Options(**(_OPTIONS | given))


class Source:
    """Chunks of the pipeline's clock from a device's blocks, or silence where there are none."""

    def __init__(self, drop: Callable[[str], None]) -> None:
        self._drop = drop
        self._rate_hz = 0
        self._chunker: Chunker | None = None
        self._until_s = time.monotonic()
        """The stream has sound, or silence, up to here."""

    @property
    def drift_ppm(self) -> float | None:
        """Of the device's clock; None while there is no device."""
        return self._chunker.drift.ppm if self._chunker else None

    def open(self, rate_hz: int) -> None:
        """The blocks that follow are another device's, or the same one's after it was away."""
        self._rate_hz = rate_hz
        self._chunker = None

    def add(self, block: Block) -> list[Samples]:
        """The chunks that a block completes."""
        if block.overflowed:
            self._drop("overflow")
        if self._chunker is None or block.overflowed:
            # Also where samples were lost: the device's clock did not stand still meanwhile.
            self._chunker = Chunker(self._rate_hz, block.at_s - len(block.samples) / self._rate_hz)
        self._until_s = block.at_s
        return self._chunker.add(block.samples, block.at_s)

    def silence(self, now_s: float) -> list[Samples]:
        """What the device owes by now; after that it has to begin anew."""
        owed_s = now_s - self._until_s
        if owed_s < (_SILENT_AFTER_S if self._chunker else _CHUNK_S):
            return []
        self._chunker = None
        missing = int(owed_s / _CHUNK_S)
        self._until_s += missing * _CHUNK_S
        return [np.zeros(CHUNK_SAMPLES, np.float32)] * missing


class Mic:
    """The process."""

    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._options = options_of(context.config.process[PROCESS].options)
        self._source = Source(self._count)
        self._face: LipSync | None = None
        self._device: Device | None = None
        self._told_s = time.monotonic()
        self._chunks = 0

    def _count(self, cause: str) -> None:
        self._context.drops[cause] += 1

    async def run(self) -> None:
        """Until SIGTERM. Raises MicError if the device cannot be recorded at the start."""
        recording = asyncio.create_task(self._keep_recording())
        connection = asyncio.create_task(self._stay_connected())
        while not self._context.stopping:
            self._context.beat()
            now_s = time.monotonic()
            await self._send(self._source.silence(now_s), round(now_s * _NS_PER_S))
            for task in (recording, connection):
                if task.done():
                    task.result()
            self._tell()
            await asyncio.sleep(_CHUNK_S)
        for task in (recording, connection):
            task.cancel()
        await asyncio.gather(recording, connection, return_exceptions=True)

    # ---- the device ----------------------------------------------------------------------------------------------

    async def _keep_recording(self) -> None:
        """One recorder after another, each for as long as its device lasts."""
        ready = waiting = False
        while True:
            try:
                async for report in Recording(self._options.device):
                    if isinstance(report, Block):
                        await self._send(self._source.add(report), round(report.at_s * _NS_PER_S))
                        continue
                    self._device, waiting = report.device, False
                    self._source.open(self._device.rate_hz)
                    log.info("recording", device=self._device.name, rate_hz=self._device.rate_hz)
                    if not ready:
                        self._context.ready(f"{self._device.name}; watch the session {self._options.name!r}")
                        ready = True
                log.warning("microphone lost; silence until it is back", device=self._device and self._device.name)
            except MicError as error:
                if not ready:
                    raise
                if not waiting:  # once, not every second
                    log.warning("microphone not there; silence until it is", reason=str(error))
                waiting = True
            self._device = None
            await asyncio.sleep(_LOOK_EVERY_S)

    # ---- the session ---------------------------------------------------------------------------------------------

    async def _send(self, chunks: list[Samples], came_ns: int) -> None:
        for chunk in chunks:
            self._chunks += 1
            face = self._face
            if face is None or face.started is None:
                self._count("unconnected")
                continue
            started_ns = time.monotonic_ns()
            with contextlib.suppress(ServerGoneError):  # who reads learns of it as well, and connects again
                number = await face.send_chunk(chunk)
                self._probe(face.started.session, number, came_ns, started_ns)

    def _probe(self, session: str, chunk: int, came_ns: int, started_ns: int) -> None:
        now_ns = time.monotonic_ns()
        self._context.probes.add(
            Probe(
                process=PROCESS,
                replica=self._context.replica,
                session=session,
                sequence=chunk,
                at_ns=now_ns,
                queue_ns=started_ns - came_ns,
                service_ns=now_ns - started_ns,
                age_ns=0,  # the edge has not received it yet
                batch=1,
                drops=dict(self._context.drops),
            )
        )

    async def _stay_connected(self) -> None:
        """One session after another: each lasts until its connection ends."""
        access = self._context.access
        patience_s = _RETRY_S
        while True:
            try:
                async with LipSync(
                    access.websocket,
                    speaker=self._options.speaker or None,
                    name=self._options.name,
                    tls=access.client_tls(),
                ) as face:
                    self._face = face
                    patience_s = _RETRY_S
                    log.info("session begins", name=self._options.name)
                    await self._read(face)
            except (ServerGoneError, ServerError) as error:
                log.warning("not connected", reason=str(error), again_in_s=patience_s)
            finally:
                self._face = None
            await asyncio.sleep(patience_s)
            patience_s = min(2 * patience_s, _LONGEST_RETRY_S)

    async def _read(self, face: LipSync) -> None:
        """Its own frames are not looked at: whoever wants them watches the session."""
        while True:
            try:
                await face.receive()
            except ServerError as error:
                log.warning("refused", reason=str(error))

    def _tell(self) -> None:
        now_s = time.monotonic()
        if now_s < self._told_s + _TELL_EVERY_S:
            return
        self._told_s = now_s
        drift_ppm = self._source.drift_ppm
        log.info(
            "microphone",
            device=self._device and self._device.name,
            chunks=self._chunks,
            drift_ppm=None if drift_ppm is None else round(drift_ppm, 1),
            drops=dict(self._context.drops),
        )


def main() -> None:
    """The main function of the process."""
    with stage_process(PROCESS) as context:
        try:
            asyncio.run(Mic(context).run())
        except MicError as error:
            sys.exit(str(error))


def _table(known: list[Device]) -> Table:
    table = Table("", "name", "host API", "channels", "Hz", "default")
    for device in known:
        sizes = (str(device.channels), str(device.rate_hz))
        table.add_row(str(device.index), device.name, device.host_api, *sizes, "yes" if device.is_default else "")
    return table


def list_devices(*, as_json: bool) -> None:
    """What `--list` shows. Raises MicError."""
    known = devices()
    if as_json:
        sys.stdout.write(msgspec.json.encode(known).decode() + "\n")
        return
    Console(width=None if sys.stdout.isatty() else 120).print(_table(known))


if __name__ == "__main__":
    if "--instance" in sys.argv:
        main()
    else:
        parser = argparse.ArgumentParser(prog="python -m stages.mic", description="What there is to record from.")
        parser.add_argument("--list", action="store_true", required=True, help="the microphones of this machine")
        parser.add_argument("--json", action="store_true", help="as JSON")
        given = parser.parse_args()
        try:
            list_devices(as_json=given.json)
        except MicError as error:
            sys.exit(f"lipwire: {error}")
