"""Who may reach a pipeline, and how: where it listens, the token that strangers need, TLS."""

import http.client
import ipaddress
import os
import ssl
from pathlib import Path
from typing import Final
from urllib.parse import quote

import msgspec

TOKEN_VARIABLE: Final = "LIPWIRE_TOKEN"  # noqa: S105 - its name, not a token
TOKEN_LENGTH: Final = 16
"""Characters at least: a shorter one can be guessed at the rate at which connections are taken."""
_WILDCARDS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - addresses to listen on, not to ask


class AccessError(Exception):
    """It cannot be reached in this way, or must not be; the text says what to do."""


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """Where and for whom.

    Attributes:
        token: whoever opens a WebSocket must offer it; None: nobody needs one.
        certificate, key: PEM files; both or neither.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    token: str | None = None
    certificate: str | None = None
    key: str | None = None

    @property
    def address(self) -> str:
        """As a browser is told it."""
        return f"{'https' if self.certificate else 'http'}://{_in_url(self.host)}:{self.port}"

    @property
    def websocket(self) -> str:
        """The WebSocket, for a client on this machine; the token is in it."""
        host = _in_url(_WILDCARDS.get(self.host, self.host))
        token = f"?token={quote(self.token, safe='')}" if self.token else ""
        return f"{'wss' if self.certificate else 'ws'}://{host}:{self.port}/ws{token}"

    def tls(self) -> ssl.SSLContext | None:
        """The server's side; None where it speaks plainly.

        Raises:
            AccessError: the files are not there, or are no certificate and its key.
        """
        if self.certificate is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        try:
            context.load_cert_chain(self.certificate, self.key)
        except (OSError, ssl.SSLError) as error:
            raise AccessError(f"--certificate {self.certificate}, --key {self.key}: {error}") from None
        return context

    def client_tls(self) -> ssl.SSLContext | None:
        """The side of a client on this machine, which knows whom it asks; None where the server speaks plainly."""
        if self.certificate is None:
            return None
        own = ssl.create_default_context()
        own.check_hostname = False  # it is asked under another name than it was made for
        own.verify_mode = ssl.CERT_NONE
        return own

    def ask(self, path: str, timeout_s: float) -> http.client.HTTPResponse:
        """A GET from this machine, with the token, whatever the certificate says of it.

        Raises:
            OSError, http.client.HTTPException: nobody answers.
        """
        host = _WILDCARDS.get(self.host, self.host)
        if self.certificate is None:
            connection = http.client.HTTPConnection(host, self.port, timeout=timeout_s)
        else:
            connection = http.client.HTTPSConnection(host, self.port, timeout=timeout_s, context=self.client_tls())
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {self.token}"} if self.token else {})
            return connection.getresponse()
        finally:
            connection.close()


def _in_url(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it. A name other than localhost may be anybody's."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def read_token(file: Path | None) -> str | None:
    """From the file, else from the environment; not from the command line, which everybody on the machine can read.

    Raises:
        AccessError: the file cannot be read, or the token is too short.
    """
    if file is not None:
        try:
            token = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise AccessError(f"--token-file {file}: {error}") from None
    else:
        token = os.environ.get(TOKEN_VARIABLE, "").strip()
        if not token:
            return None
    if len(token) < TOKEN_LENGTH:
        raise AccessError(f"the token has {len(token)} characters; give it {TOKEN_LENGTH} at least")
    return token


def checked(access: Access, *, open_to_all: bool) -> Access:
    """The access, if it is one that its owner can mean.

    Raises:
        AccessError: strangers could reach it without a token, one TLS file is missing, or they are unusable.
    """
    if (access.certificate is None) != (access.key is None):
        raise AccessError("--certificate and --key belong together: give both")
    if not is_loopback(access.host) and access.token is None and not open_to_all:
        raise AccessError(
            f"{access.host} can be reached from other machines: give a token (--token-file FILE, or {TOKEN_VARIABLE} "
            "in the environment), or say --open-to-all if everybody there may use it"
        )
    access.tls()
    return access
