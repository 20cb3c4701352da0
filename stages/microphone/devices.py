"""The sound devices that this machine can record from, as PortAudio knows them."""

import importlib
from types import ModuleType
from typing import Final

import msgspec

_INSTALL: Final = "the microphone needs the package sounddevice: pip install 'lipwire[mic]'"
_LIBRARY: Final = "sounddevice found no PortAudio library; on Debian or Ubuntu: apt install libportaudio2"
_MOST_CHANNELS: Final = 2
"""That are opened of a device: sound servers offer 32 and mix them, and a voice is on the first two."""


class MicError(Exception):
    """It cannot be recorded; the text says why and what to do."""


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """One that records. ``index``: PortAudio's, in this process."""

    index: int
    name: str
    host_api: str
    channels: int
    rate_hz: int
    is_default: bool

    @property
    def opened_channels(self) -> int:
        """How many are asked of it."""
        return min(self.channels, _MOST_CHANNELS)


def portaudio() -> ModuleType:
    """The package sounddevice. Imported by whoever records and nobody else, as it opens the sound system.

    Raises:
        MicError: it, or PortAudio, is not installed.
    """
    try:
        return importlib.import_module("sounddevice")
    except ModuleNotFoundError:
        raise MicError(_INSTALL) from None
    except OSError:
        raise MicError(_LIBRARY) from None


def devices() -> list[Device]:
    """All that record, in PortAudio's order.

    Raises:
        MicError: PortAudio cannot be asked.
    """
    sounddevice = portaudio()
    try:
        host_apis = sounddevice.query_hostapis()
        known = sounddevice.query_devices()
        default = sounddevice.default.device[0]
    except sounddevice.PortAudioError as error:
        raise MicError(f"PortAudio says: {error}") from error
    return [
        Device(
            index=number,
            name=str(each["name"]),
            host_api=str(host_apis[each["hostapi"]]["name"]),
            channels=int(each["max_input_channels"]),
            rate_hz=round(each["default_samplerate"]),
            is_default=number == default,
        )
        for number, each in enumerate(known)
        if each["max_input_channels"] > 0
    ]


def find(wanted: str, known: list[Device]) -> Device:
    """The device of this index, of this name, or of which this is the only name's part; "": the system's default.

    Raises:
        MicError: there is none, or there are several.
    """
    there_are = "; ".join(f"{device.index}: {device.name}" for device in known) or "none"
    if not wanted:
        found = [device for device in known if device.is_default] or known[:1]
    elif wanted.isdecimal():
        found = [device for device in known if device.index == int(wanted)]
    else:
        part = wanted.casefold()
        found = [device for device in known if device.name.casefold() == part]
        found = found or [device for device in known if part in device.name.casefold()]
    if len(found) == 1:
        return found[0]
    problem = "several microphones are named like" if found else "there is no microphone"
    raise MicError(f"{problem} {wanted or 'by default'!r}. There are: {there_are}")
