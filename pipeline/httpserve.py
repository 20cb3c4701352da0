"""The few HTTP answers that the edge gives beside its WebSocket: the page's files and its health."""

import mimetypes
from http import HTTPStatus
from pathlib import Path
from typing import Final

from websockets.datastructures import Headers
from websockets.http11 import Response

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; worker-src 'self' blob:; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; media-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
_SECURITY_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Cache-Control": "no-cache",
}
_SERVED: Final = {".html", ".js", ".css", ".wav", ".png", ".jpg", ".svg", ".ico", ".json", ".txt"}


class StaticFiles:
    """A folder's files, read once at start: no request ever turns into a path."""

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, tuple[str, bytes]] = {}
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix in _SERVED:
                kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
                kind += "; charset=utf-8" if kind.startswith("text/") else ""
                self._files["/" + path.relative_to(folder).as_posix()] = (kind, path.read_bytes())
        if "/index.html" in self._files:
            self._files["/"] = self._files["/index.html"]

    def get(self, path: str) -> Response:
        found = self._files.get(path)
        if found is None:
            return respond(
                HTTPStatus.NOT_FOUND, "text/plain; charset=utf-8", f"there is no {path[:80]} here\n".encode()
            )
        return respond(HTTPStatus.OK, *found)


def respond(status: HTTPStatus, kind: str, body: bytes, extra: dict[str, str] | None = None) -> Response:
    """An HTTP response with the security headers that every one of ours carries."""
    headers = Headers(
        {
            "Content-Type": kind,
            "Content-Length": str(len(body)),
            "Connection": "close",
            **_SECURITY_HEADERS,
            **(extra or {}),
        }
    )
    return Response(status.value, status.phrase, headers, body)
