"""nginx on loopback that serves a corpus from plain files, over http and https, its API included."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from corpus import WORKSPACE

API = f"/api/image-service/v1/workspaces/{WORKSPACE}"
TOKEN = '{"access_token": "bench-token", "token_type": "Bearer", "expires_in": 14399}'

CONFIGURATION = """
daemon off; worker_processes 2; pid {state}/nginx.pid; error_log {state}/error.log warn; {user}
events {{ worker_connections 4096; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000; default_type image/png;
  types {{ application/json json; image/png png; image/jpeg jpg; }}
  client_body_temp_path {state}/body; proxy_temp_path {state}/proxy; fastcgi_temp_path {state}/fastcgi;
  uwsgi_temp_path {state}/uwsgi; scgi_temp_path {state}/scgi;
  ssl_certificate {state}/server.pem; ssl_certificate_key {state}/server.key; ssl_protocols TLSv1.3;
  {limit}
  server {{
    listen {host}:{http}; listen {host}:{https} ssl;
    root {root};
    location = {api}/images {{ rewrite ^ /pages/$arg_page.json break; {limited} }}
    location = {api} {{ default_type application/json; return 200 '{{"id": "{workspace}", "name": "bench"}}'; }}
    location = /token {{ default_type application/json; return 200 '{token}'; }}
    location /content/ {{ autoindex on; {limited} }}
    location = /served {{ stub_status; }}
  }}
}}
"""


@dataclass(frozen=True)
class Web:
    """A server that runs; `ca` is the file of the authority that its certificate is from."""

    http: int
    https: int
    ca: Path
    host: str = "127.0.0.1"  # where it listens
    far: str | None = None  # where clients find it, if that is somewhere else
    log: Path = Path()

    def origin(self, *, tls: bool) -> str:
        """Give scheme, host and port."""
        if tls:
            return f"https://{self.far or 'localhost'}:{self.https}"
        return f"http://{self.far or self.host}:{self.http}"

    def served(self) -> int:
        """Count the requests so far."""
        with urllib.request.urlopen(f"http://{self.host}:{self.http}/served") as answer:
            return int(answer.read().split()[9])

    def refused(self) -> int:
        """Count the requests so far that were refused because there were too many."""
        return self.log.read_text().count("limiting requests, excess")


@contextmanager
def serving(
    root: Path,
    state: Path,
    *,
    http: int,
    https: int,
    limit: str = "",
    limited: str = "",
    host: str = "127.0.0.1",
    far: str | None = None,
) -> Iterator[Web]:
    """Serve `root` until the block ends; `state` holds what nginx writes, `limit` and `limited` are its own words."""
    state.mkdir(parents=True, exist_ok=True)
    ca = certify(state)
    user = "user root;" if os.geteuid() == 0 else ""
    text = CONFIGURATION.format(
        state=state,
        root=root,
        http=http,
        https=https,
        host=host,
        api=API,
        workspace=WORKSPACE,
        token=TOKEN,
        user=user,
        limit=limit,
        limited=limited,
    )
    (state / "nginx.conf").write_text(text)
    nginx = shutil.which("nginx") or "/usr/sbin/nginx"
    process = subprocess.Popen([nginx, "-e", state / "start.log", "-c", state / "nginx.conf"])
    try:
        _wait_for(host, http)
        yield Web(http, https, ca, host, far, state / "error.log")
    finally:
        process.terminate()
        process.wait()


def free_ports(count: int) -> list[int]:
    """Find ports that nobody listens at."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def certify(state: Path) -> Path:
    """Make an authority and a certificate of it for localhost; returns the authority's file."""
    ca, key = state / "ca.pem", state / "ca.key"
    if not ca.exists():
        new = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj"]
        request = state / "server.csr"
        names = state / "names"
        names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1,IP:10.9.0.2\n")
        usage = ["-addext", "keyUsage=critical,keyCertSign"]
        for command in (
            [*new, "/CN=Benchmark CA", "-x509", *usage, "-keyout", key, "-out", ca],
            [*new, "/CN=localhost", "-keyout", state / "server.key", "-out", request],
            ["openssl", "x509", "-req", "-in", request, "-CA", ca, "-CAkey", key, "-CAcreateserial", "-days", "30",
             "-extfile", names, "-out", state / "server.pem"],
        ):  # fmt: skip
            subprocess.run(command, check=True, capture_output=True)
    return ca


def _wait_for(host: str, port: int) -> None:
    for _ in range(100):
        try:
            socket.create_connection((host, port), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError("nginx did not start")
