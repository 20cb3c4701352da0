"""Structured logs to stderr: key=value lines, the process named on each."""

import functools
import logging
import os
import sys
from typing import Final

import structlog

LEVEL_VARIABLE: Final = "LIPWIRE_LOG"
_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


@functools.cache
def level() -> int:
    """From the environment; `info` where it says nothing.

    Raises:
        SystemExit: it says something else than a level.
    """
    said = os.environ.get(LEVEL_VARIABLE, "info").lower()
    if said not in _LEVELS:
        sys.exit(f"lipwire: {LEVEL_VARIABLE}={said}: it is one of {', '.join(_LEVELS)}")
    return _LEVELS[said]


@functools.cache
def is_debugging() -> bool:
    return level() == logging.DEBUG


def configure_logs(process: str) -> None:
    """Once per process, before the first log line."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "process", "event"]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level()),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    structlog.contextvars.bind_contextvars(process=process)
