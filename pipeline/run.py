"""`python -m pipeline.run`: the whole pipeline, until Ctrl-C.

Prints one line, `ready http://HOST:PORT`, on stdout once every stage is warm; logs go to stderr.
"""

import argparse
import os
import socket
import sys
from pathlib import Path
from typing import Final

import msgspec
import structlog
from setproctitle import setproctitle

from pipeline.access import TOKEN_VARIABLE, Access, AccessError, checked, read_token
from pipeline.config import CONFIG_NAME, Config, ConfigError, default_config_path, load_config
from pipeline.instance import InstanceConfig, InstanceLock, remove_dead_instances
from pipeline.logs import configure_logs
from pipeline.supervision.supervisor import StartError, Supervisor

_MIC: Final = "mic"  # the process that --mic starts
_METRICS: Final = "metrics"

log = structlog.get_logger()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m pipeline.run", description="Run lipwire.")
    parser.add_argument(
        "--config", type=Path, help="default: supervisor.toml here, else the one that ships with lipwire"
    )
    parser.add_argument(
        "--with",
        dest="additions",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="what to add to the configuration, or set otherwise; may be given several times",
    )
    parser.add_argument(
        "--mic",
        nargs="?",
        const="",
        metavar="DEVICE",
        help="speak by a microphone of this machine: its index or name (python -m stages.mic --list)",
    )
    parser.add_argument(
        "--no-tuning", action="store_true", help="ask the same of the machine when it cannot hold the pace"
    )
    parser.add_argument("--metrics", action="store_true", help="figures for Prometheus, on a port of their own")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--speaker", help="the face of whoever does not choose one; overrides the configuration")
    parser.add_argument(
        "--token-file",
        type=Path,
        help=f"whoever connects must offer what it holds (default: the variable {TOKEN_VARIABLE})",
    )
    parser.add_argument("--open-to-all", action="store_true", help="other machines may connect without a token")
    parser.add_argument("--certificate", help="PEM file: serve https and wss; with --key")
    parser.add_argument("--key", help="PEM file of the certificate's private key")
    return parser.parse_args()


def _access(arguments: argparse.Namespace) -> Access:
    """Where it is reached, checked; the port is free.

    Raises:
        AccessError, StartError.
    """
    wanted = Access(
        host=arguments.host,
        port=arguments.port,
        token=read_token(arguments.token_file),
        certificate=arguments.certificate,
        key=arguments.key,
    )
    access = checked(wanted, open_to_all=arguments.open_to_all)
    return msgspec.structs.replace(access, port=_free_port(access.host, access.port))


def _free_port(host: str, port: int) -> int:
    """The port to listen on, known to be free now: a restarted edge must come back on the same.

    Raises:
        StartError: it is in use, or is not this machine's to use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except (OSError, OverflowError) as error:
            raise StartError(
                f"cannot listen on {host}:{port}: {error}; choose another with --host and --port"
            ) from None
        return int(trial.getsockname()[1])


def _with_speaker(config: Config, speaker: str | None) -> Config:
    if speaker is None:
        return config
    return msgspec.structs.replace(config, pipeline=msgspec.structs.replace(config.pipeline, speaker=speaker))


def _with_mic(config: Config, device: str | None) -> Config:
    """Raises ConfigError where the configuration has no such process."""
    if device is None:
        return config
    if _MIC not in config.process:
        raise ConfigError(
            f"--mic: the configuration has no [process.{_MIC}]; take it over from lipwire's {CONFIG_NAME}"
        )
    mic = config.process[_MIC]
    mic = msgspec.structs.replace(mic, start=True, options=mic.options | ({"device": device} if device else {}))
    return msgspec.structs.replace(config, process=config.process | {_MIC: mic})


def _with_metrics(config: Config, *, wanted: bool) -> Config:
    """Raises ConfigError where the configuration has no such process."""
    if not wanted:
        return config
    if _METRICS not in config.process:
        raise ConfigError(f"--metrics: the configuration has no [process.{_METRICS}]; take it over from {CONFIG_NAME}")
    metrics = msgspec.structs.replace(config.process[_METRICS], start=True)
    return msgspec.structs.replace(config, process=config.process | {_METRICS: metrics})


def main() -> None:
    """Entry point of `lipwire` and of `python -m pipeline.run`."""
    arguments = _arguments()
    setproctitle("lipwire supervisor")
    configure_logs("supervisor")
    try:
        config = load_config(arguments.config or default_config_path(), arguments.additions)
        config = _with_mic(_with_speaker(config, arguments.speaker), arguments.mic)
        config = _with_metrics(config, wanted=arguments.metrics).started()
        if arguments.no_tuning:
            config = msgspec.structs.replace(config, tuning=msgspec.structs.replace(config.tuning, enabled=False))
        access = _access(arguments)
        remove_dead_instances()
        lock = InstanceLock()
        try:
            told = InstanceConfig(config=config, access=access, supervisor_pid=os.getpid())
            lock.instance.write_config(told)
            lock.instance.create_rings(config)
            Supervisor(lock.instance, told).run()
        finally:
            lock.remove()
    except (AccessError, ConfigError, StartError) as error:
        sys.exit(f"lipwire: {error}")
    except OSError as error:
        sys.exit(f"lipwire: no room for the rings in shared memory: {error}; enlarge /dev/shm or shrink them")


if __name__ == "__main__":
    main()
