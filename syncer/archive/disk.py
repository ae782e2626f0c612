"""The archive's file system: what is durable, how much is free, and what its errors mean to a person.

Promises that after `settle` the named files and folders survive a power cut, that `move` puts nothing over something,
and that every `OSError` becomes one of our errors inside `translated`. It knows nothing of pictures or sidecars.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from io import FileIO
from mmap import PAGESIZE
from pathlib import Path
from posixpath import dirname
from types import TracebackType
from typing import ParamSpec, TypeVar

from syncer.errors import ArchiveUnwritable, SafetyStop, StorageFull

StrPath = str | Path  # text where there are many of them: a `Path` costs as much as what is done with it

_P = ParamSpec("_P")
_T = TypeVar("_T")

ROOM_SECONDS = 0.5  # for which the free room is believed, as long as there is …
ROOM_MARGIN = 256 << 20  # … so much more than is wanted

_MANY = 16  # from so many files on, one sync of the whole file system is quicker than one of each
# Where one `syncfs` is known to reach the platter. FUSE, for one, is not told of it.
_SYNCS_WHOLE = frozenset({"bcachefs", "btrfs", "ext2", "ext3", "ext4", "f2fs", "tmpfs", "xfs", "zfs"})
# Where a large file may go straight to the device. Copying it into the system's cache costs more than hashing it, and
# pushes out of the cache what others on the machine use.
_DIRECT = frozenset({"ext4", "xfs"})
_LARGE = 128 << 10

_HINTS = {
    errno.ENOSPC: "make room on the disk, then run again",
    errno.EDQUOT: "make room or have the quota raised, then run again",
    errno.EROFS: "mount the file system for writing",
    errno.EACCES: "give this user the right to write there",
    errno.EPERM: "give this user the right to write there",
    errno.EIO: "check the disk's health before anything else: dmesg, smartctl -a",
    errno.EMFILE: "raise the limit of open files (ulimit -n) or lower limits.downloads",
    errno.ENFILE: "raise the limit of open files (sysctl fs.file-max) or lower limits.downloads",
    errno.EXDEV: "the archive's folders have to be on one file system: remove the mount point inside it",
    errno.ENOENT: "is the disk mounted?",
    errno.ESTALE: "is the network share mounted?",
}


@dataclass(slots=True)
class _Room:
    """The bytes that can be written, as they were `at` a time of the machine's clock, less what was promised since."""

    left: int
    at: float


class Disk:
    """The file system below `root`, held open, so that it cannot be unmounted or exchanged unnoticed."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        self._there: set[str] = set()  # folders that files were moved into
        self._room = _Room(0, 0.0)
        kind = _type(root)
        self._syncfs = _syncfs(root, kind)
        self._direct = kind in _DIRECT

    def close(self) -> None:
        """Let go of the file system."""
        os.close(self._fd)

    def free(self) -> int:
        """Count the bytes that this user can still write."""
        disk = os.fstatvfs(self._fd)
        return disk.f_bavail * disk.f_frsize

    @property
    def room(self) -> int:
        """The bytes that could be written when `has_room` last looked."""
        return self._room.left

    def has_room(self, size: int, reserve: int) -> bool:
        """Say whether so many bytes can be written without going into the reserve.

        Far from it the file system is asked now and then only, and what was said yes to meanwhile is taken off.
        """
        now = time.monotonic()
        if now - self._room.at > ROOM_SECONDS or self._room.left - size - reserve < ROOM_MARGIN:
            self._room = _Room(self.free(), now)
        if self._room.left - size < reserve:
            return False
        self._room.left -= size
        return True

    def settle(self, files: Collection[StrPath], folders: Collection[StrPath]) -> None:
        """Make files' bytes and folders' names durable."""
        if self._syncfs is not None and len(files) + len(folders) > _MANY:
            self._syncfs(self._fd)
            return
        for path in (*files, *folders):
            fsync(path)

    def settle_all(self) -> None:
        """Make durable whatever is on the file system."""
        if self._syncfs is not None:
            self._syncfs(self._fd)
        else:
            os.sync()

    def write(self, path: StrPath, data: bytes | memoryview) -> None:
        """Write a new file; it is not durable yet. A large one that is not `bytes` has to begin with a page."""
        with FileIO(path, "x") as file:
            write_all(file, data, direct=self._direct and isinstance(data, memoryview) and len(data) >= _LARGE)

    def discard(self, *paths: StrPath) -> None:
        """Remove staged files; what cannot be removed is cleared away at the next opening."""
        for path in paths:
            with suppress(OSError):
                os.unlink(path)  # noqa: PTH108  see StrPath

    def move(self, source: StrPath, target: StrPath) -> set[str]:
        """Give a file its final name and return the folders whose names changed; raise `SafetyStop` if it is taken."""
        folder = dirname(target)
        changed = {folder}
        if folder not in self._there:
            there = Path(folder)
            while not there.is_dir():
                there = there.parent
                changed.add(str(there))
            if len(changed) > 1:
                Path(folder).mkdir(parents=True)
            self._there.add(folder)
        # Append-only. A look before the rename is enough, since nobody else writes here while the lock is ours; an
        # exclusive rename, or a link, is not to be had on every file system.
        if os.path.lexists(target):
            raise SafetyStop("a name in the archive is already taken", path=Path(target).relative_to(self.root))
        os.rename(source, target)  # noqa: PTH104  see StrPath
        return changed


def holds(path: StrPath, sha256: str) -> bool:
    """Say whether a file is there and its bytes have this hash; one that cannot be read does not count."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == sha256
    except OSError:
        return False


def write_all(file: FileIO, data: bytes | memoryview, *, direct: bool = False) -> None:
    """Write all of the data: the system may take it in parts. `direct` needs data that begins with a page."""
    with memoryview(data) as whole:
        done = _write_direct(file, whole) if direct else 0
        while done < len(whole):
            done += file.write(whole[done:])


def _write_direct(file: FileIO, whole: memoryview) -> int:
    """Write past the system's cache what can be written so, and return how much that is: whole pages, or nothing."""
    pages = len(whole) - len(whole) % PAGESIZE
    flags = fcntl.fcntl(file, fcntl.F_GETFL)
    done = 0
    try:
        fcntl.fcntl(file, fcntl.F_SETFL, flags | os.O_DIRECT)
        while done < pages:
            done += file.write(whole[done:pages])
    except OSError as error:
        if error.errno != errno.EINVAL:  # the device has larger blocks, or took a part of one
            raise
    finally:
        fcntl.fcntl(file, fcntl.F_SETFL, flags)
    return done


def fsync(path: StrPath) -> None:
    """Make one file's bytes, or one folder's names, durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _syncfs(root: Path, kind: str) -> Callable[[int], None] | None:
    """Find a `syncfs` that can be believed on this file system, None where there is none.

    Before Linux 5.8 it did not report a failed write.
    """
    system = os.uname()
    version = tuple(int(number) for number in re.findall(r"\d+", system.release)[:2])
    if system.sysname != "Linux" or version < (5, 8) or kind not in _SYNCS_WHOLE:
        return None
    function = ctypes.CDLL(None, use_errno=True).syncfs

    def syncfs(fd: int) -> None:
        if function(fd) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), str(root))

    return syncfs


def _type(root: Path) -> str:
    """Look up the type of the file system that a folder is on: the mount that is deepest above it, and last there.

    Empty where the system does not list its mounts.
    """
    best, kind = Path("/"), ""
    place = root.resolve()
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="surrogateescape")
    except OSError:  # another system, or a sandbox
        return ""
    for line in mounts.splitlines():
        mount, _, device = line.partition(" - ")
        spelled = mount.split(" ")[4]
        point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), spelled))
        if (place == point or point in place.parents) and len(point.parts) >= len(best.parts):
            best, kind = point, device.split(" ")[0]
    return kind


class translated:  # noqa: N801  a context manager that is called like a function, and for every picture
    """Turn an `OSError` in the block into one of our errors, its path relative to the archive."""

    __slots__ = ("_root",)

    def __init__(self, root: Path) -> None:
        self._root = root

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, OSError):
            return
        root = self._root
        name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else None
        path = os.path.relpath(name, root) if name is not None and Path(name).is_relative_to(root) else name
        reason, hint = error.strerror or str(error), _HINTS.get(error.errno or 0, "")
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull("the disk is full", hint=hint, path=path, reason=reason) from error
        raise ArchiveUnwritable("the archive cannot be read or written", hint=hint, path=path, reason=reason) from error


def now() -> datetime:
    """Tell the time, where no other clock is handed in."""
    return datetime.now(UTC)


async def in_thread(function: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T:
    """Run blocking work in a thread, and do not leave before it has ended.

    Else it would go on writing after its caller had cleaned up.
    """
    return await ended(asyncio.get_running_loop().run_in_executor(None, partial(function, *args, **kwargs)))


async def ended(work: asyncio.Future[_T]) -> _T:
    """Wait for work that a cancellation cannot stop, a thread's, and do not leave before it has ended."""
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            with suppress(asyncio.CancelledError):
                await asyncio.wait([work])
        work.exception()  # seen: the cancellation matters more
        raise
