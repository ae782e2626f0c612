"""Read what happened back from the journal and the sidecars, as the changes that the manifest was made of.

The manifest is derived: bytes are durable first, then the journal, then rows. Whatever the journal tells and the
manifest does not know yet, because a run was killed or an older copy was put back, is caught up with here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from posixpath import basename
from typing import TypeVar

import msgspec
import structlog

from syncer.archive import journal, layout, sidecar
from syncer.archive.disk import in_thread
from syncer.archive.journal import Break, JournalLine
from syncer.errors import ArchiveUnwritable, Damaged, UnexpectedAnswer
from syncer.manifest.manifest import Manifest
from syncer.model import Change, Finding, Found, Harm, Reason, Revision, Stored
from syncer.operations.chronicle import Kept, Made, Told, digest, told
from syncer.service.wire import decode_image

T = TypeVar("T")

log = structlog.get_logger()

BATCH = 512


def load(root: Path, kept: Kept) -> Stored | Found | Finding:
    """Read the sidecar of a revision; what is not as the event tells it is a finding."""

    def finding(harm: Harm, detail: str) -> Finding:
        return Finding(harm, kept.sidecar, detail, kept.workspace_id, kept.image_id, kept.revision)

    try:
        data = (root / kept.sidecar).read_bytes()
    except FileNotFoundError:
        return finding(Harm.MISSING, "the sidecar is not there")
    except OSError as error:
        return finding(Harm.UNREADABLE, error.strerror or str(error))
    if kept.sidecar_sha256 is not None and digest(data) != kept.sidecar_sha256:
        return finding(Harm.SIDECAR, "it is not as the journal tells it by its hash")
    try:
        return stored(sidecar.read(data, kept.sidecar), found=kept.found)
    except (Damaged, UnexpectedAnswer) as error:
        return finding(Harm.SIDECAR, str(error.facts.get("reason") or error.message))


def stored(revision: Revision, *, found: bool = False) -> Stored | Found:
    """Make of a sidecar's revision what the manifest was told when it was stored. Raises `UnexpectedAnswer`."""
    image = decode_image(revision.document, revision.workspace_id)
    return Found(image, revision) if found else Stored(image, revision, Reason.NEW)


def canonical(root: Path, path: str) -> Revision | None:
    """Read a sidecar that stands where its own words would have it; None for any other file."""
    try:
        revision = sidecar.read((root / path).read_bytes(), path)
    except (OSError, Damaged):
        return None
    return revision if basename(path) == f"{layout.stem(revision.image_id, revision.number)}.json" else None


def interrupted(root: Path) -> Iterator[Revision]:
    """Read the sidecars that a crash left staged though their pictures have their names already."""
    for plan in sorted((root / layout.STAGING).glob("*.plan")):
        places: dict[str, str] = {}
        with suppress(OSError, msgspec.MsgspecError):  # cut, so nothing had been renamed yet
            places = msgspec.json.decode(plan.read_bytes(), type=dict[str, str])
        for name, place in places.items():
            with suppress(OSError, Damaged):  # it has its name already
                revision = sidecar.read((plan.parent / name).read_bytes(), place)
                if (root / revision.path).exists():
                    yield revision


def understood(line: JournalLine) -> Told | Break | None:
    """Read one line; a line that may not be believed, or lacks something, counts as a break at its place."""
    if not line.whole:
        return Break(line.file, line.line, "the line is not as it was written")
    try:
        return told(line)
    except KeyError as error:
        return Break(line.file, line.line, f"the event lacks {error}")


async def catch_up(root: Path, manifest: Manifest, end: str) -> int:
    """Tell the manifest what the journal, whose last line is `end`, holds beyond it; returns how much that was.

    Where the line that the manifest is written up to is not there, nothing is known to lie beyond it.
    """
    seal = (await manifest.bound()).get("seal")
    if seal is None or seal == end:
        return 0
    caught = 0
    lines = _readable(root)
    if seal != journal.GENESIS and not await in_thread(any, (line.seal == seal for line in lines)):
        log.warning("manifest.seal_unmet", hint="the journal's end is missing, or the manifest is of another journal")
        return 0
    changes = _changes(root, lines)
    while batch := await in_thread(take, changes, BATCH):
        await manifest.record([change for change, _ in batch if change is not None], batch[-1][1])
        caught += sum(change is not None for change, _ in batch)
    return caught


def _readable(root: Path) -> Iterator[JournalLine]:
    """Read the journal's lines; raises `ArchiveUnwritable` where its folder cannot be read, which tells nothing."""
    for line in journal.read(root):
        if isinstance(line, JournalLine):
            yield line
        elif not line.file:
            raise ArchiveUnwritable("the journal cannot be read", path=layout.JOURNAL, reason=line.reason)


def take(iterator: Iterator[T], count: int) -> list[T]:
    """Take the next few of an iterator: a piece of work for a thread."""
    return list(islice(iterator, count))


def _changes(root: Path, lines: Iterable[JournalLine]) -> Iterator[tuple[Change | None, str]]:
    for line in lines:
        match understood(line):
            case Kept() as kept:
                loaded = load(root, kept)  # one that cannot be read is fetched anew, or found by `syncer verify`
                yield None if isinstance(loaded, Finding) else loaded, line.seal
            case None | Break() | Made():
                yield None, line.seal
            case change:
                yield change, line.seal
