"""What a check has found."""

from collections.abc import Callable, Iterable
from enum import StrEnum

import msgspec


class Verdict(StrEnum):
    """How much it matters."""

    OK = "ok"
    WARNING = "warning"  # it runs, and something will be missed
    FAULT = "fault"  # it does not run, or not as promised


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """``seen``: what there is. ``do``: what to do about it; empty where nothing is to be done."""

    check: str
    verdict: Verdict
    seen: str
    do: str = ""


Check = Callable[[], Iterable[Finding]]


def run(name: str, check: Check) -> list[Finding]:
    """Its findings; where it fails itself, that is one, and the other checks go on."""
    try:
        return list(check())
    except Exception as error:  # noqa: BLE001 - whatever it is, the patient is to hear of it
        words = f"this check failed itself: {type(error).__name__}: {error}"
        return [Finding(check=name, verdict=Verdict.FAULT, seen=words, do="tell the project, with this line")]


def ok(check: str, seen: str) -> Finding:
    return Finding(check=check, verdict=Verdict.OK, seen=seen)


def warning(check: str, seen: str, do: str) -> Finding:
    return Finding(check=check, verdict=Verdict.WARNING, seen=seen, do=do)


def fault(check: str, seen: str, do: str) -> Finding:
    return Finding(check=check, verdict=Verdict.FAULT, seen=seen, do=do)
