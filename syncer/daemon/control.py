"""Reach the running daemon: a Unix socket that only its own user and root may open, one JSON line each way.

Whoever connects says what it asks for and gets one answer. What is asked, and whether it may be, is for the daemon.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import stat
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from tempfile import gettempdir
from typing import Any

import msgspec
import structlog

from syncer.errors import AlreadyRunning, ConfigError, SyncerError

log = structlog.get_logger()

LONGEST_LINE = 64 * 1024
PATIENCE = 10.0  # seconds for whoever connects to say what it wants
_LONGEST_ADDRESS = 100  # bytes; the kernel takes a little more

Message = dict[str, Any]
Handler = Callable[[Message], Awaitable[Message]]


def address(configured: Path | None, archive: Path, environ: Mapping[str, str]) -> Path:
    """Say where a daemon for this archive listens: as configured, else in the runtime folder that it has."""
    if configured is not None:
        return configured
    if given := environ.get("RUNTIME_DIRECTORY"):  # from a service manager: this service's alone
        return Path(given.split(":")[0]) / "control.sock"
    name = f"{hashlib.sha256(os.fsencode(archive.absolute())).hexdigest()[:12]}.sock"
    if runtime := environ.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "syncer" / name
    return Path(gettempdir()) / f"syncer-{os.getuid()}" / name


@asynccontextmanager
async def listening(path: Path, handle: Handler) -> AsyncIterator[None]:
    """Answer at `path` for the block. Raises `AlreadyRunning` if somebody does already, `ConfigError` if we cannot."""
    with _problems(path):
        _prepare(path.parent)
        _clear(path)
        door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with _short(path) as short:
                door.bind(short)
            path.chmod(0o600)  # nobody can connect before it listens
            door.listen()  # at once: one that does not looks dead to another daemon
        except BaseException:
            door.close()
            raise
    conversations: set[asyncio.Task[None]] = set()

    async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  we are inside it
        conversations.add(task)
        try:
            with suppress(asyncio.CancelledError):  # by us, at the end; Python's streams would log it as a mistake
                await _converse(reader, writer, handle)
        finally:
            conversations.discard(task)
            writer.close()

    server = await asyncio.start_unix_server(converse, sock=door, limit=LONGEST_LINE)
    try:
        yield
    finally:
        server.close()
        for task in conversations:
            task.cancel()
        await asyncio.gather(*conversations, return_exceptions=True)
        with suppress(OSError):
            path.unlink()


async def _converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, handle: Handler) -> None:
    with suppress(OSError, TimeoutError):  # whoever asked has left, or never said what it wanted
        async with asyncio.timeout(PATIENCE):
            try:
                line = await reader.readline()
            except ValueError:  # longer than anything that can be meant
                line = b""
        answer = await _answer(line, handle)
        writer.write(msgspec.json.encode(answer, enc_hook=str) + b"\n")
        await writer.drain()


async def _answer(line: bytes, handle: Handler) -> Message:
    try:
        asked = msgspec.json.decode(line, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {"ok": False, "message": "that is not a line of JSON", "exit_code": ConfigError.exit_code}
    try:
        return {"ok": True, **await handle(asked)}
    except SyncerError as error:
        return {"ok": False, "message": str(error), "hint": error.hint, "exit_code": error.exit_code}
    except Exception as error:  # whoever asks is told of a bug as well, and the daemon goes on
        log.exception("daemon.bug")
        return {"ok": False, "message": f"a bug in the daemon: {type(error).__name__}", "exit_code": 1}


async def ask(paths: tuple[Path, ...], request: Message) -> Message:
    """Ask the daemon that listens at the first of these paths that somebody listens at; `ok` says whether it agreed.

    Raises `ConfigError` where no daemon can be reached. Waits for as long as the daemon takes to answer.
    """
    for path in paths:
        try:
            with _short(path) as short:
                reader, writer = await asyncio.open_unix_connection(short, limit=2**24)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
            continue
        except PermissionError as error:
            hint = "ask as the daemon's own user, or as root: sudo syncer …"
            raise ConfigError("the daemon may not be asked by this user", hint=hint, socket=path) from error
        try:
            writer.write(msgspec.json.encode(request) + b"\n")
            await writer.drain()
            line = await reader.readline()
            return msgspec.json.decode(line, type=dict[str, Any])
        except (OSError, ValueError, msgspec.MsgspecError) as error:
            raise ConfigError("the daemon ended before it answered", socket=path) from error
        finally:
            writer.close()
    raise ConfigError(
        "no daemon is running",
        hint="start one with `syncer run`, or do the work here: `syncer backup`",
        socket=paths[0],
    )


def _prepare(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder == Path(gettempdir()) / f"syncer-{os.getuid()}" and folder.lstat().st_uid != os.getuid():
        raise PermissionError(1, "the folder belongs to somebody else")


def _clear(path: Path) -> None:
    """Remove the socket that a killed daemon left. Raises `AlreadyRunning` for one that is alive."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise FileExistsError(17, "there is something else in its place")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe, _short(path) as short:
            probe.setblocking(False)
            try:
                with suppress(BlockingIOError):  # it listens, to more than it can answer just now
                    probe.connect(short)
            except ConnectionRefusedError:
                path.unlink()
            else:
                raise AlreadyRunning(
                    "another daemon listens at this socket", hint="give each its own daemon.socket", socket=path
                )


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Give an address that the kernel's narrow bound for them admits, however deep the folder lies."""
    if len(os.fsencode(path)) <= _LONGEST_ADDRESS:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


@contextmanager
def _problems(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = "set daemon.socket to a path that the daemon may write"
        raise ConfigError("the control socket cannot be made", hint=hint, socket=path, reason=error.strerror) from error
