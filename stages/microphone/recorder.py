"""Records from a device, in a process of its own: `python -m stages.microphone.recorder`, which the mic stage starts.

A sound system whose server dies or whose device is pulled out may hang, or crash, whoever is inside it; and PortAudio
lists the devices that there were when it was started. So a recorder lives as long as its device, and the stage starts
another one. It writes to its standard output, each message behind its length (four bytes, little endian).
"""

import argparse
import struct
import sys
import time
from queue import Empty, SimpleQueue
from typing import Any, BinaryIO, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.runtime import die_with_parent
from stages.microphone.devices import Device, MicError, devices, find, portaudio

_BLOCKS_PER_S: Final = 100
"""10 ms a block: what waits for its block to be whole waits no longer than that."""
LENGTH: Final = struct.Struct("<I")


class Opened(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """The device records from now on."""

    device: Device


class Refused(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """It cannot be recorded; the recorder ends."""

    reason: str


class Block(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """What the device has delivered at once.

    Attributes:
        raw: [frames] float32, mixed down to mono, at the device's rate.
        at_s: CLOCK_MONOTONIC when it came.
        overflowed: PortAudio has lost samples before it.
    """

    raw: bytes
    at_s: float
    overflowed: bool

    @property
    def samples(self) -> NDArray[np.float32]:
        return np.frombuffer(self.raw, np.float32)


Report = Opened | Refused | Block
_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final[msgspec.msgpack.Decoder[Report]] = msgspec.msgpack.Decoder(Report)


def framed(report: Report) -> bytes:
    """As it is written."""
    body = _encoder.encode(report)
    return LENGTH.pack(len(body)) + body


def decode(body: bytes) -> Report:
    """What lay behind a length. Raises msgspec.DecodeError."""
    return _decoder.decode(body)


def record(device: Device, output: BinaryIO) -> None:
    """Until it ends. Raises MicError if it cannot be opened."""
    sounddevice = portaudio()
    waiting: SimpleQueue[Block] = SimpleQueue()

    def keep(frames: NDArray[np.float32], _count: int, _time: Any, status: Any) -> None:
        """PortAudio's callback, on a thread that must not wait."""
        mono = np.ascontiguousarray(frames.mean(axis=1), np.float32)
        waiting.put(Block(mono.tobytes(), time.monotonic(), bool(status.input_overflow)))

    try:
        stream = sounddevice.InputStream(
            device=device.index,
            channels=device.opened_channels,
            samplerate=device.rate_hz,
            blocksize=device.rate_hz // _BLOCKS_PER_S,
            dtype="float32",
            latency="low",
            callback=keep,
        )
        with stream:
            output.write(framed(Opened(device)))
            output.flush()
            while stream.active:
                try:
                    output.write(framed(waiting.get(timeout=1.0)))
                    output.flush()
                except Empty:
                    continue  # whether that is too long is the stage's to decide
    except sounddevice.PortAudioError as error:
        raise MicError(f"{device.name}: PortAudio says: {error}") from error


def main() -> None:
    """The main function of the process."""
    parser = argparse.ArgumentParser(description="The mic stage starts it.")
    parser.add_argument("--device", default="")
    parser.add_argument("--parent", type=int, required=True)
    given = parser.parse_args()
    die_with_parent(given.parent)
    output = sys.stdout.buffer
    try:
        record(find(given.device, devices()), output)
    except MicError as error:
        output.write(framed(Refused(str(error))))
        output.flush()
    except BrokenPipeError:
        return  # the stage has gone


if __name__ == "__main__":
    main()
