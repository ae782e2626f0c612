"""One process at a time: the archive's lock, and the name of who holds it.

There are three: one is held by whoever writes, for as long as it does; the others, for its whole life, by a daemon that
looks after the archive, and by one that watches for what is to be uploaded, which may be the same.
The kernel keeps the lock and drops it with the process, however that ends, so a stale one cannot exist. The facts in
the file are for people; if they are still there when the lock is free, its last holder did not end cleanly.
A copy of an archive brings all these files along. What it cannot bring is the place: writers note it, and a copy, where
nobody has written yet, is known by a note that names another.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from syncer.archive.layout import STAGING
from syncer.errors import AlreadyRunning

WRITER = "lock"
DAEMON = "daemon"
WATCHER = "watcher"
TOLD = "told"  # what a daemon told last of how it stands
HOME = "home"  # where the archive lived when it was last opened for writing
NAMES = frozenset({WRITER, DAEMON, WATCHER, TOLD, HOME})  # of the files that stay in the staging folder

PATIENCE = 2.0  # seconds for which one is waited for who is likely to be quick, …
PAUSE = 0.05  # … and between two attempts

T = TypeVar("T")

_HELD, _HINT = "another process holds the archive", "wait for it to end, or stop it"


@contextmanager
def held(path: Path, *, command: str, since: str, **facts: str) -> Iterator[bool]:
    """Hold the lock at `path` for the block, which learns whether the last holder ended cleanly.

    `facts` are written there beside who we are. Raise `AlreadyRunning`, naming the holder, if another process has it.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunning(_HELD, hint=_HINT, **_named(_facts(fd))) from error
        clean = os.fstat(fd).st_size == 0
        os.ftruncate(fd, 0)
        us = {"pid": os.getpid(), "host": socket.gethostname(), "command": command, "since": since, **facts}
        os.pwrite(fd, msgspec.json.encode(us) + b"\n", 0)
        yield clean
        with suppress(OSError):
            os.ftruncate(fd, 0)  # not after an error: the next one is to look twice
    finally:
        os.close(fd)


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Keep writers out for the block, and write nothing, so that it works on a read-only medium as well.

    Raise `AlreadyRunning` if a writer is at work. Where nobody ever held the lock there is nothing to hold, and where
    we may not open it there is nothing that we can hold.
    """
    try:
        fd = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, PermissionError):
        yield
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunning(_HELD, hint=_HINT, **_named(_facts(fd))) from error
        yield
    finally:
        os.close(fd)


async def waiting(attempt: Callable[[], Awaitable[T]]) -> T:
    """Make an attempt that takes a lock, again while another process has it, for up to `PATIENCE` seconds.

    Who tells a verification to the journal holds the archive for a moment only. Raise `AlreadyRunning` after all.
    """
    import asyncio  # not for those who only ask who holds a lock

    for _ in range(round(PATIENCE / PAUSE)):
        with suppress(AlreadyRunning):
            return await attempt()
        await asyncio.sleep(PAUSE)
    return await attempt()


def settle(staging: Path) -> None:
    """Note that the archive with this staging folder lives where it is; whoever settles it holds the lock.

    Where that cannot be noted the archive looks like a copy, which harms nothing.
    """
    with suppress(OSError):
        if not at_home(staging):
            staged = staging / f"{HOME}.new"
            staged.write_text(_place(staging), "utf-8")
            staged.replace(staging / HOME)  # never in place: a copy may share the file by a hard link


def at_home(staging: Path) -> bool:
    """Say whether the archive with this staging folder was last written where it is now, not in another place.

    Raises `OSError` where that cannot be looked at.
    """
    try:
        return (staging / HOME).read_text("utf-8", "replace") == _place(staging)
    except FileNotFoundError:
        return False


def _place(staging: Path) -> str:
    """Name the folder on its file system: by the number of that, since a device's may be another after each start."""
    return f"{os.statvfs(staging).f_fsid:x}:{staging.stat().st_ino}\n"


def daemon_of(root: Path) -> dict[str, object] | None:
    """Tell the `pid`, `host` and `socket` of the daemon that looks after an archive; None if none does."""
    return holder(root / STAGING / DAEMON)


def watcher_of(root: Path) -> dict[str, object] | None:
    """Tell the same of the process that watches for what is to be uploaded, which may be that daemon."""
    return holder(root / STAGING / WATCHER)


def holder(path: Path) -> dict[str, object] | None:
    """Read what the holder of the lock at `path` says of itself; None if nobody holds it, or we may not look."""
    try:
        fd = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _facts(fd)
    finally:
        os.close(fd)
    return None


def _facts(fd: int) -> dict[str, object]:
    """Read what the holder wrote; nothing if it has not come to that."""
    try:
        return msgspec.json.decode(os.pread(fd, 4096, 0), type=dict[str, object])
    except msgspec.MsgspecError:
        return {}


def _named(facts: dict[str, object]) -> dict[str, object]:
    return {name: facts[name] for name in ("pid", "host", "command", "since") if name in facts}
