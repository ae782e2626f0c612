"""When an upload is given up, and what is known of it then: lost answers, dead lines; slow ones go on."""

from __future__ import annotations

import asyncio
import socket

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import StreamWriter
from rawserver import reply
from upload_parts import LARGE, PICTURE, Clockwork, failure, playing

from syncer.errors import Unsettled
from syncer.service import upload
from syncer.service.sending import going_on
from syncer.service.upload import Inline, outgoing

CREATED = reply(201, {"id": "new"})


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
        for _ in range(200):
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
        for _ in range(200):
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
    assert waiting.done()
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


async def test_what_arrives_is_progress_when_all_is_written():
    """Megabytes may stand in the system's buffers for minutes: only what the other side has taken tells."""
    loop = asyncio.get_running_loop()
    with socket.socket() as listening, socket.socket() as sending:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        sending.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**18)
        sending.connect(listening.getsockname())
        peer, _ = listening.accept()
        peer.settimeout(5)
        transport, protocol = await loop.create_connection(lambda: BaseProtocol(loop), sock=sending)
        body = outgoing(Inline("image/png", bytes(3 * 2**15)))  # less than one side's buffers, more than the other's
        await body.write(StreamWriter(protocol, loop))

        written = body.progress
        async with asyncio.timeout(20):
            while body.progress == written:
                assert peer.recv(4096)
                await asyncio.sleep(0.001)
        transport.abort()
        peer.close()


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
