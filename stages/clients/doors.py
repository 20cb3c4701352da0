"""Who may open a WebSocket: the checks that are made before the handshake is answered."""

import hmac
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, urlsplit

from websockets.http11 import Request, Response

from pipeline.httpserve import respond

WEBSOCKET_PATHS: Final = ("/", "/ws")
_TEXT: Final = "text/plain; charset=utf-8"
_BEARER: Final = "Bearer "


def wants_websocket(request: Request) -> bool:
    """Whether this is a handshake, not a page."""
    return request.headers.get("Upgrade", "").lower() == "websocket"


def offers_token(request: Request, token: str | None) -> bool:
    """Whether the request carries the token, if one is wanted: as ?token=..., or as Authorization: Bearer ..."""
    if token is None:
        return True
    offered = parse_qs(urlsplit(request.path).query).get("token", [""])[0]
    authorization = request.headers.get("Authorization", "")
    if authorization.startswith(_BEARER):
        offered = authorization.removeprefix(_BEARER)
    return hmac.compare_digest(offered.encode(), token.encode())


def refusal(request: Request, token: str | None, origins: tuple[str, ...]) -> Response | None:
    """Why this handshake is refused; None where it may go on."""
    if urlsplit(request.path).path not in WEBSOCKET_PATHS:
        return respond(HTTPStatus.NOT_FOUND, _TEXT, b"the WebSocket is at /ws\n")
    origin = request.headers.get("Origin")
    own_page = origin is None or urlsplit(origin).netloc == request.headers.get("Host")
    if not own_page and origin not in origins:
        return respond(HTTPStatus.FORBIDDEN, _TEXT, b"this page may not talk to lipwire: foreign Origin\n")
    if not offers_token(request, token):
        return respond(HTTPStatus.UNAUTHORIZED, _TEXT, b"give the token as ?token=... or as a Bearer\n")
    return None


def full() -> Response:
    """No more connections now."""
    return respond(HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, b"full; try again later\n", {"Retry-After": "5"})


def too_fast() -> Response:
    """No more new connections this second."""
    return respond(HTTPStatus.TOO_MANY_REQUESTS, _TEXT, b"too many at once; try again\n", {"Retry-After": "1"})


class Allowance:
    """A token bucket that holds what one second brings: bursts pass, a flood does not."""

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = per_s
        self._clock = clock
        self._left = per_s
        self._at = clock()

    def take(self) -> bool:
        """One more; False where there is none left."""
        now = self._clock()
        self._left = min(self._per_s, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
