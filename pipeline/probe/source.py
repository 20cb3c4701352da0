"""Where the notices come from: a pipeline that runs, or a recording of one.

A recording is `lipwire-probes 1\\n`, a line of JSON (the order of the stages), and then notice after notice as it was
published: its length (u32, little endian), the time (float64, seconds of CLOCK_MONOTONIC), the message.
"""

import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import msgspec
import zmq

from pipeline.channels import PROBES_SOCKET, STATUS_SOCKET, NoticeInlet
from pipeline.instance import Instance, living_instances

_MAGIC: Final = b"lipwire-probes 1\n"
_HEAD: Final = struct.Struct("<Id")


class RecordingError(Exception):
    """The file is no recording of this version; the text says so."""


class Notice(NamedTuple):
    """One message as it was published, and when it was taken; seconds of CLOCK_MONOTONIC."""

    at_s: float
    raw: bytes


def choose_instance(folder: Path | None) -> Instance:
    """The one that is meant, or the only one that runs; exits with words where that is not clear."""
    if folder is not None:
        return Instance(folder)
    running = living_instances()
    if len(running) != 1:
        choice = "\n  ".join(str(instance.folder) for instance in running)
        sys.exit(f"choose one with --instance:\n  {choice}" if running else "no pipeline runs; `make run` starts one")
    return running[0]


def order_of(instance: Instance) -> list[str]:
    """The stages in the order of the audio's path; the edge is measured where frames leave, last."""
    processes = instance.read_config().config.process
    stages = [name for name, process in processes.items() if process.receives]
    return [*stages[1:], stages[0]]


class Inlets:
    """Probes and status of a running instance."""

    def __init__(self, instance: Instance) -> None:
        self._inlets = [NoticeInlet(zmq.Context.instance(), instance, name) for name in (PROBES_SOCKET, STATUS_SOCKET)]

    def take(self, now_s: float) -> list[Notice]:
        """What has come."""
        return [Notice(now_s, raw) for inlet in self._inlets for raw in inlet.take_raw()]


class Recorder:
    """Writes a recording."""

    def __init__(self, file: BinaryIO, order: Sequence[str]) -> None:
        self._file = file
        file.write(_MAGIC + msgspec.json.encode(order) + b"\n")

    def add(self, notices: Sequence[Notice]) -> None:
        for notice in notices:
            self._file.write(_HEAD.pack(len(notice.raw), notice.at_s) + notice.raw)
        self._file.flush()


def read_order(file: BinaryIO) -> list[str]:
    """The head of a recording.

    Raises:
        RecordingError: it is none.
    """
    if file.readline() != _MAGIC:
        raise RecordingError("this is no recording of `pipeline.probe --record`, or one of another version")
    try:
        return msgspec.json.decode(file.readline(), type=list[str])
    except msgspec.MsgspecError as error:
        raise RecordingError(f"its head is damaged: {error}") from None


def replay(file: BinaryIO) -> Iterator[Notice]:
    """The notices after the head; a last one that was cut off is left out, as the recorder may have been killed."""
    while len(head := file.read(_HEAD.size)) == _HEAD.size:
        length, at_s = _HEAD.unpack(head)
        raw = file.read(length)
        if len(raw) < length:
            return
        yield Notice(at_s, raw)
