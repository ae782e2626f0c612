"""A workspace as plain files that any web server can serve: valid pictures, and the pages of its listing."""

from __future__ import annotations

import json
import os
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from pathlib import Path
from uuid import UUID

WORKSPACE = "5f0c2a9e-bench"
PAGE = 200
SHARDS = 256  # folders that the pictures lie in
_NEWEST = datetime(2026, 11, 22, tzinfo=UTC)


@dataclass(frozen=True)
class Corpus:
    """What was made: a folder to serve, and the sizes in it."""

    root: Path
    images: int
    bytes: int

    def paths(self) -> list[str]:
        """Every picture's path under the root, in the order of the listing."""
        return [place(number) for number in range(self.images)]


def place(number: int) -> str:
    """Say where a picture lies under the served folder."""
    return f"content/{number % SHARDS:02x}/{number:08}.png"


def small(chance: random.Random) -> int:
    """Give the size of a thumbnail."""
    return 8 * 1024


def picture(chance: random.Random) -> int:
    """Give a size as generated pictures have them: 60 % of 150 to 400 KB, 40 % of 1 to 2.5 MB."""
    if chance.random() < 0.6:
        return chance.randrange(150_000, 400_000)
    return chance.randrange(1_000_000, 2_500_000)


def make(root: Path, images: int, size: Callable[[random.Random], int], origin: str) -> Corpus:
    """Write so many pictures of noise and their listing under `root`; links go to `origin`."""
    chance, total = random.Random(7), 0
    noise = os.urandom(4 << 20)
    for shard in range(min(SHARDS, images)):
        (root / f"content/{shard:02x}").mkdir(parents=True, exist_ok=True)
    sizes = []
    for number in range(images):
        body = png(size(chance), noise, chance.randrange(1 << 20), number)
        (root / place(number)).write_bytes(body)
        sizes.append(len(body))
        total += len(body)
    list_pages(root, images, origin, lambda number: sizes[number])
    return Corpus(root, images, total)


def list_pages(root: Path, images: int, origin: str, size: Callable[[int], int]) -> None:
    """Write the pages of a listing of so many images, newest first, and an empty one behind the last."""
    pages = root / "pages"
    pages.mkdir(parents=True, exist_ok=True)
    last = -(-images // PAGE)
    for page in range(1, last + 2):
        rows = [row(n, size(n), origin) for n in range((page - 1) * PAGE, min(page * PAGE, images))]
        head = {"size": PAGE, "totalElements": images, "totalPages": last, "currentPage": page}
        (pages / f"{page}.json").write_text(json.dumps({"page": head, "data": rows}))


def row(number: int, size: int, origin: str) -> dict[str, object]:
    """Make the service's own JSON for an image."""
    created = f"{_NEWEST - timedelta(minutes=number):%Y-%m-%dT%H:%M:%SZ}"
    return {
        "id": str(UUID(bytes=blake2b(number.to_bytes(8), digest_size=16).digest(), version=4)),
        "generationId": f"generation-{number // 4}",
        "workspaceId": WORKSPACE,
        "createdByUserId": f"user-{number % 7}",
        "prompt": f"a bicycle in the rain, number {number}, soft light, 35 mm, grain; no text, no people, wide shot",
        "model": "flux-1.1-pro",
        "parameters": {"aspectRatio": "16:9", "seed": 2**60 + number, "format": "png"},
        "inputImageIds": None,
        "imageWidth": 1024,
        "imageHeight": 1024,
        "imageSize": size,
        "createdAt": created,
        "updatedAt": created,
        "_links": {"content": f"{origin}/{place(number)}"},
    }


def png(size: int, noise: bytes, start: int, number: int) -> bytes:
    """Make a valid PNG of about this size; the number makes it another one than all others."""
    body = noise[start : start + size] if size <= len(noise) - (1 << 20) else noise[:size]
    parts = [
        b"\x89PNG\r\n\x1a\n",
        *chunk(b"IHDR", struct.pack(">IIBBBBB", 1024, 1024, 8, 2, 0, 0, 0)),
        *chunk(b"tEXt", f"Number\0{number}".encode()),
        *chunk(b"IDAT", body),
        *chunk(b"IEND", b""),
    ]
    return b"".join(parts)


def chunk(kind: bytes, data: bytes) -> Iterator[bytes]:
    """Write one chunk of a PNG."""
    yield struct.pack(">I", len(data))
    yield kind
    yield data
    yield struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))
