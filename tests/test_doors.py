"""Who is let in: tokens, foreign pages, TLS, limits; and what strangers can reach: nothing."""

import asyncio
import http.client
import os
import ssl
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import websockets
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from pipeline.access import TOKEN_LENGTH, TOKEN_VARIABLE
from stages.clients.doors import Allowance
from tests.running import ROOT, Pipeline, instance_folders_of, running, start

TOKEN = "correct-horse-battery"
FRIEND = "https://friend.example"
LIMITS = {
    "connections_per_s = 400": "connections_per_s = 20",
    "handshake_s = 5": "handshake_s = 1",
    "idle_s = 600": "idle_s = 2",
    "origins = []": f'origins = ["{FRIEND}"]',
    "sessions = 64": "sessions = 2",
}


def config(folder: Path) -> Path:
    text = (ROOT / "supervisor.toml").read_text()
    for usual, here in LIMITS.items():
        assert usual in text
        text = text.replace(usual, here)
    path = folder / "doors.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Pipeline, Path]]:
    """A pipeline that other machines reach, with a token, TLS and tight limits; and its log."""
    folder = tmp_path_factory.mktemp("guarded")
    key, certificate, token = folder / "key.pem", folder / "cert.pem", folder / "token"
    token.write_text(TOKEN + "\n")
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", str(key)]
    subprocess.run([*command, "-out", str(certificate), *subject], check=True, capture_output=True)
    log = folder / "log.txt"
    options = ["--host", "0.0.0.0", "--token-file", str(token), "--certificate", str(certificate), "--key", str(key)]
    with running(log, "--config", str(config(folder)), *options) as pipeline:
        yield pipeline, log


def tls(guarded: tuple[Pipeline, Path]) -> ssl.SSLContext:
    """A client that trusts the test's certificate, and checks it."""
    return ssl.create_default_context(cafile=guarded[1].with_name("cert.pem"))


def url(guarded: tuple[Pipeline, Path], query: str = f"?token={TOKEN}", path: str = "/ws") -> str:
    return guarded[0].ws.replace("0.0.0.0", "localhost").removesuffix("/ws") + path + query


async def refused(guarded: tuple[Pipeline, Path], address: str, **options: object) -> int:
    """The HTTP status with which a handshake is refused."""
    await asyncio.sleep(0.06)  # stay below this server's rate of connections
    with pytest.raises(InvalidStatus) as caught:
        async with connect(address, ssl=tls(guarded), **options):  # type: ignore[arg-type]
            pass
    return caught.value.response.status_code


def get(guarded: tuple[Pipeline, Path], path: str, **headers: str) -> http.client.HTTPResponse:
    port = int(guarded[0].address.rsplit(":", 1)[1])
    connection = http.client.HTTPSConnection("localhost", port, timeout=10, context=tls(guarded))
    connection.putrequest("GET", path, skip_host=False)
    for name, value in headers.items():
        connection.putheader(name, value)
    connection.endheaders()
    return connection.getresponse()


async def test_only_the_token_opens(guarded: tuple[Pipeline, Path]) -> None:
    assert guarded[0].address.startswith("https://")
    assert await refused(guarded, url(guarded, "")) == 401
    assert await refused(guarded, url(guarded, f"?token={TOKEN[:-1]}x")) == 401
    assert await refused(guarded, url(guarded, ""), additional_headers={"Authorization": "Bearer wrong"}) == 401
    for address, headers in ((url(guarded), {}), (url(guarded, ""), {"Authorization": f"Bearer {TOKEN}"})):
        async with connect(address, ssl=tls(guarded), additional_headers=headers) as connection:
            await connection.send('{"action": "list_models"}')
            assert "default" in str(await asyncio.wait_for(connection.recv(), 20))


async def test_foreign_pages_are_turned_away(guarded: tuple[Pipeline, Path]) -> None:
    assert await refused(guarded, url(guarded), origin="https://evil.example") == 403
    assert await refused(guarded, url(guarded), origin="null") == 403
    assert await refused(guarded, url(guarded), origin=FRIEND + ":8443") == 403
    host = url(guarded, "", "").removeprefix("wss://")
    for origin in (FRIEND, f"https://{host}"):
        async with connect(url(guarded), ssl=tls(guarded), origin=origin):  # type: ignore[arg-type]
            pass


async def test_a_stranger_learns_whether_it_is_up_and_no_more(guarded: tuple[Pipeline, Path]) -> None:
    said = get(guarded, "/healthz").read()
    assert b'"ready":true' in said
    assert b"pid" not in said
    assert b'"pid"' in get(guarded, f"/healthz?token={TOKEN}").read()


@pytest.mark.parametrize(
    "path", ["/../supervisor.toml", "/..%2fsupervisor.toml", "//etc/passwd", "/%2e%2e/README.md", "/__init__.py"]
)
def test_nothing_outside_the_web_folder_is_served(guarded: tuple[Pipeline, Path], path: str) -> None:
    assert get(guarded, path).status == 404


def test_every_answer_has_the_security_headers(guarded: tuple[Pipeline, Path]) -> None:
    for path in ("/", "/healthz", "/nothing"):
        answer = get(guarded, path)
        assert "default-src 'none'" in str(answer.headers["Content-Security-Policy"])
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"


async def test_a_handshake_that_is_never_finished_is_cut(guarded: tuple[Pipeline, Path]) -> None:
    port = int(guarded[0].address.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("localhost", port, ssl=tls(guarded))
    writer.write(b"GET /ws HTTP/1.1\r\nHost: localhost\r\n")
    await writer.drain()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(), 0.5)  # patience is not zero
    await asyncio.wait_for(reader.read(), 20)  # ends
    writer.close()


async def test_who_says_nothing_is_closed_and_who_watches_is_not(guarded: tuple[Pipeline, Path]) -> None:
    async with (
        connect(url(guarded), ssl=tls(guarded)) as idle,
        connect(url(guarded), ssl=tls(guarded)) as following,
    ):
        await following.send('{"action": "stats", "enabled": true}')
        await asyncio.wait_for(idle.wait_closed(), 30)
        assert idle.close_code == 1008
        assert "nothing was said" in str(idle.close_reason)
        await following.send('{"action": "list_models"}')
        await asyncio.wait_for(following.recv(), 20)


async def test_more_sessions_than_the_limit_are_refused_and_those_inside_stay(guarded: tuple[Pipeline, Path]) -> None:
    begin = '{"action": "start_stream", "version": 1}'
    async with (
        connect(url(guarded), ssl=tls(guarded)) as first,
        connect(url(guarded), ssl=tls(guarded)) as second,
        connect(url(guarded), ssl=tls(guarded)) as third,
    ):
        for connection, word in ((first, "stream_started"), (second, "stream_started"), (third, "too_many_sessions")):
            await connection.send(begin)
            assert word in str(await asyncio.wait_for(connection.recv(), 20))
        await second.close()
        await asyncio.sleep(0.2)
        await third.send(begin)
        assert "stream_started" in str(await asyncio.wait_for(third.recv(), 20))


async def test_too_many_new_connections_are_told_to_wait(guarded: tuple[Pipeline, Path]) -> None:
    await asyncio.sleep(1.1)  # a full allowance

    async def knock() -> tuple[int, str | None]:
        try:
            async with connect(url(guarded), ssl=tls(guarded)):
                return 101, None
        except InvalidStatus as refusal:
            return refusal.response.status_code, refusal.response.headers.get("Retry-After")

    seen = await asyncio.gather(*(knock() for _ in range(60)))
    assert set(seen) == {(101, None), (429, "1")}
    await asyncio.sleep(1.1)
    assert await knock() == (101, None)


def test_the_token_is_not_logged_nor_seen_in_ps(guarded: tuple[Pipeline, Path]) -> None:
    pipeline, log = guarded
    get(guarded, f"/healthz?token={TOKEN}").read()
    assert TOKEN not in log.read_text()
    everything = subprocess.run(["ps", "-eo", "args", "-ww"], capture_output=True, text=True, check=True).stdout
    assert "lipwire" in everything
    assert TOKEN not in everything
    for process in pipeline.processes():
        assert TOKEN not in " ".join(process.environ().values())


def test_only_its_owner_can_open_what_lies_in_shared_memory(guarded: tuple[Pipeline, Path]) -> None:
    (folder,) = instance_folders_of(guarded[0].popen.pid)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder.stat().st_uid == os.getuid()
    assert any(folder.iterdir())


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "example.com"])
def test_nothing_listens_to_strangers_without_a_token(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    popen = start("--host", host)
    out, err = popen.communicate(timeout=60)
    assert popen.returncode != 0
    assert out == ""
    assert "--token-file" in err
    assert "--open-to-all" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--token-file", "/nonexistent"], "/nonexistent"),
        (["--certificate", "/nonexistent"], "--key"),
        (["--certificate", "/nonexistent", "--key", "/nonexistent"], "No such file"),
    ],
)
def test_what_cannot_be_used_is_said(options: list[str], words: str) -> None:
    popen = start(*options)
    _, err = popen.communicate(timeout=60)
    assert popen.returncode != 0
    assert words in err


def test_a_token_that_can_be_guessed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "x" * (TOKEN_LENGTH - 1))
    popen = start()
    _, err = popen.communicate(timeout=60)
    assert popen.returncode != 0
    assert str(TOKEN_LENGTH) in err


async def test_open_to_all_is_open(tmp_path: Path) -> None:
    with running(tmp_path / "log.txt", "--host", "0.0.0.0", "--open-to-all") as pipeline:
        async with websockets.connect(pipeline.ws.replace("0.0.0.0", "127.0.0.1")) as connection:
            await connection.send('{"action": "list_models"}')
            assert "default" in str(await asyncio.wait_for(connection.recv(), 20))


class TestAllowance:
    def test_a_burst_passes_a_flood_does_not_and_time_mends_it(self) -> None:
        now = 0.0
        allowance = Allowance(10, lambda: now)
        assert [allowance.take() for _ in range(11)] == [True] * 10 + [False]
        now += 0.1
        assert [allowance.take() for _ in range(2)] == [True, False]
