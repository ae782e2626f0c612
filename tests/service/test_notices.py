"""Notices go to one address, without anything of ours, and nobody learns the address from what went wrong."""

from __future__ import annotations

import asyncio
import gzip
import math
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from rawserver import RawServer, Reply, Request, reply, said, serving

from syncer.errors import ConfigError, Refused, SyncerError, Unavailable
from syncer.service.notices import Notices
from syncer.service.transport import certificates

CANARY = "canary-0d9e5b7c"  # stands in each address
TEXT = "text/plain; charset=utf-8"


def answering(*replies: Reply):
    """Answer with one after the other; the last one again and again."""
    left = list(replies)
    return lambda _request: left.pop(0) if len(left) > 1 else left[0]


async def failing(url: str, patience: float = 10.0) -> SyncerError:
    """What comes of a notice to this address, which nothing may tell."""
    async with Notices.open(patience=patience) as notices:
        with pytest.raises(SyncerError) as caught:
            await notices.post(url, b"hello", TEXT)
    assert CANARY not in said(caught.value)
    return caught.value


def address(server: RawServer) -> str:
    return f"{server.url}/hooks/{CANARY}?key={CANARY}"


async def test_a_notice_is_posted_as_it_is():
    """Body, type and address arrive to the letter, percent signs and query included."""
    async with serving(answering(reply(200, b"OK"))) as server, Notices.open() as notices:
        await notices.post(f"{server.url}/a%2Fb/%7Euser?x=%20+&y=1", "schön".encode(), TEXT)

    (request,) = server.requests
    assert (request.method, request.target) == ("POST", "/a%2Fb/%7Euser?x=%20+&y=1")
    assert request.body == "schön".encode()
    assert request.headers["content-type"] == TEXT


async def test_nothing_of_ours_goes_along(monkeypatch: pytest.MonkeyPatch):
    """No credential, no cookie that was set before, and no proxy that the environment names."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    async with serving(answering(reply(200, Set_Cookie="session=1; Path=/"))) as server, Notices.open() as notices:
        for _ in range(2):
            await notices.post(address(server), b"", TEXT)

    assert {name for request in server.requests for name in request.headers} == {
        "host",
        "user-agent",
        "accept",
        "accept-encoding",
        "content-type",
        "content-length",
        "connection",
    }
    assert server.connections == 2  # one that was kept for hours would be dead for the next notice


@pytest.mark.parametrize("status", [200, 201, 202, 204])
async def test_success_is_anything_below_300(status: int):
    """Receivers differ in how they say yes."""
    async with serving(answering(reply(status))) as server, Notices.open() as notices:
        await notices.post(address(server), b"", TEXT)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (408, Unavailable),
        (429, Unavailable),
        (500, Unavailable),
        (503, Unavailable),
        (400, Refused),
        (401, Refused),
        (404, Refused),
        (410, Refused),
    ],
)
async def test_a_failure_says_whether_a_retry_may_help(status: int, kind: type[SyncerError]):
    """And names the origin and the status, not the address."""
    async with serving(answering(reply(status, CANARY.encode()))) as server:
        error = await failing(address(server))
    assert type(error) is kind
    assert error.facts == {"origin": server.url, "status": status} | ({"code": None} if kind is Refused else {})


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_a_failure(status: int):
    """Whoever is pointed to would learn what we say, and the address that we say it to from its path."""

    def answer(request: Request) -> Reply:
        return reply(200) if request.path == "/elsewhere" else reply(status, Location=f"/elsewhere?{CANARY}")

    async with serving(answer) as server:
        error = await failing(address(server))
    assert (type(error), error.message) == (Refused, "the receiver is elsewhere, and redirects are not followed")
    assert server.paths() == [f"/hooks/{CANARY}"]


async def test_an_endless_answer_is_not_read():
    """Only its first line matters: neither its length nor what it unpacks to can hold us."""
    bomb = gzip.compress(b"0" * 50_000_000)

    async def for_ever(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 1000000000000\r\n\r\n" + bomb)
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    async with serving(answering(for_ever)) as server, Notices.open() as notices:
        async with asyncio.timeout(10):
            await notices.post(address(server), b"", TEXT)


async def test_a_receiver_that_hangs_is_left():
    """After the patience for one notice, whether nothing comes or a byte now and then."""
    reached = asyncio.Event()

    async def drip(writer: asyncio.StreamWriter) -> None:
        reached.set()
        writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    async def silence(_writer: asyncio.StreamWriter) -> None:
        reached.set()
        await asyncio.Event().wait()

    for hanging in (drip, silence):
        reached.clear()
        async with serving(answering(hanging)) as server:
            error = await failing(address(server), patience=0.3)
        assert (type(error), error.message) == (Unavailable, "the answer did not come in time")
        assert reached.is_set()


async def test_a_receiver_that_is_gone_is_unavailable():
    """No connection, or one that breaks: later it may be there again."""
    async with serving(answering(reply())) as server:
        pass
    gone = await failing(address(server))
    assert (type(gone), gone.message) == (Unavailable, "no connection can be made")

    async def hang_up(_writer: asyncio.StreamWriter) -> None: ...

    async with serving(answering(hang_up)) as server:
        broken = await failing(address(server))
    assert (type(broken), broken.message) == (Unavailable, "the connection broke")


@pytest.mark.parametrize("url", ["http://monitor.example/{}", "http://10.1.2.3/{}", "http://127.0.0.1.example/{}"])
async def test_nothing_is_said_in_the_clear(url: str):
    """http is for this machine: elsewhere everybody on the way could read the address."""
    error = await failing(url.format(CANARY))
    assert isinstance(error, Refused)
    assert error.facts["origin"] == url.removesuffix("/{}")


@pytest.mark.parametrize("url", ["", "{}", "ftp://h/{}", "https:///{}", "https://h:99999/{}", "https://[::1/{}"])
async def test_a_broken_address_is_refused(url: str):
    """Without a word of it."""
    assert isinstance(await failing(url.format(CANARY)), Refused)


# --- TLS ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, ssl.SSLContext]]:
    """A certificate for 127.0.0.1 that signs itself, and a server's context with it."""
    folder = tmp_path_factory.mktemp("tls")
    key, own = folder / "key.pem", folder / "cert.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", own],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(own, key)
    yield own, context


async def test_certificates_are_checked(certificate: tuple[Path, ssl.SSLContext]):
    """A receiver that nobody vouches for is told nothing, until its authority is named in `ca_file`."""
    own, context = certificate
    async with serving(answering(reply()), tls=context) as server:
        error = await failing(address(server))
        assert (type(error), error.message) == (Unavailable, "the server's certificate is not valid")
        assert server.requests == []

        async with Notices.open(ca_file=str(own)) as notices:
            await notices.post(address(server), b"", TEXT)
        assert len(server.requests) == 1


def test_an_authority_that_came_to_the_system_later_is_trusted_by_the_next_connection(
    certificate: tuple[Path, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
):
    """A daemon that runs for months and connects anew, as after SIGHUP, trusts what the system trusts by then."""
    own, _ = certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(own))
    trusted = certificates(None, clock=lambda: math.inf)
    assert isinstance(trusted, ssl.SSLContext)
    assert [authority["subject"] for authority in trusted.get_ca_certs()] == [((("commonName", "test"),),)]


async def test_broken_authorities_are_told_at_once(tmp_path: Path):
    """Before the first notice, when somebody is there to read it."""
    with pytest.raises(ConfigError):
        async with Notices.open(ca_file=str(tmp_path / "none.pem")):
            pass
