"""Put a file back that was damaged or lost: the one case in which something takes a final name's place.

The bytes are proven by their hash before anything is touched, and what was there is moved aside, never removed: damaged
bytes are evidence. A crash in between leaves the file missing, and the next repair puts it back.
"""

from __future__ import annotations

import os

from syncer.archive import layout
from syncer.archive.disk import Disk, StrPath, holds
from syncer.errors import Damaged


def mend(disk: Disk, part: StrPath, path: str, *, sha256: str, run: str) -> str | None:
    """Give the staged `part` the final name `path`; returns where what was there lies now, None if there was nothing.

    Raises `Damaged` for other bytes.
    """
    if not holds(part, sha256):
        raise Damaged("the bytes are not the ones that were kept", path=path, expected=sha256)
    disk.settle([part], [])
    target, evidence = disk.root / path, f"{layout.EVIDENCE}/{run}/{path}"
    there = os.path.lexists(target)
    if there:
        disk.settle([], disk.move(target, disk.root / evidence) | {target.parent})
    disk.settle([], disk.move(part, target))
    return evidence if there else None
