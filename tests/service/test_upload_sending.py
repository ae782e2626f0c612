"""How a picture leaves: in pieces, over a connection of its own, for as long as it goes on. `service/sending.py`"""

from __future__ import annotations

import asyncio
import base64
import json
import ssl
import subprocess
import tracemalloc

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import StreamWriter
from hypothesis import given, settings
from hypothesis import strategies as st
from rawserver import PAGE, SECRET, Hidden, TokenEndpoint, answering, no_sleep, reply, service, serving
from upload_parts import LARGE, PICTURE, Clockwork, failure, playing

from syncer.errors import Refused, Unavailable, Unsettled
from syncer.service import upload
from syncer.service.auth import ClientCredentials, StaticToken
from syncer.service.client import Connection, ImageService
from syncer.service.sending import PIECE, going_on
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


# --- lost answers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 201 Cre", b"SSH-2.0-OpenSSH_9\r\n\r\n"])
@pytest.mark.parametrize("farewell", [True, False])
@pytest.mark.parametrize("read", [0, 1, None])
async def test_a_connection_that_ends_without_an_answer_leaves_it_open(answer, farewell, read):
    """Before, while and after the body arrives: it may have been carried out, and is sent once."""
    connections = 0

    async def hang_up(reader, writer):
        nonlocal connections
        connections += 1
        if read is None:
            await reader.readexactly(len(LARGE.body) * 4 // 3)
        else:
            await reader.readexactly(read)
        writer.write(answer)
        await writer.drain()
        writer.close() if farewell else writer.transport.abort()

    async with playing(hang_up) as opened:
        error = await failure(opened, LARGE)

    assert isinstance(error, Unsettled)
    assert (error.accepted, connections) == (False, 1)


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 201 Cre"])
@pytest.mark.parametrize("source", [PICTURE, LARGE])
async def test_silence_is_noticed(start, source, monkeypatch):
    """No answer, or half the head of one, whether the body has left or stands in all buffers: over after a while."""
    clock = Clockwork(monkeypatch)

    async def fall_silent(reader, writer):
        writer.write(start)
        await writer.drain()
        while True:
            await asyncio.sleep(0.01)
            await clock.advance(5)  # what is on its way may still arrive, and counts

    async with playing(fall_silent, stall_seconds=60) as opened:
        error = await failure(opened, source)

    assert isinstance(error, Unsettled)
    assert (error.accepted, error.facts["cause"]) == (False, "timeout")


async def test_a_yes_that_never_ends_is_accepted(monkeypatch):
    """A head that says 201, and then silence."""
    clock = Clockwork(monkeypatch)

    async def stop(reader, writer):
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 99\r\n\r\n{")
        while True:
            await asyncio.sleep(0.01)
            await clock.advance(5)

    async with playing(stop, stall_seconds=60) as opened:
        error = await failure(opened)

    assert isinstance(error, Unsettled)
    assert (error.accepted, error.facts["cause"]) == (True, "timeout")


async def test_cancelling_ends_the_connection():
    """Whoever cancels an upload is not held up, and knows that it may have been carried out."""
    begun, ended = asyncio.Event(), asyncio.Event()

    async def wait_for_the_end(reader, writer):
        begun.set()
        while await reader.read(2**16):
            pass
        ended.set()

    async with playing(wait_for_the_end) as opened:
        sending = asyncio.create_task(opened.upload("w", LARGE))
        await begun.wait()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        await ended.wait()


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


# --- slow lines ---------------------------------------------------------------------------------------


async def test_progress_is_all_it_takes(monkeypatch):
    """What goes on at least once in the patience may last many times as long; what stops is over."""
    clock, progress, moved = Clockwork(monkeypatch), 0, 0

    def note() -> None:
        nonlocal moved
        moved += 1

    answer = asyncio.get_running_loop().create_future()
    waiting = asyncio.create_task(going_on(answer, lambda: progress, 10, note))
    await clock.advance(0)
    for _ in range(10):
        progress += 1
        await clock.advance(9)
    assert (moved, waiting.done()) == (10, False)

    await clock.advance(9)
    assert not waiting.done()
    await clock.advance(2)
    with pytest.raises(TimeoutError):
        await waiting


async def test_an_answer_ends_the_watch(monkeypatch):
    """Nobody looks at the progress of what is answered."""
    clock, looks = Clockwork(monkeypatch), 0

    def progress() -> int:
        nonlocal looks
        looks += 1
        return looks

    answer = asyncio.get_running_loop().create_future()
    answer.set_result("there")
    assert await going_on(answer, progress, 10, lambda: None) == "there"
    seen = looks
    await clock.advance(100)
    assert looks == seen


async def test_progress_that_comes_too_late_changes_nothing(monkeypatch):
    """While what has run out of time is cleared away, nobody minds that it moves."""
    clock, progress, moved, complaints = Clockwork(monkeypatch), 0, [], []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))

    async def reluctant():
        nonlocal progress
        try:
            await asyncio.Event().wait()
        finally:
            progress += 1
            await clock.advance(5)

    waiting = asyncio.create_task(going_on(reluctant(), lambda: progress, 10, lambda: moved.append(progress)))
    await clock.advance(0)
    await clock.advance(11)
    with pytest.raises(TimeoutError):
        await waiting
    assert (moved, complaints) == ([], [])


async def test_a_slow_line_that_goes_on_outlives_the_patience(monkeypatch):
    """A service that takes a little at a time gets all of it, seven times the patience later."""
    clock, bodies = Clockwork(monkeypatch), []

    def kept(source):
        bodies.append(outgoing(source))
        return bodies[-1]

    monkeypatch.setattr(upload, "outgoing", kept)

    async def take_slowly(reader, writer):
        (body,) = bodies
        for _ in range(8):
            before = body.progress
            while body.progress == before:
                await reader.read(4096)
            await clock.advance(0.9 * 60)
        while not writer.is_closing() and body.progress < body.size:
            await reader.read(2**16)
        writer.write(CREATED)
        await writer.drain()

    async with playing(take_slowly, receive_buffer=4096, stall_seconds=60) as opened:
        before = opened.activity
        assert (await opened.upload("w", LARGE)).id == "new"
        assert opened.activity >= before + 8
