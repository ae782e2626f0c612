"""How long `rebuild` and `verify` take, and how much memory, over an archive of small pictures made for it.

    python tests/benchmarks/bench_rebuild.py [IMAGES]

Prints one line each: seconds, images a second, the minutes that 100,000 images would take, and the peak of memory.
"""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

from syncer import app
from syncer.archive import layout
from syncer.archive.journal import Journal
from syncer.archive.sidecar import render
from syncer.archive.store import Archive
from syncer.model import Introduced, Reason, Revision, Stored
from syncer.operations.chronicle import Made, digest, tell, tell_made
from syncer.operations.rebuild import Rebuilt, rebuild
from syncer.operations.verification import Options, Verification
from syncer.operations.verify import verify
from syncer.service.wire import decode_image
from syncer.settings import ArchiveSettings, Settings


async def furnish(root: Path, images: int) -> None:
    """Write an archive as a backup would have: pictures of 2 KiB, sidecars, one journal."""
    run = "20260101-000000-bench"
    async with Archive.open(root, reserve=0, image_bytes=1 << 20) as archive, Journal.open(root, run) as journal:
        archive_id = archive.create_marker()
        tell_made(journal, Made(archive_id, "2026-01-01T00:00:00Z", digest((root / layout.MARKER).read_bytes())))
        tell(journal, Introduced("w", "Bench", "w"), lambda _: None)
        for number in range(images):
            await asyncio.to_thread(add, root, journal, run, number)
            if number % 500 == 0:
                await journal.flush()


def add(root: Path, journal: Journal, run: str, number: int) -> None:
    image_id, day = f"image-{number:07}", f"w/2026/{number % 12 + 1:02}/{number % 28 + 1:02}"
    body = b"\x89PNG\r\n" + str(number).encode() * 300
    document = {"id": image_id, "prompt": "a bicycle in the rain " * 8, "model": "m", "parameters": {"seed": number}}
    document |= {"createdAt": "2026-01-01T00:00:00Z", "updatedAt": "2026-01-01T00:00:00Z", "imageSize": len(body)}
    revision = Revision(
        workspace_id="w",
        image_id=image_id,
        number=1,
        sha256=sha256(body).hexdigest(),
        size=len(body),
        media_type="image/png",
        path=f"{day}/{image_id}.png",
        sidecar=f"{day}/{image_id}.json",
        fetched_at="2026-01-02T00:00:00.000Z",
        run=run,
        document=json.dumps(document).encode(),
    )
    (root / day).mkdir(parents=True, exist_ok=True)
    (root / revision.path).write_bytes(body)
    (root / revision.sidecar).write_bytes(render(revision))
    tell(journal, Stored(decode_image(revision.document, "w"), revision, Reason.NEW), render)


async def measure(root: Path, images: int) -> None:
    settings = Settings(ArchiveSettings(path=root, reserve=0), workspaces=())
    result, looked = Rebuilt(), Verification()
    started = time.monotonic()
    async with app.held(settings, "bench") as (archive, journal, run):
        await rebuild(archive, journal, run, lambda _: None, result)
    report("rebuild", images, time.monotonic() - started)
    assert (result.rows["images"], result.problems) == (images, 0)
    started = time.monotonic()
    await verify(root, Options(), lambda _: None, looked)
    report("verify", images, time.monotonic() - started)
    assert (looked.pictures, looked.damage) == (images, 0)


def report(name: str, images: int, seconds: float) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    for_many = 100_000 / images * seconds / 60
    print(f"{name:8} {seconds:6.1f} s  {images / seconds:8,.0f}/s  100,000: {for_many:.1f} min  peak {peak:.0f} MiB")  # noqa: T201


def main() -> None:
    if len(sys.argv) == 4:  # in a process of its own, so that the peak of memory is its own
        asyncio.run(measure(Path(sys.argv[2]), int(sys.argv[3])))
        return
    images = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    folder = Path(tempfile.mkdtemp(prefix="bench-"))
    try:
        asyncio.run(furnish(folder / "archive", images))
        subprocess.run([sys.executable, __file__, "measure", str(folder / "archive"), str(images)], check=True)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
