"""The files of an archive as they stand on the disk: walked in the order of their paths' bytes, and hashed.

Nothing here knows what should be there. Reading can be slowed down, for a disk that others need, and stopped.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from syncer.archive.journal import is_journal
from syncer.archive.layout import EVIDENCE, JOURNAL, MANIFEST, MARKER, STAGING

COPY = "manifest.db.backup"  # of the manifest, as it was after the last run that changed it
FRESH = "manifest.db.new"  # a rebuilt one, until it takes the manifest's place

OURS = frozenset({MARKER, STAGING, EVIDENCE, "lost+found"}) | {
    f"{name}{suffix}" for name in (MANIFEST, COPY, f"{COPY}.new", FRESH) for suffix in ("", "-wal", "-shm", "-journal")
}
BLOCK = 1 << 20


class Stopped(Exception):
    """Reading was told to stop."""


@dataclass(frozen=True, slots=True)
class Present:
    """What stands under a path, relative to the archive; `size` is None for what is not a plain file."""

    path: str
    size: int | None


def walk(root: Path) -> Iterator[Present | OSError]:
    """Yield everything that should be a picture or a sidecar; a folder that cannot be read is its error."""
    yield from _walk(str(root), "")


def _walk(root: str, below: str) -> Iterator[Present | OSError]:
    try:
        with os.scandir(f"{root}/{below}") as found:
            entries = [(e, e.is_dir(follow_symlinks=False)) for e in found if below or e.name not in OURS]
    except OSError as error:
        yield error
        return
    # "a-b/x" comes before "a/x", so a folder sorts with its slash.
    entries.sort(key=lambda one: os.fsencode(one[0].name) + b"/" * one[1])
    for entry, is_folder in entries:
        path = f"{below}{entry.name}"
        if is_folder:
            yield from _walk(root, f"{path}/")
        elif below != f"{JOURNAL}/" or not is_journal(entry.name):
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError as error:
                yield error
            else:
                yield Present(path, status.st_size if stat.S_ISREG(status.st_mode) else None)


class Reader:
    """Reads files for any number of threads, together not faster than `rate` bytes a second (None: as it goes)."""

    def __init__(self, rate: int | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._lock = threading.Lock()
        self._due = 0.0
        self._blocks = threading.local()
        self._size = BLOCK if rate is None else max(4096, min(BLOCK, rate // 8))
        self.stop = threading.Event()

    def pace(self, count: int) -> None:
        """Wait until so many bytes more may be read. Raises `Stopped`."""
        delay = 0.0
        if self._rate is not None:
            with self._lock:
                now = self._clock()
                delay = max(0.0, self._due - now)
                self._due = now + delay + count / self._rate
        if self.stop.wait(delay) if delay else self.stop.is_set():
            raise Stopped

    def sha256(self, path: Path) -> tuple[str, int]:
        """Hash a file and count its bytes. Raises `OSError`, `Stopped`."""
        digest, size = hashlib.sha256(), 0
        block = self._own_block()
        with path.open("rb", buffering=0) as file:
            while count := file.readinto(block):
                self.pace(count)
                digest.update(block[:count])
                size += count
        return digest.hexdigest(), size

    def _own_block(self) -> memoryview:
        """Return the thread's memory to read into: to clear a new one for each file takes longer than a small file."""
        block: memoryview | None = getattr(self._blocks, "own", None)
        if block is None:
            block = self._blocks.own = memoryview(bytearray(self._size))
        return block
