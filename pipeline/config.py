"""supervisor.toml as types: what it says is checked here, once, before anything starts."""

import importlib.util
import os
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args
from urllib.parse import urlsplit

import msgspec

from pipeline.protocol.requests import Processing, VoiceActivity

Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
Fraction = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]{0,31}$")]
Module = Annotated[str, msgspec.Meta(pattern=r"^[a-z_][a-z0-9_.]*$")]

RestartPolicy = Literal["always", "never"]
RESTART_POLICIES: Final[tuple[str, ...]] = get_args(RestartPolicy)

CONFIG_NAME: Final = "supervisor.toml"


class ConfigError(Exception):
    """The configuration cannot be used; the text names file, key and reason."""


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    pass


class PipelineConfig(_Table, frozen=True, kw_only=True):
    """Promises and paces of the whole."""

    speaker: str = "default"
    speakers_dir: str | None = None  # None: the speakers that ship with the package
    deadline_ms: Positive = 500
    silence_threshold: Fraction = 0.01
    heartbeat_ms: Positive = 200
    heartbeat_timeout_ms: Positive = 1200
    ready_timeout_s: Positive = 60
    drain_s: NotNegative = 3


class LimitsConfig(_Table, frozen=True, kw_only=True):
    """How much one machine takes on before it says no."""

    sessions: Positive = 64
    connections: Positive = 1500
    message_bytes: Positive = 262_144
    send_queue_frames: Positive = 8
    requests_per_s: Positive = 100
    connections_per_s: Positive = 400
    handshake_s: Positive = 5
    idle_s: Positive = 600
    speakers_mb: Positive = 1024


class SoundConfig(_Table, frozen=True, kw_only=True):
    """How streams that do not say so themselves are listened to."""

    processing: tuple[Processing, ...] = ()
    voice_activity: VoiceActivity = VoiceActivity.NEURAL


class TuningConfig(_Table, frozen=True, kw_only=True):
    """When less is asked of a machine that cannot hold the pace; stages/tuning.py."""

    enabled: bool = True
    budget_ms: Positive = 40
    step_s: Positive = 3
    recover_s: Positive = 10


class DoorsConfig(_Table, frozen=True, kw_only=True):
    """Whose pages may talk to the server, beside those that it serves itself."""

    origins: tuple[str, ...] = ()


class RestartConfig(_Table, frozen=True, kw_only=True):
    """How a process that ended comes back."""

    policy: RestartPolicy = "always"
    backoff_ms: Positive = 50  # before the first restart; doubles with each further one
    backoff_max_ms: Positive = 5000
    forgiven_after_s: Positive = 10  # of healthy running: the backoff starts over
    crash_loop: Positive = 6  # failures in a row; from there on it is tried again
    retry_s: Positive = 15  # this often only


class ProcessConfig(_Table, frozen=True, kw_only=True):
    """One line of the machine: a module that receives, works and sends."""

    module: Module
    start: bool = True  # False: only where the command line asks for it
    receives: Name | None = None  # None: a source, which no stage sends to
    sends: tuple[Name, ...] = ()
    replicas: Positive = 1
    threads: Positive = 1
    cpus: tuple[int, ...] = ()  # cores it is bound to; empty: any
    max_rss_mb: NotNegative = 1024  # beyond it, the process ends in good order and comes back; 0: no bound
    max_gpu_mb: NotNegative = 0  # the same of its memory on GPUs
    options: dict[str, str] = {}  # of the stage itself; its file says which it knows
    restart: RestartConfig = RestartConfig()


class SocketConfig(_Table, frozen=True, kw_only=True):
    """One PUSH/PULL socket."""

    high_water_mark: Positive = 128
    linger_ms: NotNegative = 0
    copy_of: Name | None = None  # what is sent to that socket is sent here as well; nobody waits for a copy


class RingConfig(_Table, frozen=True, kw_only=True):
    """One ring, or one for each replica of its owner."""

    owner: Name
    slots: Positive
    slot_bytes: Positive


class Config(_Table, frozen=True, kw_only=True):
    """The whole file."""

    pipeline: PipelineConfig = PipelineConfig()
    limits: LimitsConfig = LimitsConfig()
    sound: SoundConfig = SoundConfig()
    tuning: TuningConfig = TuningConfig()
    doors: DoorsConfig = DoorsConfig()
    process: dict[Name, ProcessConfig]
    socket: dict[Name, SocketConfig]
    ring: dict[Name, RingConfig]

    def started(self) -> Self:
        """Without the processes that are not to be started, nor copies of what is sent for them."""
        running = {name: process for name, process in self.process.items() if process.start}
        heard = {process.receives for process in running.values()}
        sockets = {name: socket for name, socket in self.socket.items() if socket.copy_of is None or name in heard}
        return msgspec.structs.replace(self, process=running, socket=sockets)

    def receiver_of(self, socket: str) -> tuple[str, ProcessConfig]:
        """The process that binds `socket`."""
        return next((name, process) for name, process in self.process.items() if process.receives == socket)


_SECTIONS: Final = {"process": ProcessConfig, "socket": SocketConfig, "ring": RingConfig}


def default_config_path() -> Path:
    """supervisor.toml in the working folder, else the one of the repository, else the one in the installed package."""
    package = Path(__file__).resolve().parent
    installed = package / CONFIG_NAME
    return next((path for path in (Path(CONFIG_NAME), package.parent / CONFIG_NAME) if path.exists()), installed)


def load_config(path: Path, additions: Sequence[Path] = ()) -> Config:
    """Read and check a configuration, with what each of ``additions`` adds to it or sets otherwise.

    The modules of processes are looked for beside these files too, after everywhere else: `sys.path` grows by it.

    Raises:
        ConfigError: unreadable, not TOML, an unknown key, a wrong type or value, or a name that refers to
            nothing.
    """
    table: dict[str, Any] = {}
    for each in (path, *additions):
        _lay_over(table, _read(each))
        folder = str(each.resolve().parent)
        if folder not in sys.path:
            sys.path.append(folder)
    read = " with ".join(str(each) for each in (path, *additions))
    try:
        config = msgspec.convert(table, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{read}: {_located(table, error)}") from None
    for problem in (*_odd_origins(config), *_dangling_names(config), *_unusable_values(config)):
        raise ConfigError(f"{read}: {problem}")
    return config


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; name another with --config or --with") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None


def _lay_over(table: dict[str, Any], addition: dict[str, Any]) -> None:
    """Tables grow together key by key; every other value replaces the one that was there."""
    for key, value in addition.items():
        present = table.get(key)
        if isinstance(present, dict) and isinstance(value, dict):
            _lay_over(present, value)
        else:
            table[key] = value


def _located(table: dict[str, object], error: msgspec.ValidationError) -> str:
    """The key and what is wrong with it. msgspec says `ring[...]`; here the ring has its name."""
    for section, kind in _SECTIONS.items():
        entries = table.get(section)
        for name, entry in entries.items() if isinstance(entries, dict) else ():
            try:
                msgspec.convert(name, Name)
            except msgspec.ValidationError:
                return f"{section}.{name}: a name is made of lower-case letters, digits, _ and -, at most 32"
            try:
                msgspec.convert(entry, kind)
            except msgspec.ValidationError as entry_error:
                return _readable(str(entry_error), f"{section}.{name}")
    return _readable(str(error))


def _readable(message: str, within: str = "") -> str:
    """msgspec's "Expected `int`, got `str` - at `$.slots`" with the key first."""
    reason, _, where = message.partition(" - at ")
    parts = [within, where.strip("`").removeprefix("$").removeprefix(".")]
    for phrase, plain in (
        ("Object contains unknown field ", "there is no such key"),
        ("Object missing required field ", "this key is missing"),
    ):
        if reason.startswith(phrase):
            parts.append(reason.removeprefix(phrase).strip("`"))
            reason = plain
    if reason.startswith("Invalid enum value"):
        reason += f"; it is one of {', '.join(RESTART_POLICIES)}"
    return f"{'.'.join(part for part in parts if part)}: {reason}"


def _odd_origins(config: Config) -> list[str]:
    """An origin that can never be a browser's."""
    return [
        f"doors.origins: '{origin}' is no origin; write it as https://example.com, without a path"
        for origin in config.doors.origins
        if urlsplit(origin).scheme not in ("http", "https") or urlsplit(origin)._replace(scheme="", netloc="").geturl()
    ]


def _unusable_values(config: Config) -> list[str]:
    problems = []
    pace = config.pipeline
    if pace.heartbeat_timeout_ms <= pace.heartbeat_ms:
        problems.append(
            f"pipeline.heartbeat_timeout_ms: {pace.heartbeat_timeout_ms} is not longer than heartbeat_ms, "
            f"{pace.heartbeat_ms}: every stage would be restarted for ever"
        )
    cores = os.sched_getaffinity(0)
    for name, process in config.process.items():
        try:
            found = importlib.util.find_spec(process.module)
        except (ModuleNotFoundError, ValueError):  # ValueError: as of `a..b`
            found = None
        if found is None:
            problems.append(f"process.{name}.module: there is no module '{process.module}'")
        if not cores.issuperset(process.cpus):
            missing = sorted(set(process.cpus) - cores)
            problems.append(f"process.{name}.cpus: this machine lends no core {missing}, only {sorted(cores)}")
    return problems


def _dangling_names(config: Config) -> list[str]:
    problems = []
    receivers: dict[str, str] = {}
    for name, process in config.process.items():
        problems += [
            f"process.{name}.{key}: socket '{socket}' is not defined"
            for key, sockets in (("receives", (process.receives,)), ("sends", process.sends))
            for socket in sockets
            if socket is not None and socket not in config.socket
        ]
        if process.receives is None:
            continue
        if process.receives in receivers:
            other = receivers[process.receives]
            problems.append(f"process.{name}.receives: '{process.receives}' is already bound by {other}")
        receivers[process.receives] = name
    problems += [
        f"process.{name}.sends: nobody receives '{socket}'"
        for name, process in config.process.items()
        for socket in process.sends
        if socket not in receivers
    ]
    problems += [f"socket.{socket}: nobody receives from it" for socket in config.socket if socket not in receivers]
    problems += [
        f"socket.{name}.copy_of: '{socket.copy_of}' is no socket that has messages of its own"
        for name, socket in config.socket.items()
        if socket.copy_of is not None
        and (socket.copy_of not in config.socket or config.socket[socket.copy_of].copy_of is not None)
    ]
    problems += [
        f"ring.{name}.owner: there is no process '{ring.owner}'"
        for name, ring in config.ring.items()
        if ring.owner not in config.process
    ]
    return problems
