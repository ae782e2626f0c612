"""The control socket: for its own user alone, one daemon each, and nothing that is sent there harms it."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from patience import without_waiting

from syncer.daemon import control
from syncer.daemon.control import LONGEST_LINE, Message, address, ask, listening
from syncer.errors import AlreadyRunning, ConfigError, SafetyStop

OTHER = """
import socket, sys, os
door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
os.chdir(os.path.dirname(sys.argv[1]))
door.bind(os.path.basename(sys.argv[1]))
door.listen()
print("listening", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "control.sock"


@pytest.fixture(autouse=True)
async def _nothing_unseen() -> AsyncIterator[None]:
    """No exception ends in the loop's handler, where it would be a line in the log and nothing else."""
    unseen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    yield
    assert not unseen


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def another_daemon(path: Path) -> Iterator[None]:
    """Another process that listens there, and is killed at the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-c", OTHER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == b"listening\n"
        try:
            yield
        finally:
            process.kill()


async def echo(message: Message) -> Message:
    return {"message": message.get("say")}


@asynccontextmanager
async def connected(path: Path) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    with control._short(path) as short:
        reader, writer = await asyncio.open_unix_connection(short, limit=2**24)
    try:
        yield reader, writer
    finally:
        writer.close()


async def sent(path: Path, data: bytes) -> bytes:
    """Send these bytes and the end of them; returns the answer."""
    async with connected(path) as (reader, writer):
        try:
            writer.write(data)
            writer.write_eof()
            return await reader.read()
        except ConnectionError:
            return b""


# --- who may --------------------------------------------------------------------------------------------


async def test_nobody_else_may_connect_from_the_first_moment(path: Path, monkeypatch: pytest.MonkeyPatch):
    """Socket and folder are the user's alone before anybody can be listened to, whatever the umask."""
    modes = []
    listen = socket.socket.listen

    def spy(door: socket.socket, *backlog: int) -> None:
        modes.append(stat.S_IMODE(path.stat().st_mode))
        listen(door, *backlog)

    monkeypatch.setattr(socket.socket, "listen", spy)
    with umask(0):
        async with listening(path, echo):
            assert set(modes) == {0o600}
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.exists()


async def test_a_client_that_may_not_is_told_who_may(path: Path, monkeypatch: pytest.MonkeyPatch):
    """As the daemon's own user, or as root."""

    async def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")  # the tests may run as root, whom nothing is forbidden

    monkeypatch.setattr(asyncio, "open_unix_connection", forbidden)
    with pytest.raises(ConfigError, match="may not be asked by this user"):
        await ask((path,), {})


async def test_the_folder_of_somebody_else_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """In the common folder for temporary files, anybody may have been there before."""
    monkeypatch.setattr(control, "gettempdir", lambda: str(tmp_path))
    (tmp_path / "theirs").mkdir()
    folder = tmp_path / f"syncer-{os.getuid()}"
    folder.symlink_to(tmp_path / "theirs")
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    folder.rename(tmp_path / "syncer-4711")

    with pytest.raises(ConfigError, match="somebody else"):
        async with listening(address(None, tmp_path, {}), echo):
            pass
    assert list((tmp_path / "theirs").iterdir()) == []


# --- one daemon each ------------------------------------------------------------------------------------


async def test_the_socket_of_a_killed_daemon_is_replaced(path: Path):
    """It lies there, and nobody listens."""
    path.parent.mkdir()
    with another_daemon(path), pytest.raises(AlreadyRunning):
        async with listening(path, echo):
            pass
    assert path.is_socket()

    async with listening(path, echo):
        assert await ask((path,), {"say": "alive"}) == {"ok": True, "message": "alive"}


async def test_a_living_daemon_keeps_its_socket(path: Path):
    """The second one is refused, and the first goes on answering."""
    async with listening(path, echo):
        with pytest.raises(AlreadyRunning) as refused:
            async with listening(path, echo):
                pass
        assert refused.value.facts == {"socket": path}
        assert (await ask((path,), {"say": "still"}))["message"] == "still"


async def test_a_daemon_that_is_too_busy_to_answer_is_alive(path: Path):
    """Its queue of connections is full: looking does not wait, and it is not taken for dead."""
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as door, socket.socket(socket.AF_UNIX) as waiting:
        with control._short(path) as short:
            door.bind(short)
            door.listen(0)
            waiting.connect(short)
        with pytest.raises(AlreadyRunning), without_waiting():
            async with listening(path, echo):
                pass
    assert path.is_socket()


async def test_what_is_no_socket_is_left_alone(path: Path):
    """A configuration may name a file by mistake."""
    path.parent.mkdir()
    path.write_text("precious")
    with pytest.raises(ConfigError, match="cannot be made"):
        async with listening(path, echo):
            pass
    assert path.read_text() == "precious"


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path):
    """Before anything begins."""
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError) as refused:
        async with listening(tmp_path / "file" / "control.sock", echo):
            pass
    assert refused.value.hint == "set daemon.socket to a path that the daemon may write"


async def test_a_folder_may_lie_deeper_than_a_socket_can_be_named(tmp_path: Path):
    """The kernel's bound is 108 bytes, a team's folders know of none."""
    path = tmp_path.joinpath(*["a-rather-long-name-of-a-folder"] * 8) / "control.sock"
    assert len(bytes(path)) > 200
    for _ in range(2):
        async with listening(path, echo):
            assert (await ask((path,), {"say": "deep"}))["message"] == "deep"
            with pytest.raises(AlreadyRunning):
                async with listening(path, echo):
                    pass


def test_where_a_daemon_listens(tmp_path: Path):
    """As configured, in the folder of its service, in the user's, or in one that is made: one name for an archive."""
    configured = Path("/etc/somewhere.sock")
    assert address(configured, tmp_path, {"RUNTIME_DIRECTORY": "/run/syncer"}) == configured
    assert address(None, tmp_path, {"RUNTIME_DIRECTORY": "/run/syncer:/run/more"}) == Path("/run/syncer/control.sock")
    users = address(None, tmp_path, {"XDG_RUNTIME_DIR": "/run/user/7"})
    assert users.parent == Path("/run/user/7/syncer")
    assert users != address(None, tmp_path / "other", {"XDG_RUNTIME_DIR": "/run/user/7"})
    assert address(None, tmp_path, {}).name == users.name


# --- what is sent ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"hello\n",
        b"[]\n",
        b'"trigger"\n',
        b"\xff\xfe\n",
        b'{"ask": "\xff"}\n',
        b"[" * 60_000 + b"\n",
        b'{"a":' * 10_000 + b"\n",
        b"x" * (LONGEST_LINE + 1),
        b"x" * (4 * LONGEST_LINE) + b"\n",
    ],
    ids=lambda data: f"{data[:8]!r} {len(data)}",
)
async def test_what_is_no_message_is_answered_as_that(data: bytes, path: Path):
    """And the next who asks is answered as well."""
    async with listening(path, echo):
        answer = await sent(path, data)
        # Who sends more than is read may find the connection broken before it reads an answer.
        if answer or len(data) <= LONGEST_LINE:
            assert json.loads(answer) == {"ok": False, "message": "that is not a line of JSON", "exit_code": 2}
        assert (await ask((path,), {"say": "next"}))["message"] == "next"


async def test_a_line_without_its_end_is_a_line_when_nothing_follows(path: Path):
    """As `printf | socat` sends it."""
    async with listening(path, echo):
        assert json.loads(await sent(path, b'{"say": "so"}')) == {"ok": True, "message": "so"}


async def test_who_says_nothing_is_not_waited_for(path: Path, monkeypatch: pytest.MonkeyPatch):
    """For some seconds; it learns that by the end of the connection."""
    monkeypatch.setattr(control, "PATIENCE", 0.01)
    async with listening(path, echo), connected(path) as (reader, writer):
        writer.write(b'{"say": ')
        assert await reader.read() == b""


async def test_who_leaves_harms_nobody(path: Path):
    """In the middle of a word, or before the answer."""
    asked, go = asyncio.Event(), asyncio.Event()

    async def slow(message: Message) -> Message:
        if message.get("say") == "slowly":
            asked.set()
            await go.wait()
        return {"message": "x" * 2**20}

    async with listening(path, slow):
        async with connected(path) as (_, writer):
            writer.write(b'{"say":')
        async with connected(path) as (_, writer):
            writer.write(b'{"say": "slowly"}\n')
            await asked.wait()
        go.set()
        assert (await ask((path,), {}))["ok"]


async def test_many_are_answered_at_once(path: Path):
    """Each gets the answer to what it asked, while some hang."""
    go = asyncio.Event()

    async def some_wait(message: Message) -> Message:
        if message["say"] % 2:
            await go.wait()
        return {"message": message["say"]}

    async with listening(path, some_wait):
        asked = [asyncio.create_task(ask((path,), {"say": number})) for number in range(60)]
        for number in range(0, 60, 2):
            assert (await asked[number])["message"] == number
        go.set()
        for number in range(1, 60, 2):
            assert (await asked[number])["message"] == number


async def test_an_error_is_answered_with_its_words_and_its_code(path: Path):
    """A bug as well: who asks is not left in the dark, and the daemon lives."""

    async def fail(message: Message) -> Message:
        raise {"stop": SafetyStop("no archive", hint="mount it"), "bug": KeyError("x")}[message["say"]]

    async with listening(path, fail):
        stopped = {"ok": False, "message": "no archive", "hint": "mount it", "exit_code": 5}
        assert await ask((path,), {"say": "stop"}) == stopped
        bug = {"ok": False, "message": "a bug in the daemon: KeyError", "exit_code": 1}
        assert await ask((path,), {"say": "bug"}) == bug


async def test_its_end_does_not_wait_for_those_who_are_connected(path: Path):
    """Neither for one that says nothing nor for one that waits for an answer: both learn that it is over."""
    asked = asyncio.Event()

    async def never(_: Message) -> Message:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with asyncio.timeout(30), connected_while(path, never) as (silent, waiting):
        await asked.wait()
    assert await silent.read() == b""
    with pytest.raises(ConfigError, match="ended before it answered"):
        await waiting
    assert not path.exists()


@asynccontextmanager
async def connected_while(
    path: Path, handle: control.Handler
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.Task[Message]]]:
    """One that says nothing and one that waits, both of whom outlast the socket."""
    async with listening(path, handle):
        with control._short(path) as short:
            reader, writer = await asyncio.open_unix_connection(short)
        waiting = asyncio.create_task(ask((path,), {}))
        yield reader, waiting
    await asyncio.wait([waiting])
    writer.close()


async def test_the_end_is_the_end_also_where_the_folder_is_gone(path: Path):
    """A runtime folder may be cleared away under it."""
    async with listening(path, echo):
        path.unlink()
        path.parent.rmdir()


# --- who asks -------------------------------------------------------------------------------------------


async def test_the_first_that_listens_is_asked(path: Path, tmp_path: Path):
    """One path may be of a daemon that was killed, or of another machine's life."""
    dead = tmp_path / "dead.sock"
    with socket.socket(socket.AF_UNIX) as door, control._short(dead) as short:
        door.bind(short)
    async with listening(path, echo):
        answer = await ask((tmp_path / "nowhere" / "x.sock", dead, path), {"say": "here"})
    assert answer["message"] == "here"


async def test_without_a_daemon_it_says_what_to_do(path: Path):
    """How to start one, or how to do without."""
    with pytest.raises(ConfigError) as refused:
        await ask((path,), {})
    assert "syncer run" in refused.value.hint
    assert refused.value.exit_code == 2
