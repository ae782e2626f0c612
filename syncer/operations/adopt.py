"""Use files that are on this machine already instead of downloading them: another tool's folder, an older copy.

A file stands in for a download only when its size and a strong hash agree with what the service states in the head of
its answer; the body is then not read. Everything that is checked of a download is checked of the file as well. Nothing
in the folder is changed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path

from syncer.errors import ConfigError, Damaged
from syncer.model import Content

STRONG = ("sha256", "md5")  # crc32c tells damage, not one picture from another
BLOCK = 256 * 1024


@dataclass(frozen=True, slots=True)
class Match:
    """A local file that has the bytes which the service would send."""

    path: Path
    content: Content


class LocalCopies:
    """The files below a folder, by size. `used` counts those that saved a download, `saved` their bytes."""

    def __init__(self, by_size: dict[int, list[Path]]) -> None:
        self._by_size = by_size
        self._failed: set[Path] = set()  # that could be hashed and then not be read
        self.used = 0
        self.saved = 0

    @classmethod
    def below(cls, folder: Path) -> LocalCopies:
        """Look through a folder. Raises `ConfigError` where there is none that can be read."""
        by_size: dict[int, list[Path]] = defaultdict(list)
        try:
            for place, _, names in os.walk(folder, onerror=_refuse):
                for name in names:
                    path = Path(place, name)
                    if path.is_file() and not path.is_symlink():
                        by_size[path.stat().st_size].append(path)
        except OSError as error:
            raise ConfigError(
                f"cannot read {folder}: {error.strerror}", hint="name a folder that you may read"
            ) from error
        return cls(dict(by_size))

    def __len__(self) -> int:
        return sum(map(len, self._by_size.values()))

    async def match(self, content: Content) -> Match | None:
        """Find a file with the size and the hash that the answer's head states; None where it states no strong one.

        Reading its content raises `Damaged` where the file is gone meanwhile; it is not offered again.
        """
        algorithm = next((name for name in STRONG if name in content.digests), None)
        if algorithm is None or content.length is None:
            return None
        for path in self._by_size.get(content.length, ()):
            if path in self._failed:
                continue
            if await asyncio.to_thread(_digest, path, algorithm) == content.digests[algorithm]:
                return Match(path, replace(content, chunks=self._chunks(path)))
        return None

    async def _chunks(self, path: Path) -> AsyncIterator[bytes]:
        size = 0
        try:
            with path.open("rb") as file:
                while block := await asyncio.to_thread(file.read, BLOCK):
                    size += len(block)
                    yield block
        except OSError as error:
            self._failed.add(path)
            raise Damaged("the local file cannot be read any more", reason=error.strerror) from error
        self.used += 1
        self.saved += size


def _refuse(error: OSError) -> None:
    raise error


def _digest(path: Path, algorithm: str) -> bytes:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, algorithm).digest()
    except OSError:  # gone or locked meanwhile: then it is downloaded
        return b""
