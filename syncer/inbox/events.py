"""What inotify tells of a folder and all folders below it, as values.

Promises that a folder which has been entered tells of every change in it until it is left, and that `Lost` comes where
that cannot be promised any more: too many events at once, the folder itself moved, removed or unmounted. Then one
begins anew. What an event means for a file is judged elsewhere.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from asyncinotify import Event, Inotify, Mask, Watch

from syncer.inbox.looking import PASSING
from syncer.inbox.names import ignored

_MASK = (
    Mask.CLOSE_WRITE
    | Mask.MOVED_TO
    | Mask.MOVED_FROM
    | Mask.CREATE
    | Mask.MODIFY
    | Mask.DELETE
    | Mask.DELETE_SELF
    | Mask.MOVE_SELF
    | Mask.ONLYDIR
)
_AT_ONCE = 256  # events of the longest names that are read in one go
# File systems that other machines, or another system beside this one, may write to: nobody tells of that here.
_SILENT = frozenset(
    {
        *(
            "9p",
            "afs",
            "beegfs",
            "ceph",
            "cifs",
            "coda",
            "gfs2",
            "glusterfs",
            "lustre",
            "ncpfs",
            "nfs",
            "nfs4",
            "ocfs2",
        ),
        *("prl_fs", "smb3", "smbfs", "vboxsf", "virtiofs"),
    }
)


class NoEvents(Exception):
    """There are no events to be had for a folder, or for all folders below it; the text says why."""


@dataclass(frozen=True, slots=True)
class Touched:
    """A file was made or written to, or (`closed`) closed after that or moved to its place."""

    path: Path
    closed: bool


@dataclass(frozen=True, slots=True)
class Appeared:
    """A folder was made, or moved in: it is to be walked."""

    path: Path


@dataclass(frozen=True, slots=True)
class PassedOver:
    """Something happened to a file or a folder whose name excludes it."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Vanished:
    """A file or a folder was removed, or moved away."""

    path: Path
    folder: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """From here on something may have been missed."""

    reason: str


Happening = Touched | Appeared | Vanished | PassedOver | Lost


class Events:
    """The watches on a folder and on those below it that were entered."""

    def __init__(self, folder: Path, inotify: Inotify) -> None:
        self._folder = folder
        self._inotify = inotify
        self._watches: dict[Path, Watch] = {}

    @classmethod
    @contextmanager
    def open(cls, folder: Path) -> Iterator[Events]:
        """Be ready to watch a folder, which is to be entered first; raises `NoEvents`."""
        try:
            inotify = Inotify(cache_size=_AT_ONCE)
        except OSError as error:
            raise NoEvents(f"{error.strerror}: raise fs.inotify.max_user_instances") from error
        with inotify:
            yield cls(folder, inotify)

    def enter(self, folder: Path) -> None:
        """Watch one folder; may be called from a thread.

        Raises `NoEvents` where there are watches enough already, and `OSError` where the folder is not there or not
        ours to watch.
        """
        if folder in self._watches:
            return
        # The watch folder itself may be a symlink, none below it is followed.
        mask = _MASK if folder == self._folder else _MASK | Mask.DONT_FOLLOW
        try:
            watch = self._inotify.add_watch(folder, mask)
        except OSError as error:
            if error.errno in PASSING or isinstance(error, PermissionError):
                raise
            raise NoEvents(f"{error.strerror}: raise fs.inotify.max_user_watches") from error
        watch.path = folder  # it has one already where the folder was known by another name
        self._watches[folder] = watch

    async def happenings(self) -> AsyncIterator[Happening]:
        """Tell what happens, in order, for ever."""
        async for event in self._inotify:
            for happening in self._told(event):
                yield happening

    def _told(self, event: Event) -> Iterator[Happening]:
        mask = event.mask
        if Mask.Q_OVERFLOW in mask:
            yield Lost("too many events at once")
            return
        watch = event.watch
        if watch is None or self._watches.get(watch.path) is not watch:
            return  # of a folder that was left
        if event.name is None:
            yield from self._told_of(watch.path, mask)
            return
        path = watch.path / event.name
        if (reason := ignored(event.name.name)) is not None:
            yield PassedOver(path, reason)
        elif mask & (Mask.MOVED_FROM | Mask.DELETE):
            if Mask.ISDIR in mask:
                self._leave(path)
            yield Vanished(path, folder=Mask.ISDIR in mask)
        elif Mask.ISDIR not in mask:
            yield Touched(path, closed=bool(mask & (Mask.CLOSE_WRITE | Mask.MOVED_TO)))
        else:
            if Mask.MOVED_TO in mask:  # perhaps over an empty folder, of whose end nothing was told
                self._leave(path)
            yield Appeared(path)

    def _told_of(self, folder: Path, mask: Mask) -> Iterator[Happening]:
        """Tell what happened to a watched folder itself."""
        if folder == self._folder:
            yield Lost("the folder was moved, removed or unmounted")
        elif Mask.MOVE_SELF not in mask:  # of that the folders before and after told
            self._leave(folder)
            yield Vanished(folder, folder=True)

    def _leave(self, folder: Path) -> None:
        """Watch a folder and those below it no more."""
        # A list, since a walk in a thread may enter others meanwhile.
        for path, watch in list(self._watches.items()):
            if path == folder or folder in path.parents:
                del self._watches[path]
                with suppress(OSError):  # it went with its folder
                    self._inotify.rm_watch(watch)


def silent(folder: Path) -> str | None:
    """Say why no events can be relied on in a folder, by the type of its file system; None where they can.

    Of a folder that is not there it says nothing: others do.
    """
    try:
        device = folder.stat().st_dev
    except OSError:
        return None
    kind = type_of(device, Path("/proc/self/mountinfo").read_text(errors="surrogateescape"))
    return f"on {kind}, others' changes are not told" if kind in _SILENT or kind.startswith("fuse.") else None


def type_of(device: int, mountinfo: str) -> str:
    """Look up the type of a device's file system; "" where the system does not say."""
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in mountinfo.splitlines():
        mount, _, kind = line.partition(" - ")
        if mount.split(" ")[2] == number:
            return kind.split(" ")[0]
    return ""
