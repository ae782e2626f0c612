"""How a picture leaves: in pieces, over a connection of its own, for as long as it goes on. `service/sending.py`"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
import subprocess
import tracemalloc
from contextlib import suppress

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import StreamWriter
from hypothesis import given, settings
from hypothesis import strategies as st
from rawserver import PAGE, SECRET, Hidden, TokenEndpoint, answering, no_sleep, reply, service, serving
from upload_parts import LARGE, PICTURE, failure, playing

from syncer.errors import Refused, Unavailable
from syncer.service.auth import ClientCredentials, StaticToken
from syncer.service.client import Connection, ImageService
from syncer.service.sending import PIECE
from syncer.service.upload import Inline, Remote, outgoing

CREATED = reply(201, {"id": "new"})


# --- the body -----------------------------------------------------------------------------------------


class Writer(StreamWriter):
    """Keeps what is written."""

    transport = None

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    async def write(self, piece: bytes) -> None:
        self.pieces.append(piece)


def written(source) -> tuple[bytes, int | None, int]:
    """The body as it leaves, the length that its head promises, and the longest piece of it."""
    body, writer = outgoing(source), Writer()
    asyncio.run(body.write(writer))
    return b"".join(writer.pieces), body.size, max(map(len, writer.pieces))


SIZES = st.integers(0, 20) | st.sampled_from([n * PIECE + step for n in (1, 2) for step in (-2, -1, 0, 1, 2)])


@settings(deadline=None, max_examples=60)
@given(size=SIZES, seed=st.binary(min_size=1, max_size=9), media_type=st.text())
def test_any_picture_comes_out_as_it_went_in(size, seed, media_type):
    """For any bytes and media type: the promised length is exact, it is JSON, and it holds these very bytes."""
    content = (seed * (size // len(seed) + 1))[:size]

    body, length, longest = written(Inline(media_type, content))

    assert length == len(body)
    uri = json.loads(body)["imageUrl"]
    assert uri == f"data:{media_type};base64,{base64.b64encode(content).decode()}"
    assert longest <= max(PIECE // 3 * 4, len(json.dumps(media_type)) + 40)


@given(address=st.text())
def test_any_address_comes_out_as_it_went_in(address):
    """Whatever is in it."""
    body, length, _ = written(Remote(address))

    assert length == len(body)
    assert json.loads(body) == {"imageUrl": address}


async def test_a_large_picture_is_never_in_memory_twice():
    """32 MiB leave as 43 MiB of base64 and cost less than 4 MiB on the way."""
    picture = Inline("image/png", bytes(32 * 2**20))
    taken = 0

    async def take(reader, writer):
        nonlocal taken
        while taken < len(picture.body) * 4 // 3:
            taken += len(await reader.read(2**16))
        writer.write(CREATED)
        await writer.drain()

    async with playing(take) as opened:
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            tracemalloc.reset_peak()
            await opened.upload("w", picture)
            peak = tracemalloc.get_traced_memory()[1] - before
        finally:
            tracemalloc.stop()

    assert taken >= 44_739_242
    assert peak < 4 * 2**20


# --- connections --------------------------------------------------------------------------------------


async def test_each_upload_has_a_connection_of_its_own():
    """One that was kept alive may be closing just then, and nobody would know whether the upload had arrived."""

    def answer(request):
        return reply(body=PAGE) if request.method == "GET" else CREATED

    async with service(answer) as (opened, server):
        await opened.page("w", 1)
        kept = server.connections
        for _ in range(3):
            await opened.upload("w", PICTURE)
        await opened.page("w", 1)

    assert server.connections == kept + 3
    assert [request.headers.get("connection") for request in server.requests if "images" in request.path] == [
        *(None, "close", "close", "close", None)
    ]


@pytest.mark.parametrize("cause", ["refused", "dns"])
async def test_a_service_that_is_not_there_got_nothing(cause):
    """A refused connection, an unknown name: tried again, and surely nothing was carried out."""
    async with serving(answering(CREATED)) as gone:
        pass
    host = gone.url if cause == "refused" else "http://no-such-host.invalid"
    async with serving(TokenEndpoint()) as granting:
        connection = Connection(
            f"{host}/api", f"{granting.url}/token", ClientCredentials("me", Hidden(SECRET)), retries=2, stall_seconds=60
        )
        async with ImageService.open(connection, sleep=no_sleep) as opened:
            error = await failure(opened)

    assert type(error) is Unavailable
    assert (error.facts["cause"], opened.requests) == (cause, 1 + 3)


async def test_a_certificate_that_nobody_vouches_for_got_nothing(tmp_path):
    """The picture goes out only once it is known to whom."""
    context, _ = certificate(tmp_path)
    async with serving(answering(CREATED), tls=context) as server:
        connection = Connection(f"{server.url}/api", server.url, StaticToken(Hidden("canary-static")), stall_seconds=60)
        async with ImageService.open(connection, sleep=no_sleep) as opened:
            error = await failure(opened)

    assert type(error) is Unavailable
    assert (error.facts["cause"], server.requests) == ("tls", [])


async def test_a_large_picture_arrives_over_tls(tmp_path):
    """Encrypted, it is the same."""
    context, authority = certificate(tmp_path)
    async with service(answering(CREATED), tls=context, ca_file=str(authority)) as (opened, server):
        assert (await opened.upload("w", LARGE)).id == "new"

    sent = json.loads(server.requests[-1].body)["imageUrl"].partition(",")[2]
    assert base64.b64decode(sent) == LARGE.body


def certificate(folder):
    """A server's context with a certificate for 127.0.0.1 that signs itself, and the file to trust it by."""
    key, own = folder / "key.pem", folder / "cert.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", own],
        check=True,
        capture_output=True,
    )
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(own, key)
    return context, own


async def test_a_connection_that_is_gone_before_the_first_byte_got_nothing():
    """A service that restarts lets us connect and hangs up: nothing could be written, and that is known."""
    async with serving(answering(CREATED)) as server:
        _, connected = await asyncio.open_connection("127.0.0.1", server.port)
        protocol = BaseProtocol(asyncio.get_running_loop())
        protocol.transport = connected.transport
        writer, body = StreamWriter(protocol, asyncio.get_running_loop()), outgoing(PICTURE)
        connected.transport.abort()

        with pytest.raises(ConnectionError):
            await body.write(writer)
    assert not body.begun


# --- early answers ------------------------------------------------------------------------------------


@pytest.mark.parametrize("farewell", ["at once", "broken", "after the rest"])
async def test_an_answer_before_the_end_is_an_answer(farewell):
    """A service that sees from the head that a picture is too large: what it said counts, not that sending failed."""

    async def refuse(reader, writer):
        writer.write(reply(413, {"error": "Too large"}))
        await writer.drain()
        if farewell == "after the rest":
            while await reader.read(2**16):
                pass
        elif farewell == "broken":
            writer.transport.abort()

    async with playing(refuse) as opened:
        error = await failure(opened, LARGE)

    assert type(error) is Refused
    assert (error.status, opened.statuses[413]) == (413, 1)


async def test_an_answer_that_is_here_is_read_before_more_is_written():
    """Behind it the connection may be closed, and the failure of a write would hide what was said."""
    heard: list[bytes] = []

    class Listener(BaseProtocol):
        def data_received(self, data: bytes) -> None:
            heard.append(data)

    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        transport, listener = await loop.create_connection(lambda: Listener(loop), *listening.getsockname())
        peer, _ = listening.accept()
        with peer:
            transport.write(b"head")
            assert peer.recv(1) == b"h"  # what is not read makes the end a hard one
            peer.sendall(b"413")
    with suppress(ConnectionError):
        await outgoing(LARGE).write(StreamWriter(listener, loop))
    transport.abort()

    assert heard == [b"413"]


async def test_what_is_answered_is_not_sent_to_its_end():
    """Nobody wants the rest; and it would break the connection before the answer's words are read."""
    taken = 0

    async def refuse(reader, writer):
        nonlocal taken
        answer = reply(413, {"error": "Too large"})
        writer.write(answer[:-5])
        with suppress(TimeoutError):
            while taken < len(LARGE.body):
                taken += len(await asyncio.wait_for(reader.read(2**16), 0.2))
        writer.write(answer[-5:])
        await writer.drain()

    async with playing(refuse) as opened:
        error = await failure(opened, LARGE)

    assert error.facts["said"] == "Too large"
    assert taken < len(LARGE.body)
