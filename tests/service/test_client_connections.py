"""What becomes of connections that fail: refused, reset, silent, dripping, not to be trusted."""

from __future__ import annotations

import asyncio
import ssl
import subprocess
import time
from email.utils import formatdate

import pytest
from rawserver import PAGE, Hidden, TokenEndpoint, answering, reply, said, service, serving

from syncer.errors import ConfigError, Refused, SyncerError, Unavailable
from syncer.service.auth import StaticToken
from syncer.service.client import Connection, ImageService


async def open_port() -> int:
    """A port on which nobody listens."""
    async with serving(answering(reply())) as server:
        return server.port


async def failing(url: str, **settings) -> SyncerError:
    defaults = {"credentials": StaticToken(Hidden("canary-static")), "retries": 1, "stall_seconds": 5}
    connection = Connection(url, url, **{**defaults, **settings})
    async with ImageService.open(connection, sleep=lambda seconds: asyncio.sleep(0)) as opened:
        with pytest.raises(SyncerError) as caught:
            await opened.page("w", 1)
        caught.value.requests = opened.requests
    assert "canary" not in said(caught.value)
    return caught.value


async def test_refused_connection_says_so():
    """Nobody listens there: repeated, then told with its cause."""
    error = await failing(f"http://127.0.0.1:{await open_port()}/api")

    assert isinstance(error, Unavailable)
    assert (error.facts["cause"], error.requests) == ("refused", 2)


async def test_unknown_name_says_so():
    """No such host: repeated, then told with its cause."""
    error = await failing("http://no-such-host.invalid/api")

    assert isinstance(error, Unavailable)
    assert error.facts["cause"] == "dns"


async def test_reset_connection_says_so():
    """A connection that breaks before the answer."""

    async def reset(writer):
        writer.transport.abort()

    async with serving(answering(reset)) as server:
        error = await failing(f"{server.url}/api")
    assert isinstance(error, Unavailable)
    assert error.facts["cause"] == "reset"


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[", b"HTTP/1.1 20"])
async def test_silence_is_noticed(start):
    """An answer that stops before its head, within it or within its body is given up after `stall_seconds`."""
    over = asyncio.Event()

    async def stall(writer):
        writer.write(start)
        await over.wait()

    async with serving(answering(stall)) as server:
        error = await failing(f"{server.url}/api", stall_seconds=0.1, retries=0)
        over.set()
    assert isinstance(error, Unavailable)
    assert error.facts["cause"] == "timeout"


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"])
async def test_dripping_is_noticed(head):
    """A byte now and then, in the head or in the body, does not hold an attempt for ever."""

    async def drip(writer):
        writer.write(head)
        while True:
            writer.write(b"H")
            await writer.drain()
            await asyncio.sleep(0.02)

    async with serving(answering(drip)) as server:
        async with asyncio.timeout(5):
            error = await failing(f"{server.url}/api", stall_seconds=0.1, retries=0)
    assert isinstance(error, Unavailable)
    assert error.facts["cause"] == "timeout"


@pytest.mark.parametrize("refusing", ["/token", "/api"])
async def test_document_that_drips_fast_enough_is_given_up_after_a_while(refusing):
    """Steady progress is enough for a picture; a document or a token comes within `retry_seconds` or not at all."""

    async def drip(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n")
        while True:
            writer.write(b" " * 2048)
            await writer.drain()
            await asyncio.sleep(0.02)

    dripping = {refusing: drip}
    token = TokenEndpoint()
    async with service(
        lambda request: dripping.get("/api", reply(body=PAGE)),
        token=lambda request: dripping.get("/token") or token(request),
        retry_seconds=0.3,
        retries=0,
    ) as (opened, _):
        async with asyncio.timeout(5):
            with pytest.raises(Unavailable) as caught:
                await opened.page("w", 1)
    assert caught.value.facts["cause"] == "timeout"
    assert "canary" not in said(caught.value)


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
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
    return own, context


async def test_certificate_of_our_own_authority_is_accepted(certificate):
    """`ca_file` adds to the authorities that are trusted."""
    own, context = certificate
    async with service(answering(reply(body=PAGE)), tls=context, ca_file=str(own)) as (opened, _):
        assert (await opened.page("w", 1)).rows == 1


async def test_unknown_certificate_is_told_at_once(certificate):
    """A certificate that is not valid is not asked again, and the error says what is wrong with it."""
    _, context = certificate
    async with serving(answering(reply(body=PAGE)), tls=context) as server:
        error = await failing(f"{server.url}/api")

    assert server.requests == []
    assert (error.facts["cause"], error.requests) == ("tls", 1)
    assert "self-signed" in str(error.facts["reason"])


async def test_plain_answer_on_a_secure_port_is_told():
    """https towards a port that speaks http is a mistake in the URL, not a matter of patience."""

    async def plain(reader, writer):
        writer.write(b"HTTP/1.1 400 X\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        error = await failing(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/api")
    assert isinstance(error, Unavailable)
    assert (error.facts["cause"], error.requests) == ("tls", 1)


async def test_missing_authority_file_is_a_mistake_in_the_configuration(tmp_path):
    """What is wrong with `ca_file` is told before anything is asked."""
    empty = tmp_path / "empty.pem"
    empty.touch()
    for file in (empty, tmp_path / "missing.pem"):
        connection = Connection("http://127.0.0.1/", "http://127.0.0.1/", StaticToken(Hidden("x")), ca_file=str(file))
        with pytest.raises(ConfigError):
            async with ImageService.open(connection):
                pass


async def test_metadata_address_is_never_asked():
    """Not even a configuration leads to the address where clouds keep their credentials."""
    error = await failing("http://169.254.169.254/api")

    assert isinstance(error, Refused)
    assert error.requests == 0


async def test_clock_skew_is_told():
    """Our clock is compared with the service's own `Date`."""
    dated = reply(body=PAGE, Date=formatdate(time.time() - 3600, usegmt=True))
    async with service(answering(dated)) as (opened, _):
        assert opened.clock_skew is None
        await opened.page("w", 1)
        assert opened.clock_skew == pytest.approx(3600, abs=5)


async def test_environment_does_not_reroute_requests(monkeypatch):
    """A proxy in the environment is not handed the token."""
    async with serving(answering(reply())) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        async with service(answering(reply(body=PAGE))) as (opened, _):
            await opened.page("w", 1)
    assert proxy.requests == []


async def test_cookies_are_not_kept():
    """A gateway's session does not follow us from one request to the next."""
    async with serving(answering(reply(body=PAGE, Set_Cookie="session=x; Path=/"))) as server:
        url = f"http://localhost:{server.port}"
        async with ImageService.open(Connection(url, url, StaticToken(Hidden("x")))) as opened:
            await opened.page("w", 1)
            await opened.page("w", 2)
    assert "cookie" not in server.requests[1].headers
