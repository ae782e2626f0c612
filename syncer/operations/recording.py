"""Tell the journal that a verification was made, wherever that harms nothing.

An auditor's copy and another user's archive are left as they are, and a journal whose end may be missing, so that this
stays to be seen. Other damage to the journal is no reason to be silent: backups append to it as well, and damage of
which nobody is told stays unseen. The manifest learns of it at once where nothing was found wrong with it and it is of
our own version, else when it is next opened for a backup.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from pathlib import Path

from syncer.archive import layout
from syncer.archive.journal import Journal
from syncer.archive.lock import WRITER, at_home
from syncer.archive.store import Archive
from syncer.errors import SyncerError
from syncer.manifest.manifest import Manifest
from syncer.manifest.reader import Reader
from syncer.model import Harm, Verified
from syncer.operations.chronicle import tell
from syncer.operations.replay import catch_up
from syncer.operations.verification import Options, Verification

DOUBTED = frozenset({Harm.MANIFEST, Harm.BEHIND, Harm.MARKER})  # a manifest is left alone where one of these was found


def against(root: Path, result: Verification) -> str | None:
    """Say in plain words why a verification of the archive at `root` is not to be told to it; None where it may be."""
    journal, staging = root / layout.JOURNAL, root / layout.STAGING
    lock = staging / WRITER
    if not result.lines:
        return "there is no journal"
    if not result.sealed:  # a line of ours would come where others are missing, and hide that they are
        return "the journal's end is missing, or the manifest is of another journal"
    try:
        if not (lock.exists() and at_home(staging)):
            return "this looks like a copy of an archive (if it is none: the next backup sees to that)"
        if lock.stat().st_size:  # opening the archive would complete what is left, and that is not for us to do
            return "an earlier run did not end in peace; the next backup sees to it"
        if not all(os.access(place, os.W_OK) for place in (journal, lock, staging)):
            return "the archive cannot be written"
        uid = journal.stat().st_uid
        if uid != os.geteuid() and uid != owner(staging):  # what we wrote its owner may not be able to read
            return "the archive belongs to another user"
    except OSError as error:
        return f"the archive cannot be looked at: {error.strerror}"
    return None


def owner(folder: Path) -> int:
    """Say whose (as a uid) a file becomes that we make there: a network share or a memory stick has its own ideas.

    Raises `OSError`.
    """
    with tempfile.TemporaryFile(dir=folder) as probe:  # without a name, wherever that can be
        return os.fstat(probe.fileno()).st_uid


def verified(options: Options, result: Verification, at: str, *, damage: int | None = None) -> Verified:
    """Sum up a verification that came to its end.

    `damage` is how much there is in the end, what it found if not given: a repair leaves less, and one that was resumed
    knows of more. `at` is the time of its end, UTC, as `layout.stamp` spells it.
    """
    return Verified(
        part=options.part.number,
        parts=options.part.of,
        quick=options.quick,
        resumed=bool(options.after),
        files=result.pictures + result.sidecars,
        size=result.bytes,
        damage=result.damage if damage is None else damage,
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
    path = archive.root / layout.MANIFEST
    if result.found.keys() & DOUBTED or not path.exists():
        return
    with suppress(SyncerError):
        with Reader.open(path) as reader:
            if not reader.up_to_date:  # an older program may still be in use, and could not read it any more
                return
        async with Manifest.open(path) as manifest:
            bound = await manifest.bound()
            if bound.get("archive_id") != archive.id:
                return
            if bound.get("seal") == before:
                await manifest.record([told], journal.seal)
            else:  # an earlier verification could not tell it
                await catch_up(archive.root, manifest, journal.seal)
