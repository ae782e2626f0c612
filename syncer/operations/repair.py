"""Mend what a verification found, from what is provably right; what cannot be mended is told for ever.

A picture is fetched again and put back only if the service still has the very bytes; a sidecar is written again from
its row only if that gives the bytes whose hash the journal tells. Damaged files are moved aside as evidence. A picture
of an image that the service does not know any more, or has another picture of now, is lost: the manifest remembers it,
and `status` shows it. Both have to be seen twice, since a service that is not well says such things, too.
Strays, a broken chain and a damaged manifest are not touched: the last is made anew by `rebuild`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from syncer.archive import journal, layout
from syncer.archive.disk import in_thread
from syncer.archive.journal import JournalLine
from syncer.archive.sidecar import render
from syncer.errors import Damaged, NotFound, SyncerError
from syncer.model import Finding, Harm, Image, Lost, Repaired, Revision
from syncer.operations.chronicle import Kept, digest
from syncer.operations.ledger import Ledger
from syncer.operations.replay import understood
from syncer.operations.rooms import Rooms
from syncer.operations.verification import Options, Progress, Verification
from syncer.operations.verification import Watch as Look
from syncer.operations.verify import look
from syncer.redaction import redact

SURE = 2  # so often has the service to say no, or to send another picture, before one is given up
MENDABLE = frozenset({Harm.CORRUPT, Harm.MISSING, Harm.UNREADABLE, Harm.SIDECAR})


@dataclass(frozen=True, slots=True)
class Planned:
    """A file that is going to be put back: `sidecar` from the manifest, else the picture from the service."""

    finding: Finding
    sidecar: bool


@dataclass(frozen=True, slots=True)
class Mended:
    """A file is as it was; what was in its place lies in `evidence`."""

    path: str
    evidence: str | None


@dataclass(frozen=True, slots=True)
class Unmended:
    """A file could not be put back; `lost` if it never can be from here."""

    path: str
    reason: str
    lost: bool


Watch = Callable[[Planned | Mended | Unmended], None]


@dataclass(slots=True)
class Repair:
    """What a repair came to."""

    mended: int = 0
    lost: int = 0
    unmended: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def damage(self) -> int:
        """How much damage is left."""
        return sum(finding.harm.damage for finding in self.findings) - self.mended


async def repair(rooms: Rooms, options: Options, see: Look, watch: Watch, looked: Verification, result: Repair) -> None:
    """Verify, say what is going to be done, and do it. Raises what ends the run."""

    def seen(event: Finding | Progress) -> None:
        if isinstance(event, Finding):
            result.findings.append(event)
        see(event)

    await look(rooms.archive.root, options, seen, looked)
    plan = [
        Planned(finding, finding.path.endswith(".json"))
        for finding in result.findings
        if finding.harm in MENDABLE and finding.image_id is not None
    ]
    for planned in plan:
        watch(planned)
    kept = await in_thread(_kept, rooms, {planned.finding.path for planned in plan})
    async with Ledger(rooms.archive, rooms.journal, rooms.manifest, lambda _: None) as ledger:
        for planned in plan:
            outcome = await _mend(rooms, planned, kept)
            finding = planned.finding
            where = (str(finding.workspace_id), str(finding.image_id), int(finding.revision or 0), finding.path)
            match outcome:
                case Mended(_, evidence):
                    result.mended += 1
                    await ledger.note(Repaired(*where, evidence, layout.stamp(rooms.now())))
                case Unmended(_, reason, lost):
                    result.lost += lost
                    result.unmended += not lost
                    if lost:
                        await ledger.note(Lost(*where, reason, layout.stamp(rooms.now())))
            watch(outcome)
        for one in await _found_again(rooms, options, result):
            where = (one.workspace_id, one.image_id, one.revision, one.path)
            await ledger.note(Repaired(*where, None, layout.stamp(rooms.now())))


async def _found_again(rooms: Rooms, options: Options, result: Repair) -> list[Lost]:
    """Name what is told as lost and lies there whole: put back by a repair that ended before it could tell."""
    if options.quick:
        return []
    damaged = {finding.path for finding in result.findings}
    there = [one for one in await rooms.manifest.losses() if options.part(one.workspace_id, one.image_id)]
    return [one for one in there if one.path not in damaged]


def _kept(rooms: Rooms, paths: set[str]) -> dict[str, Kept]:
    """Read what the journal tells of these files, by path."""
    if not paths:
        return {}
    kept: dict[str, Kept] = {}
    for line in journal.read(rooms.archive.root):
        told = understood(line) if isinstance(line, JournalLine) else None
        if isinstance(told, Kept):
            kept |= {path: told for path in (told.path, told.sidecar) if path in paths}
    return kept


async def _mend(rooms: Rooms, planned: Planned, kept: dict[str, Kept]) -> Mended | Unmended:
    finding = planned.finding
    row = await rooms.manifest.revision(str(finding.workspace_id), str(finding.image_id), int(finding.revision or 0))
    if row is None:
        return Unmended(finding.path, "the manifest does not know of it: see `syncer rebuild`", lost=False)
    told = kept.get(finding.path)
    try:
        if planned.sidecar:
            return await _write_again(rooms, row, told)
        if told is not None and told.sha256 != row.sha256:
            return Unmended(finding.path, "journal and manifest tell of different bytes", lost=False)
        return await _fetch_again(rooms, row)
    except SyncerError as error:
        if error.fatal:
            raise
        return Unmended(finding.path, redact(str(error)), lost=False)


async def _write_again(rooms: Rooms, row: Revision, told: Kept | None) -> Mended | Unmended:
    data = render(row)
    if told is None or told.sidecar_sha256 != digest(data):
        return Unmended(row.sidecar, "the manifest's row does not give the bytes that the journal tells of", lost=False)
    evidence = await rooms.archive.put_back(data, row.sidecar, sha256=digest(data), run=rooms.run)
    return Mended(row.sidecar, evidence)


async def _fetch_again(rooms: Rooms, row: Revision) -> Mended | Unmended:
    image = await _known(rooms, row)
    if image is None:
        return Unmended(row.path, "the service does not have it any more", lost=True)
    others = 0

    async def attempt() -> Mended | Unmended:
        nonlocal others
        try:
            async with rooms.service.content(image) as content:
                return Mended(
                    row.path, await rooms.archive.put_back(content, row.path, sha256=row.sha256, run=rooms.run)
                )
        except Damaged as error:  # it may have been cut on its way, or be no picture at all
            if error.facts.get("expected") != row.sha256:
                raise
            others += await _proven(rooms, image) != row.sha256
            if others < SURE:
                raise
            return Unmended(row.path, "the service has other bytes under this id now", lost=True)

    try:
        return await rooms.service.retrying(attempt)
    except NotFound:
        return Unmended(row.path, "the service knows the image, and does not give its bytes now", lost=False)


async def _known(rooms: Rooms, row: Revision) -> Image | None:
    """Ask for an image until the service knows it, or has said often enough that it does not."""
    for _ in range(SURE):
        with suppress(NotFound):
            return await rooms.service.image(row.workspace_id, row.image_id)
    return None


async def _proven(rooms: Rooms, image: Image) -> str:
    """Return the hash of what the service sends, if the archive would keep it as a picture. Raises `Damaged`."""
    held = (await rooms.manifest.entries(image.workspace_id, [image.id])).get(image.id)
    async with rooms.service.content(image) as content:
        staged = await rooms.archive.stage(image, content, folder="", entry=held, run=rooms.run)
    rooms.archive.discard(staged)
    return staged.revision.sha256
