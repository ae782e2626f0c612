"""A file that was dropped: what it is by its stat alone, and its bytes, whole or not at all.

Promises that a drop's bytes are those of the file it was made of: one that has changed, or is gone, gives none. A
symlink in a watch folder is never followed; one that a person names is. What the bytes are is judged elsewhere.
"""

from __future__ import annotations

import asyncio
import errno
import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from syncer.errors import ConfigError, Refused
from syncer.inbox.names import printable

# Without waiting for a FIFO's writer, and without following what took the file's place.
READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC

# What a fault that is not one of the kind of file begins with.
EMPTY = "empty"
TOO_LARGE = "larger than limits.upload_bytes"

_KINDS = {
    stat.S_IFLNK: "a symlink",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a device",
    stat.S_IFCHR: "a device",
    stat.S_IFDIR: "a folder",
}
# Gone, or something else by now; and EAGAIN: a file server holds it for somebody who writes.
_ANOTHER = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.EAGAIN})
_HINTS = {
    errno.EACCES: "give the user that syncer runs as the right to read it",
    errno.EPERM: "give the user that syncer runs as the right to read it",
    errno.EIO: "check the disk's health before anything else: dmesg, smartctl -a",
    errno.ESTALE: "is the network share mounted?",
}


@dataclass(frozen=True, slots=True)
class Signature:
    """Which file it is, and by what a change of it shows; `size` in bytes, `mtime_ns` in nanoseconds since 1970."""

    device: int
    inode: int
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, seen: os.stat_result) -> Signature:
        return cls(seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Drop:
    """A complete file.

    `path` is exact; `name` is text for people, relative to the watch folder, with "/". `fault` says why it is nothing
    to upload, as far as its stat tells.
    """

    path: Path
    name: str
    signature: Signature
    fault: str | None = None


def fault_of(seen: os.stat_result, most: int) -> str | None:
    """Say why something is nothing to upload, by its stat alone; `most` is in bytes."""
    kind = _KINDS.get(stat.S_IFMT(seen.st_mode))
    if kind is not None:
        return f"{kind}, not a file"
    if seen.st_size == 0:
        return EMPTY
    if seen.st_size > most:
        if most < 2**20:
            return f"{TOO_LARGE}: {seen.st_size:,} bytes, and {most:,} are allowed"
        # Rounded away from each other, so that the two never look the same.
        size, allowed = math.ceil(seen.st_size * 10 / 2**20) / 10, math.floor(most * 10 / 2**20) / 10
        return f"{TOO_LARGE}: {size:.1f} MiB, and {allowed:.1f} MiB are allowed"
    return None


def drop_of(path: Path, *, most: int) -> Drop:
    """Look at a file that a person names, through a symlink too; `most` is limits.upload_bytes.

    Raises `ConfigError` where it is not there, is a folder, or cannot be looked at.
    """
    try:
        real = path.resolve(strict=True)
        seen = real.stat()
    except (OSError, RuntimeError, ValueError) as error:  # not there; symlinks in a circle; a zero byte in the name
        missing = isinstance(error, FileNotFoundError | NotADirectoryError)
        reason = "there is no such file" if missing else getattr(error, "strerror", None) or "not a usable path"
        hint = "check the path; a relative one begins in the current folder" if missing else ""
        raise ConfigError(f"{printable(path)}: {reason}", hint=hint) from error
    if stat.S_ISDIR(seen.st_mode):
        hint = "name the files in it, or watch it: `watch` in the workspace's table"
        raise ConfigError(f"{printable(path)}: a folder, not a file", hint=hint)
    return Drop(real, printable(path.name), Signature.of(seen), fault_of(seen, most))


async def read(drop: Drop) -> bytes | None:
    """Read the whole file, in a thread; None where it is not that file any more.

    What came from an inbox and gave None is given back by `Inbox.later`, and offered again once it is still. Raises
    `Refused` with a hint where it cannot be read.
    """
    try:
        return await asyncio.to_thread(_whole, drop)
    except OSError as error:
        if error.errno in _ANOTHER:
            return None
        reason = error.strerror or str(error)
        raise Refused("the file cannot be read", hint=_HINTS.get(error.errno or 0, ""), reason=reason) from error


def _whole(drop: Drop) -> bytes | None:
    with os.fdopen(os.open(drop.path, READ), "rb", buffering=0) as file:
        if Signature.of(os.fstat(file.fileno())) != drop.signature:
            return None
        parts = []
        left = drop.signature.size + 1  # one more: it may have grown
        while left and (part := file.read(left)):
            parts.append(part)
            left -= len(part)
        content = b"".join(parts)
        # Once more: it may have been written to while it was read.
        if len(content) != drop.signature.size or Signature.of(os.fstat(file.fileno())) != drop.signature:
            return None
        return content
