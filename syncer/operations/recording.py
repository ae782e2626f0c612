"""Tell the journal that a verification was made, wherever that harms nothing.

An auditor's copy, another user's archive, a journal that is damaged and therefore evidence: all these are left as they
are. The manifest learns of it at once where nothing was found wrong with it, else when it is next opened for a backup.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from syncer.archive import layout
from syncer.archive.journal import Journal
from syncer.archive.lock import WRITER
from syncer.archive.store import Archive
from syncer.errors import SyncerError
from syncer.manifest.manifest import Manifest
from syncer.model import Harm, Verified
from syncer.operations import tree
from syncer.operations.chronicle import tell
from syncer.operations.replay import catch_up
from syncer.operations.verification import Options, Verification

DOUBTED = frozenset({Harm.MANIFEST, Harm.BEHIND, Harm.MARKER})  # a manifest is left alone where one of these was found


def against(root: Path, result: Verification) -> str | None:
    """Say in plain words why a verification of the archive at `root` is not to be told to it; None where it may be."""
    journal, lock = root / layout.JOURNAL, root / layout.STAGING / WRITER
    if not result.lines:
        return "there is no journal"
    if result.found[Harm.CHAIN]:
        return "the journal is damaged, and stays as it is"
    try:
        if not lock.exists():  # it stays for good where a backup has ever been at work
            return "this looks like a copy of an archive"
        if journal.stat().st_uid != os.geteuid():  # what we wrote there its owner may not be able to read
            return "the archive belongs to another user"
        if lock.stat().st_size:  # opening the archive would complete what is left, and that is not for us to do
            return "an earlier run did not end in peace; the next backup sees to it"
    except OSError as error:
        return f"the archive cannot be looked at: {error.strerror}"
    if not (os.access(journal, os.W_OK) and os.access(lock, os.W_OK)):
        return "the archive cannot be written"
    return None


def verified(options: Options, result: Verification, at: str, *, damage_before: int = 0) -> Verified:
    """Sum up a verification that came to its end; `damage_before` is what an interrupted one had found that it resumed.

    `at` is the time of its end, UTC, as `layout.stamp` spells it.
    """
    return Verified(
        part=options.part.number,
        parts=options.part.of,
        quick=options.quick,
        resumed=bool(options.after),
        files=result.pictures + result.sidecars,
        size=result.bytes,
        damage=result.damage + damage_before,
        findings={str(harm): count for harm, count in sorted(result.found.items())},
        at=at,
    )


async def write_down(archive: Archive, journal: Journal, told: Verified, result: Verification) -> None:
    """Tell the journal of an archive that is held, durably; and its manifest, where nothing was found wrong with it.

    Raises `ArchiveUnwritable` where the journal could not be written. Trouble with the manifest is for the next backup.
    """
    before = journal.seal
    tell(journal, told, lambda _: None)
    await journal.flush()
    path = archive.root / tree.MANIFEST
    if result.found.keys() & DOUBTED or not path.exists():
        return
    with suppress(SyncerError):
        async with Manifest.open(path) as manifest:
            bound = await manifest.bound()
            if bound.get("archive_id") != archive.id:
                return
            if bound.get("seal") == before:
                await manifest.record([told], journal.seal)
            else:  # an earlier verification could not tell it
                await catch_up(archive.root, manifest, journal.seal)
