"""How long `rebuild`, `verify` and `list` take, offline: `python tests/benchmarks/bench_rebuild.py`.

Pictures of 2 KB, their sidecars and a journal are written as a backup would have them, 100,000 of each (`--full`: a
million).
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from hashlib import sha256
from pathlib import Path

from bench import asked, tell, workplace
from measure import run, say

from syncer.archive import layout
from syncer.archive.journal import Journal
from syncer.archive.sidecar import render
from syncer.archive.store import Archive
from syncer.model import Introduced, Reason, Revision, Stored
from syncer.operations.chronicle import Made, digest, tell_made
from syncer.operations.chronicle import tell as tell_journal
from syncer.service.wire import decode_image

CONFIGURATION = """
[service]
url = "http://127.0.0.1:9/api"
token_url = "http://127.0.0.1:9/token"
client_id = "bench"
[archive]
path = "{archive}"
reserve = 0
[[workspaces]]
id = "w"
"""


async def furnish(root: Path, images: int) -> None:
    """Write an archive as a backup would have: pictures of 2 KiB, sidecars, one journal."""
    run = "20260101-000000-bench"
    async with Archive.open(root, reserve=0, image_bytes=1 << 20) as archive, Journal.open(root, run) as journal:
        archive_id = archive.create_marker()
        tell_made(journal, Made(archive_id, "2026-01-01T00:00:00Z", digest((root / layout.MARKER).read_bytes())))
        tell_journal(journal, Introduced("w", "Bench", "w"), lambda _: None)
        for number in range(images):
            await asyncio.to_thread(add, root, journal, run, number)
            if number % 500 == 0:
                await journal.flush()


def add(root: Path, journal: Journal, run: str, number: int) -> None:
    """Write one picture with its sidecar and its event."""
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
    tell_journal(journal, Stored(decode_image(revision.document, "w"), revision, Reason.NEW), render)


def main() -> None:
    """Write the archive, and have it rebuilt, verified and listed."""
    parser = asked(__doc__)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--full", action="store_true", help="a million images")
    given = parser.parse_args()
    images = 1_000_000 if given.full else given.images
    with workplace(given.work) as work:
        say(f"writing an archive of {images:,} under {work}")
        root = work / "archive"
        asyncio.run(furnish(root, images))
        config = work / "syncer.toml"
        config.write_text(CONFIGURATION.format(archive=root))
        lines = ["| command | wall s | CPU µs an image | peak MB |", "| --- | --- | --- | --- |"]
        for words in (["rebuild"], ["verify"], ["list", "--limit", "10"]):
            costs = [
                run([sys.executable, "-m", "syncer", "--config", str(config), *words]) for _ in range(given.rounds)
            ]
            wall, cpu = (statistics.median(getattr(cost, name) for cost in costs) for name in ("wall", "cpu"))
            peak = max(cost.memory for cost in costs) / 1e6
            lines.append(f"| `{' '.join(words)}` | {wall:.1f} | {cpu / images * 1e6:.1f} | {peak:.0f} |")
            say(lines[-1])
    tell(f"Offline, {images:,} images", "\n".join(lines))


if __name__ == "__main__":
    main()
