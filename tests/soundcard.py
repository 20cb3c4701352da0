"""A machine's sound without sound hardware: a PulseAudio server of the test's own, whose null sinks are microphones."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

_PATIENCE_S: Final = 15.0
_ASOUNDRC: Final = """pcm.!default { type pulse }
ctl.!default { type pulse }
pcm.pulse { type pulse }
"""


class SoundCard:
    """A sound server with one null sink, `vmic`; what is played into it is what its microphone hears."""

    def __init__(self, folder: Path) -> None:
        runtime, home = folder / "run", folder / "home"
        for each in (runtime, home):
            each.mkdir(mode=0o700, parents=True)
        (home / ".asoundrc").write_text(_ASOUNDRC)
        self.environment = {
            **os.environ,
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(runtime),
            "PULSE_SERVER": f"unix:{runtime}/pulse/native",
            "PULSE_RUNTIME_PATH": str(runtime / "pulse"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_CACHE_HOME": os.environ.get("XDG_CACHE_HOME", str(Path.home() / ".cache")),
        }
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """The server, and its sink."""
        sink = "module-null-sink sink_name=vmic rate=48000 channels=2"
        command = ["pulseaudio", "-n", "--daemonize=no", "--exit-idle-time=-1", "--use-pid-file=no"]
        command += ["-L", "module-native-protocol-unix", "-L", sink]
        self._server = subprocess.Popen(command, env=self.environment, stderr=subprocess.DEVNULL, process_group=0)
        _eventually(lambda: self._pactl("set-default-source", "vmic.monitor"), "the sound server does not answer")

    def stop(self) -> None:
        """As when the sound server dies, and every device with it."""
        if self._server is not None:
            os.killpg(self._server.pid, signal.SIGKILL)
            self._server.wait()
            self._server = None

    def unplug(self) -> None:
        """Take the microphone away; the server stays."""
        assert self._pactl("unload-module", "module-null-sink")

    def plug_in(self) -> None:
        assert self._pactl("load-module", "module-null-sink", "sink_name=vmic", "rate=48000", "channels=2")
        assert self._pactl("set-default-source", "vmic.monitor")

    def play(self, recording: Path) -> "subprocess.Popen[bytes]":
        """Into the sink, in real time."""
        return subprocess.Popen(["paplay", "--device=vmic", str(recording)], env=self.environment)

    def _pactl(self, *arguments: str) -> bool:
        done = subprocess.run(["pactl", *arguments], env=self.environment, capture_output=True, timeout=10, check=False)
        return done.returncode == 0


def _eventually(attempt: Callable[[], bool], otherwise: str) -> None:
    give_up = time.monotonic() + _PATIENCE_S
    while not attempt():
        assert time.monotonic() < give_up, otherwise
        time.sleep(0.1)


def is_possible() -> bool:
    """Whether what it takes is installed: scripts/system-packages.sh tests."""
    return all(shutil.which(program) for program in ("pulseaudio", "pactl", "paplay"))
