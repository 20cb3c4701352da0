"""Who may open a WebSocket: the checks that are made before the handshake is answered."""

import hmac
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs, urlsplit

from websockets.http11 import Request, Response

from pipeline.httpserve import respond

WEBSOCKET_PATHS: Final = ("/", "/ws")
_TEXT: Final = "text/plain; charset=utf-8"


def wants_websocket(request: Request) -> bool:
    """Whether this is a handshake, not a page."""
    return request.headers.get("Upgrade", "").lower() == "websocket"


def refusal(request: Request, token: str | None) -> Response | None:
    """Why this handshake is refused; None where it may go on."""
    url = urlsplit(request.path)
    if url.path not in WEBSOCKET_PATHS:
        return respond(HTTPStatus.NOT_FOUND, _TEXT, b"the WebSocket is at /ws\n")
    origin = request.headers.get("Origin")
    if origin is not None and urlsplit(origin).netloc != request.headers.get("Host"):
        return respond(HTTPStatus.FORBIDDEN, _TEXT, b"this page may not talk to lipwire: foreign Origin\n")
    if token is not None:
        offered = parse_qs(url.query).get("token", [""])[0]
        if not hmac.compare_digest(offered.encode(), token.encode()):
            return respond(HTTPStatus.UNAUTHORIZED, _TEXT, b"give the token as ?token=...\n")
    return None


def full() -> Response:
    """No more connections now."""
    return respond(HTTPStatus.SERVICE_UNAVAILABLE, _TEXT, b"full; try again later\n", {"Retry-After": "5"})
