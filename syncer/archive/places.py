"""Find the names that one revision's files get, and see what is already there.

Promises never to name a place that is taken, by a file or by another revision that is still staged. What is found may
be believed only by its hash: an earlier run that was killed, or a manifest restored from an older copy, leaves pairs
that no entry tells of, and these are used again instead of being stored twice.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from posixpath import dirname
from threading import Lock

import msgspec

from syncer.archive import layout
from syncer.archive.disk import holds
from syncer.archive.proof import Proof
from syncer.archive.sidecar import compact, read
from syncer.errors import Damaged
from syncer.model import Entry, Image, Revision

FOLDERS = 64  # whose names are remembered: images come sorted by their day, or nearly so


@dataclass(frozen=True, slots=True)
class Present:
    """The same bytes and the same document are already committed."""

    revision: Revision


@dataclass(frozen=True, slots=True)
class Free:
    """The names for a new revision; `stored` if the bytes already stand under `path`."""

    number: int
    path: str
    sidecar: str
    stored: bool


class _Document(msgspec.Struct):
    updatedAt: msgspec.Raw = msgspec.Raw(b"null")  # noqa: N815 — the service's spelling


class Places:
    """The names below one archive's root."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._claimed: set[str] = set()
        self._names: dict[str, set[str]] = {}  # of folders that were looked into, the latest last
        self._lock = Lock()

    def find(self, image: Image, proof: Proof, *, folder: str, entry: Entry | None) -> Present | Free:
        """Find the place of what was received, and keep it from others until `release`."""
        document = compact(image.document)
        if entry is None:
            first, folder, stored = 1, self.day(image, folder), None
        else:
            first, folder, stored = entry.revision + 1, dirname(entry.sidecar), self._stored(entry, proof)
        number = first - 1
        while True:
            number += 1
            stem = f"{folder}/{layout.stem(image.id, number)}"
            sidecar, path = f"{stem}.json", f"{stem}.{proof.kind.extension}"
            if not self._claim(sidecar):
                continue
            if self.taken(sidecar):
                self.release(sidecar)
                present = self._pair(image, sidecar)
                if present is not None and present.sha256 == proof.sha256 and self._whole(present):
                    if present.document == document:
                        return Present(present)
                    stored = present.path
            elif stored is not None:
                return Free(number, stored, sidecar, stored=True)
            elif not self.taken(path):
                return Free(number, path, sidecar, stored=False)
            elif holds(self._root / path, proof.sha256):
                return Free(number, path, sidecar, stored=True)
            else:
                self.release(sidecar)

    def release(self, sidecar: str, *there: str) -> None:
        """Let a place go: its files are `there` now, or will never be."""
        with self._lock:
            self._claimed.discard(sidecar)
            for path in there:
                folder, _, name = path.rpartition("/")
                if folder in self._names:
                    self._names[folder].add(name)

    def day(self, image: Image, folder: str) -> str:
        """Name the folder of an image's first revision."""
        return f"{folder}/{layout.day_folder(image.created_at)}"

    def taken(self, path: str) -> bool:
        """Say whether something has this name.

        Folders are read once: nobody else writes here while the lock is ours, and `Disk.move` looks again.
        """
        folder, _, name = path.rpartition("/")
        with self._lock:
            names = self._names.pop(folder, None)
            if names is None:
                try:
                    names = set(os.listdir(self._root / folder))  # noqa: PTH208  names only, and many
                except OSError:  # it is not there yet; whatever else it is will be told by who writes there
                    names = set()
            self._names[folder] = names
            while len(self._names) > FOLDERS:
                del self._names[next(iter(self._names))]
            return name in names

    def newest(self, image: Image, folder: str) -> Revision | None:
        """Find the newest whole pair whose document has the image's `updatedAt`."""
        for revision in reversed([*self._pairs(image, folder)]):
            if _updated_at(revision.document) == image.updated_at and self._whole(revision):
                return revision
        return None

    def _pairs(self, image: Image, folder: str) -> Iterator[Revision]:
        for number in count(1):
            sidecar = f"{folder}/{layout.stem(image.id, number)}.json"
            if not self.taken(sidecar):
                return
            pair = self._pair(image, sidecar)
            if pair is not None:
                yield pair

    def _pair(self, image: Image, sidecar: str) -> Revision | None:
        try:
            revision = read((self._root / sidecar).read_bytes(), sidecar)
        except (OSError, Damaged):
            return None
        ours = (revision.workspace_id, revision.image_id) == (image.workspace_id, image.id)
        return revision if ours else None

    def _whole(self, revision: Revision) -> bool:
        return holds(self._root / revision.path, revision.sha256)

    def _stored(self, entry: Entry, proof: Proof) -> str | None:
        """Name the file that already holds these bytes; not if it is lost, so that the new ones take its place."""
        if entry.sha256 != proof.sha256 or dirname(entry.path) != dirname(entry.sidecar):
            return None
        try:
            size = (self._root / entry.path).stat().st_size
        except OSError:
            return None
        return entry.path if size == proof.size else None

    def _claim(self, sidecar: str) -> bool:
        with self._lock:
            if sidecar in self._claimed:
                return False
            self._claimed.add(sidecar)
            return True


def _updated_at(document: bytes) -> object:
    """Read a document's `updatedAt`; one that is neither a text nor null stays raw, and equals nothing remembered."""
    value = msgspec.json.decode(document, type=_Document).updatedAt
    return msgspec.json.decode(value) if bytes(value).strip()[:1] in {b'"', b"n"} else value
