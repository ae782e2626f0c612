"""One process at a time: the archive's lock, and the name of who holds it.

The kernel keeps the lock and drops it with the process, however that ends, so a stale one cannot exist. The facts in
the file are for people; if they are still there when the lock is free, its last holder did not end cleanly.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from syncer.errors import AlreadyRunning


@contextmanager
def held(path: Path, *, command: str, since: str) -> Iterator[bool]:
    """Hold the lock at `path` for the block, which learns whether the last holder ended cleanly.

    Raise `AlreadyRunning`, naming the holder, if another process has it.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunning(
                "another process holds the archive", hint="wait for it to end, or stop it", **_holder(fd)
            ) from error
        clean = os.fstat(fd).st_size == 0
        os.ftruncate(fd, 0)
        us = {"pid": os.getpid(), "host": socket.gethostname(), "command": command, "since": since}
        os.pwrite(fd, msgspec.json.encode(us) + b"\n", 0)
        yield clean
        with suppress(OSError):
            os.ftruncate(fd, 0)  # not after an error: the next one is to look twice
    finally:
        os.close(fd)


@contextmanager
def shared(path: Path) -> Iterator[None]:
    """Keep writers out for the block, and write nothing, so that it works on a read-only medium as well.

    Raise `AlreadyRunning` if a writer is at work. Where nobody ever held the lock there is nothing to hold.
    """
    try:
        fd = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        yield
        return
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise AlreadyRunning(
                "another process holds the archive", hint="wait for it to end, or stop it", **_holder(fd)
            ) from error
        yield
    finally:
        os.close(fd)


def _holder(fd: int) -> dict[str, object]:
    """Read who holds the lock; nothing if it has not come to say so."""
    try:
        facts = msgspec.json.decode(os.pread(fd, 4096, 0), type=dict[str, object])
    except msgspec.MsgspecError:
        return {}
    return {name: facts.get(name) for name in ("pid", "host", "command", "since")}
