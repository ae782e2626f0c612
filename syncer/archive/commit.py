"""Give staged files their final names, in an order that a crash cannot break; complete what a crash interrupted.

Promise 1 of the architecture, bytes before rows: the staged files are made durable, then the bytes are renamed, then
the sidecars, each step durable before the next. Where a sidecar belongs is written down beside it before the first
rename, so that whoever comes after a crash can finish: redo, never undo, since nothing under a final name is removed.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from posixpath import basename, dirname

import msgspec

from syncer.archive import layout
from syncer.archive.disk import Disk, holds, in_thread
from syncer.archive.lock import NAMES
from syncer.archive.sidecar import read
from syncer.errors import Damaged
from syncer.model import Revision

_AT_A_TIME = 16  # files that are named before others have a turn


@dataclass(frozen=True, slots=True)
class Staged:
    """A proven revision on its way: `part` becomes `revision.path`, `sidecar` becomes `revision.sidecar`.

    Without a `part` the bytes are there already, without either the pair is. `notes` say what was odd about it,
    `words` are the sidecar's.
    """

    revision: Revision
    part: str | None = None
    sidecar: str | None = None
    notes: tuple[str, ...] = ()
    words: bytes = b""


async def carry_out(disk: Disk, batch: Sequence[Staged], plan: str) -> None:
    """Commit a batch; `plan` is the staged file that remembers its sidecars' places meanwhile. Raises `OSError`."""
    root = str(disk.root)
    parts = [(staged.part, f"{root}/{staged.revision.path}") for staged in batch if staged.part]
    sidecars = [(staged.sidecar, f"{root}/{staged.revision.sidecar}") for staged in batch if staged.sidecar]
    if not parts and not sidecars:
        return
    places = {basename(staged.sidecar): staged.revision.sidecar for staged in batch if staged.sidecar}
    disk.write(plan, msgspec.json.encode(places))
    files = [plan, *(staged for staged, _ in (*parts, *sidecars))]

    def settled(files_: Collection[str], folders: Collection[str]) -> None:
        try:
            disk.settle(files_, folders)
        except OSError:
            disk.discard(*files)  # in the thread: also where nobody waits for it any more
            raise

    await in_thread(settled, files, [dirname(plan)])
    for moves in (parts, sidecars):
        await in_thread(settled, [], await _move(disk, moves))
    disk.discard(plan)


async def _move(disk: Disk, moves: Sequence[tuple[str, str]]) -> set[str]:
    """Give staged files their names; returns the folders whose names changed.

    Not in a thread, which would ask for the interpreter after every single one, and wait for it longer than they take.
    """
    folders = set[str]()
    for at in range(0, len(moves), _AT_A_TIME):
        for staged, target in moves[at : at + _AT_A_TIME]:
            folders |= disk.move(staged, target)
        await asyncio.sleep(0)
    return folders


def recover(disk: Disk, *, clean: bool) -> None:
    """Complete the commits that a crash interrupted, then empty the staging folder.

    After an unclean end all that can be seen is made durable first, so that what is found later may be believed.
    """
    if not clean:
        disk.settle_all()
    staging = disk.root / layout.STAGING
    for plan in sorted(staging.glob("*.plan")):
        _complete(disk, plan)
    for path in staging.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in NAMES:
            path.unlink(missing_ok=True)  # a verification may have made a file for a moment


def _complete(disk: Disk, plan: Path) -> None:
    """Give the sidecars of a plan their names where their bytes already have theirs."""
    try:
        places = msgspec.json.decode(plan.read_bytes(), type=dict[str, str])
    except msgspec.MsgspecError:
        return  # cut, so nothing had been renamed yet
    moves = [
        (plan.parent / name, disk.root / place)
        for name, place in places.items()
        if _stands(disk.root, plan.parent / name, place)
    ]
    disk.settle([staged for staged, _ in moves], [])
    disk.settle([], {folder for staged, target in moves for folder in disk.move(staged, target)})


def _stands(root: Path, staged: Path, place: str) -> bool:
    """Say whether a staged sidecar is whole and misses nothing but its name."""
    try:
        revision = read(staged.read_bytes(), place)
    except (FileNotFoundError, Damaged):
        return False
    return not os.path.lexists(root / place) and holds(root / revision.path, revision.sha256)
