"""The files of deploy/, by the programs that they are for: nginx before a running lipwire, systemd's own check."""

import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Origin

from tests.running import ROOT, Pipeline, free_port, wait_until

DEPLOY = ROOT / "deploy"
NAME = "lipwire.example.com"


def self_signed(folder: Path) -> ssl.SSLContext:
    """A certificate for NAME, and a client that trusts it alone."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=x"]
    command += ["-keyout", "key.pem", "-out", "cert.pem", "-addext"]
    subprocess.run([*command, f"subjectAltName=DNS:{NAME}"], cwd=folder, check=True, capture_output=True)
    return ssl.create_default_context(cafile=str(folder / "cert.pem"))


class Nginx:
    """deploy/nginx.conf before `pipeline`, on ports of its own."""

    def __init__(self, folder: Path, pipeline: Pipeline) -> None:
        self.tls = self_signed(folder)
        self.port, self.plain = free_port(), free_port()
        text = (DEPLOY / "nginx.conf").read_text()
        for pattern, becomes in (
            ("127.0.0.1:8080", pipeline.address.removeprefix("http://")),
            ("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl"),
            ("listen 80", f"listen 127.0.0.1:{self.plain}"),
            (r"/etc/\S+fullchain.pem", str(folder / "cert.pem")),
            (r"/etc/\S+privkey.pem", str(folder / "key.pem")),
        ):
            text, count = re.subn(pattern, becomes, text)
            assert count == 1, pattern
        paths = "".join(
            f"{kind}_temp_path {folder}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        main = f"daemon off; pid {folder}/pid; error_log {folder}/error.log; events {{}} "
        (folder / "nginx.conf").write_text(f"{main} http {{ access_log off; {paths} {text} }}")
        self.popen = subprocess.Popen(["nginx", "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")])

    def listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except OSError:
            assert self.popen.poll() is None, "nginx has ended"
            return False
        return True

    def connected(self) -> socket.socket:
        """To be used as if it were NAME's port 443."""
        return socket.create_connection(("127.0.0.1", self.port))


@pytest.fixture
def nginx(tmp_path: Path, pipeline: Pipeline) -> Iterator[Nginx]:
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    started = Nginx(tmp_path, pipeline)
    wait_until(started.listens)
    yield started
    started.popen.terminate()
    started.popen.wait(10)


def test_nginx_passes_the_websocket_over_tls_and_refuses_other_sites(nginx: Nginx) -> None:
    url = f"wss://{NAME}/ws"
    silence = "A" * 40_960
    ask = {"action": "generate_frame", "frame_id": 7, "audio_data": silence, "use_real_audio": True}
    with connect(url, sock=nginx.connected(), ssl=nginx.tls, origin=Origin(f"https://{NAME}"), max_size=None) as own:
        own.send(json.dumps(ask))
        assert json.loads(own.recv(10))["success"]
    with pytest.raises(InvalidStatus, match="403"):
        connect(url, sock=nginx.connected(), ssl=nginx.tls, origin=Origin("https://elsewhere.example.com"))


def test_nginx_serves_the_page_by_https_alone(nginx: Nginx) -> None:
    with nginx.tls.wrap_socket(nginx.connected(), server_hostname=NAME) as page:
        page.sendall(f"GET / HTTP/1.0\r\nHost: {NAME}\r\n\r\n".encode())
        assert b"<title>lipwire" in b"".join(iter(lambda: page.recv(65_536), b""))

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_: object, **__: object) -> None:
            return None

    request = urllib.request.Request(f"http://127.0.0.1:{nginx.plain}/x?y=1", headers={"Host": NAME})
    with pytest.raises(urllib.error.HTTPError) as moved:
        urllib.request.build_opener(Stay).open(request)
    assert (moved.value.code, moved.value.headers["Location"]) == (301, f"https://{NAME}/x?y=1")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd")
def test_systemd_understands_the_unit_and_its_sandbox(tmp_path: Path) -> None:
    unit = tmp_path / "lipwire.service"
    unit.write_text((DEPLOY / "lipwire.service").read_text().replace("/opt/lipwire/bin/lipwire", sys.executable))
    checked = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")
    # 10 is no sandbox at all; systemd calls what is under 2.5 good.
    command = ["systemd-analyze", "security", "--offline=yes", "--threshold=25", str(unit)]
    exposed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert exposed.returncode == 0, exposed.stdout
