"""Take files out of a watch folder once they have been dealt with, without ever losing one.

Promises that nothing is overwritten, that only the very file that was dealt with is moved or removed (one that changed,
or that somebody has begun to write to, stays or goes back, for another round), and that what was moved is durable. All
of it lies in `.syncer/` inside the watch folder, so that it can be renamed. All of it blocks, and raises `OSError`;
`FileNotFoundError` where the file, or the folder itself, went away in this very moment.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path

from syncer.inbox.drop import READ, Drop
from syncer.inbox.looking import look
from syncer.inbox.names import LONGEST, OURS, numbered
from syncer.inbox.stillness import Writer

FORMAT = 1  # of the note beside a refused file
_NOTE = ".json"
_ANY = range(1, 1 << 62)  # numbers of names
_ITSELF = range(1, 2)
_NO_REPLACE = 1  # RENAME_NOREPLACE of renameat2(2)
_HERE = -100  # AT_FDCWD
_CANNOT = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
_libc = ctypes.CDLL(None, use_errno=True)


class After(StrEnum):
    """What becomes of a file that is proven to be at the service."""

    MOVE = "move"
    KEEP = "keep"
    DELETE = "delete"


class Disposal:
    """The places in one watch folder where files go."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def done(self, drop: Drop, day: str) -> Path | None:
        """Move a file to `.syncer/done/<day>/`, in its sub-folders; None where it is not that file any more."""
        return self._take(drop, self._place("done", day, *self._below(drop)), drop.path.name)

    def failed(self, drop: Drop, note: Mapping[str, object]) -> Path | None:
        """Move a file to `.syncer/failed/`, beside a note of the same name and `.json`, which is durable first."""
        folder = self._place("failed", *self._below(drop))
        for number in _ANY:
            name = numbered(drop.path.name, number, LONGEST - len(_NOTE))
            beside = folder / (name + _NOTE)
            if os.path.lexists(folder / name) or os.path.lexists(beside):
                continue
            moved = None
            try:
                _write(beside, note)
                moved = self._take(drop, folder, name, _ITSELF)
            finally:
                if moved is None:
                    beside.unlink(missing_ok=True)
            return moved
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))

    def delete(self, drop: Drop) -> bool:
        """Remove a file, by way of `.syncer/`; say whether it was still that file."""
        moved = self._take(drop, self._place("deleting"), drop.path.name)
        if moved is not None:
            moved.unlink()
            _settle(moved.parent)
        return moved is not None

    def _below(self, drop: Drop) -> tuple[str, ...]:
        return drop.path.relative_to(self._folder).parts[:-1]

    def _place(self, *parts: str) -> Path:
        """Make a folder in ours, as open to others as the watch folder is: whoever drops may look there."""
        mode = stat.S_IMODE(self._folder.stat().st_mode)
        place = self._folder
        for part in (OURS, *parts):
            above, place = place, place / part
            try:
                place.mkdir()
            except FileExistsError:
                # Not through a symlink either, which would lead out of the watch folder.
                if not stat.S_ISDIR(place.lstat().st_mode):
                    raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(place)) from None
            else:
                # Below a folder that hands down its group, `mkdir` has done so; a service that is kept from setting
                # such a bit itself (RestrictSUIDSGID=) may not, and its UMask= decides about the rest.
                with suppress(PermissionError):
                    place.chmod(mode)
                _settle(above)
        return place

    def _take(self, drop: Drop, folder: Path, name: str, numbers: range = _ANY) -> Path | None:
        """Move a file under the first of these numbered names that is free; None where it is not that file any more."""
        if not _unchanged(drop, drop.path):
            return None
        try:
            target = _move(drop.path, folder, name, numbers)
        except OSError as error:
            if error.errno != errno.EXDEV or not stat.S_ISREG(drop.path.lstat().st_mode):
                raise
            return self._carry(drop, folder, name, numbers)
        if not self._still(drop, target):
            return None
        _settle(folder, drop.path.parent)
        return target

    def _carry(self, drop: Drop, folder: Path, name: str, numbers: range) -> Path | None:
        """Move a file from another file system that is mounted below: out of everybody's way first, then copied."""
        aside = _move(drop.path, drop.path.parent, f".{drop.path.name}")
        if not self._still(drop, aside):
            return None
        try:
            target = _copy(aside, folder, name, numbers)
        except OSError:
            _move(aside, drop.path.parent, drop.path.name)
            raise
        aside.unlink()
        _settle(drop.path.parent)
        return target

    def _still(self, drop: Drop, target: Path) -> bool:
        """Say whether what was moved is what was dropped; what changed before the rename goes back to its place."""
        if _unchanged(drop, target):
            return True
        drop.path.parent.mkdir(parents=True, exist_ok=True)
        _move(target, drop.path.parent, drop.path.name)
        return False


def _unchanged(drop: Drop, path: Path) -> bool:
    """Say whether the file at this path is the one that was dropped, and nobody is about to change it."""
    seen = look(path, most=0)
    return seen is not None and seen.signature == drop.signature and seen.writer is not Writer.SOMEBODY


def _move(source: Path, folder: Path, name: str, numbers: range = _ANY) -> Path:
    """Move a file under the first of these numbered names that is free."""
    for number in numbers:
        target = folder / numbered(name, number)
        with suppress(FileExistsError):
            _rename(source, target)
            return target
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(folder))


def _rename(source: Path, target: Path) -> None:
    """Rename over nothing; raises `FileExistsError`."""
    if _libc.renameat2(_HERE, os.fsencode(source), _HERE, os.fsencode(target), _NO_REPLACE) == 0:
        return
    code = ctypes.get_errno()
    if code not in _CANNOT:
        raise OSError(code, os.strerror(code), str(source), None, str(target))
    # A file system that cannot promise it: a look before is nearly as good.
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    source.rename(target)


def _copy(source: Path, folder: Path, name: str, numbers: range) -> Path:
    """Copy a file durably, under the first of these numbered names that is free and only once it is whole."""
    fd, staged = tempfile.mkstemp(prefix=".copy-", dir=folder)
    try:
        with os.fdopen(fd, "wb") as copy, os.fdopen(os.open(source, READ), "rb") as file:
            shutil.copyfileobj(file, copy)
            copy.flush()
            os.fsync(fd)
        shutil.copystat(source, staged)
        target = _move(Path(staged), folder, name, numbers)
    except OSError:
        Path(staged).unlink()
        raise
    _settle(folder)
    return target


def _write(path: Path, note: Mapping[str, object]) -> None:
    """Write a new note durably."""
    # What is no text is escaped, as JSON itself would.
    with path.open("x", encoding="utf-8", errors="backslashreplace") as file:
        json.dump(note, file, ensure_ascii=False, indent=2, default=str)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    _settle(path.parent)


def _settle(*folders: Path) -> None:
    """Make the names in folders durable, where the file system knows how to: some network shares do not."""
    for folder in folders:
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        except OSError as error:
            if error.errno not in _CANNOT:
                raise
        finally:
            os.close(fd)
