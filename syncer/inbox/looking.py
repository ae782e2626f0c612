"""Look at files and folders: what lies in a watch folder, and whether somebody is still writing to it.

Promises to follow no symlink, to wait for nobody (a FIFO without a writer, a file server's lease), and to leave what it
looks at as it was. It remembers nothing; whoever calls decides what a look means. All of it blocks.
"""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from syncer.inbox.drop import READ, Signature, fault_of
from syncer.inbox.names import ignored
from syncer.inbox.stillness import Look, Writer

# What happens to folders while they are walked; the next walk sees what became of them.
PASSING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})


@dataclass(slots=True)
class Found:
    """What a walk came by: files, what it passed over and why, and folders that cannot be looked into and why."""

    files: list[tuple[Path, Signature]] = field(default_factory=list)
    ignored: list[tuple[Path, str]] = field(default_factory=list)
    unreadable: list[tuple[Path, OSError]] = field(default_factory=list)


def look(path: Path, *, most: int) -> Look | None:
    """Look at one file; None where it is not there or cannot be looked at. `most` is limits.upload_bytes."""
    try:
        seen = path.lstat()
    except OSError:
        return None
    writer = writer_of(path) if stat.S_ISREG(seen.st_mode) else Writer.NOBODY
    return Look(Signature.of(seen), fault_of(seen, most), writer)


def signature(path: Path) -> Signature | None:
    """Look at one file's signature; None where there is no such file."""
    try:
        seen = path.lstat()
    except OSError:
        return None
    return None if stat.S_ISDIR(seen.st_mode) else Signature.of(seen)


def writer_of(path: Path) -> Writer:
    """Say whether somebody has a regular file open for writing, mapped into memory included.

    The system grants a read lease only where nobody has; it is given back at once. Files of another owner need the
    capability CAP_LEASE, and some file systems have no leases: there the answer is that nobody knows.
    """
    try:
        fd = os.open(path, READ)
    except OSError as error:
        return Writer.SOMEBODY if error.errno == errno.EAGAIN else Writer.UNKNOWN  # a file server's own lease
    try:
        # Whoever opens it in this very moment breaks the lease: by a signal that is ignored unless somebody listens.
        # Its default, SIGIO, would end us.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return Writer.SOMEBODY if error.errno == errno.EAGAIN else Writer.UNKNOWN
    finally:
        os.close(fd)
    return Writer.NOBODY


def walk(folder: Path, enter: Callable[[Path], None]) -> Found:
    """Walk a folder and what is below it, not through symlinks, and not into folders whose names are passed over.

    `enter` is called before a folder is read, so that nothing appears unnoticed between the two; what it raises ends
    the walk, unless that is what happens to folders while they are walked.
    """
    found = Found()
    folders = [folder]
    while folders:
        place = folders.pop()
        try:
            enter(place)
            with os.scandir(place) as entries:
                for entry in entries:
                    path = place / entry.name
                    if (reason := ignored(entry.name)) is not None:
                        found.ignored.append((path, reason))
                    elif entry.is_dir(follow_symlinks=False):
                        folders.append(path)
                    else:
                        with suppress(FileNotFoundError):
                            found.files.append((path, Signature.of(entry.stat(follow_symlinks=False))))
        except OSError as error:
            if error.errno not in PASSING:
                found.unreadable.append((place, error))
    return found
