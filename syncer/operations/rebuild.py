"""Make the manifest anew from sidecars and journal alone, equal row for row to the one it replaces.

The journal's events are replayed through the same writer that wrote them the first time; a pair of which nothing tells
is taken up at the end, and told. Only the statistics of runs stand nowhere else: they are
carried over where the old manifest can still be read. The new one is made beside the old one, checked, and put in its
place in one step; the old one is kept as evidence. Neither credentials nor network are needed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from posixpath import basename

import msgspec

from syncer.archive import journal, layout, sidecar
from syncer.archive.disk import fsync, holds, in_thread, translated
from syncer.archive.journal import Break, Journal, JournalLine
from syncer.archive.store import Archive
from syncer.errors import ArchiveUnwritable, Damaged, SafetyStop, UnexpectedAnswer
from syncer.manifest.audit import Audit, Expected, refuse_newer
from syncer.manifest.manifest import Manifest
from syncer.model import Change, Finding, Found, Harm, Hole, Introduced
from syncer.operations import tree
from syncer.operations.chronicle import Kept, Made, tell
from syncer.operations.copying import keep_copy
from syncer.operations.replay import BATCH, load, stored, take, understood
from syncer.operations.tree import Present
from syncer.operations.verification import Part, Progress, Watch


@dataclass(slots=True)
class Rebuilt:
    """What a rebuild came to. `evidence` is where the old manifest lies, None if there was none."""

    rows: dict[str, int] = field(default_factory=dict)
    found: int = 0  # pairs of which nothing told
    problems: int = 0
    carried: bool = False  # whether the statistics of runs could be carried over
    evidence: str | None = None


async def rebuild(archive: Archive, journal_: Journal, run: str, watch: Watch, result: Rebuilt) -> None:
    """Rebuild the manifest of an archive that is held. Raises `SafetyStop` where that would lose something.

    Raises `ConfigError` where a newer syncer made the manifest or its copy: it may know more than we can tell.
    """
    root, archive_id = archive.root, archive.id
    if archive_id is None:
        raise SafetyStop(
            "the archive's marker is missing",
            hint="is the disk mounted? If it is the right folder, put syncer-archive.json back from a backup",
            archive=root,
        )
    fresh, old = root / tree.FRESH, root / layout.MANIFEST
    with translated(root):
        for known in (old, root / tree.COPY):
            await in_thread(refuse_newer, known)
        for leftover in root.glob(f"{tree.FRESH}*"):
            leftover.unlink()
    async with Manifest.open(fresh) as manifest, Audit.begin(Part()) as told:
        marker = msgspec.json.decode((root / layout.MARKER).read_bytes(), type=dict[str, str | int])
        await manifest.bind(archive_id, str(marker["created"]))
        replay = _Replay(root, manifest, told, watch, result)
        await replay.journal()
        await replay.unknown_pairs(journal_)
        journal_.append("manifest.rebuilt", problems=result.problems, found=result.found)
        await journal_.flush()
        await manifest.record([], journal_.seal)
        result.carried = await manifest.carry_over(old) or await manifest.carry_over(root / tree.COPY)
        await manifest.check()
        result.rows = await manifest.sizes()
        await keep_copy(archive, manifest, fresh)
    result.evidence = await in_thread(swap, root, run)


def swap(root: Path, run: str) -> str | None:
    """Put the new manifest in the old one's place in one step, and the old one with its log among the evidence."""
    fresh, old = root / tree.FRESH, root / layout.MANIFEST
    evidence = root / layout.EVIDENCE / run
    with translated(root):
        fsync(fresh)
        kept = old.exists()
        logs = [log for suffix in ("-wal", "-shm") if (log := old.with_name(f"{old.name}{suffix}")).exists()]
        if kept or logs:
            evidence.mkdir(parents=True)
            # They would be read into the new one. Without them the old one is only older: the journal knows the rest.
            for log in logs:
                log.rename(evidence / log.name)
            if kept:
                try:
                    os.link(old, evidence / old.name)
                except OSError:  # not on every file system
                    shutil.copy2(old, evidence / old.name)
            fsync(evidence)
        fresh.replace(old)
        fsync(root)
    return str(evidence.relative_to(root)) if kept or logs else None


class _Replay:
    """One rebuild under way."""

    def __init__(self, root: Path, manifest: Manifest, told: Audit, watch: Watch, result: Rebuilt) -> None:
        self._root = root
        self._manifest = manifest
        self._told = told  # which files are accounted for
        self._watch = watch
        self._result = result
        self._broken = False
        self._workspaces: set[str] = set()

    def _problem(self, finding: Finding) -> None:
        self._result.problems += 1
        self._watch(finding)

    async def journal(self) -> None:
        """Replay all that the journal tells."""
        done = 0
        facts = self._facts()
        while batch := await in_thread(take, facts, BATCH):
            changes: list[Change] = []
            files: list[Expected] = []
            seal = None
            for line, fact, change in batch:
                seal = line.seal if isinstance(line, JournalLine) else seal
                if isinstance(fact, Kept):
                    ids = (fact.workspace_id, fact.image_id, fact.revision)
                    files.append(Expected(fact.sidecar, fact.sidecar_sha256, None, *ids))
                if isinstance(fact, Introduced):
                    self._workspaces.add(fact.workspace_id)
                if isinstance(fact, Made):
                    await self._manifest.bind(fact.archive, fact.created)
                elif isinstance(fact, Break):
                    if not fact.file:  # to go on would be to forget all that it tells
                        raise ArchiveUnwritable("the journal cannot be read", reason=fact.reason)
                    self._broken = True
                    path = f"{layout.JOURNAL}/{fact.file}"
                    self._problem(Finding(Harm.CHAIN, path, f"line {fact.line}: {fact.reason}"))
                elif isinstance(change, Finding):
                    self._problem(change)
                elif change is not None:
                    changes.append(change)
            await self._told.expect(files)
            await self._manifest.record(changes, seal)
            done += len(batch)
            self._watch(Progress("journal", done, None, 0))

    def _facts(self) -> Iterator[tuple[JournalLine | Break, object, Change | Finding | None]]:
        """Read the journal and the sidecars, in a thread."""
        for line in journal.read(self._root):
            fact = line if isinstance(line, Break) else understood(line)
            match fact:
                case Kept():
                    if fact.sidecar_sha256 is None:
                        raise SafetyStop(
                            "this archive keeps no sidecars, so its manifest cannot be made from them",
                            hint=f"put {layout.MANIFEST} back from {tree.COPY} or from a backup",
                            image=fact.image_id,
                        )
                    yield line, fact, load(self._root, fact)
                case None | Break() | Made():
                    yield line, fact, None
                case _:
                    yield line, fact, fact

    async def unknown_pairs(self, journal_: Journal) -> None:
        """Take up the pairs of which the journal does not tell, and tell of them from now on."""
        if self._broken:  # what the lost lines said is not known, so known ground proves nothing
            await self._learn(journal_, [Hole(workspace_id, True) for workspace_id in sorted(self._workspaces)])
        sidecars = (
            one.path for one in tree.walk(self._root) if isinstance(one, Present) and one.path.endswith(".json")
        )
        while batch := await in_thread(take, sidecars, BATCH):
            known = await self._told.expected(batch)
            unknown = [path for path in batch if path not in known]
            pairs = await in_thread(list, map(self._pair, unknown))
            changes: list[Change] = []
            for pair in pairs:
                if isinstance(pair, Finding):
                    self._problem(pair)
                    continue
                workspace_id = pair.revision.workspace_id
                if workspace_id not in self._workspaces:
                    self._workspaces.add(workspace_id)
                    folder = pair.revision.sidecar.partition("/")[0]
                    changes += [Introduced(workspace_id, None, folder), Hole(workspace_id, True)]
                changes.append(pair)
                self._result.found += 1
            await self._learn(journal_, changes)

    async def _learn(self, journal_: Journal, changes: list[Change]) -> None:
        if not changes:
            return
        for change in changes:
            tell(journal_, change, lambda revision: (self._root / revision.sidecar).read_bytes())
        await journal_.flush()
        await self._manifest.record(changes, journal_.seal)

    def _pair(self, path: str) -> Found | Finding:
        """Read a sidecar and believe it if it stands in its place and its bytes are there."""
        try:
            revision = sidecar.read((self._root / path).read_bytes(), path)
            found = stored(revision, found=True)
        except OSError as error:
            return Finding(Harm.UNREADABLE, path, error.strerror or str(error))
        except (Damaged, UnexpectedAnswer) as error:
            return Finding(Harm.STRAY, path, error.message)
        if basename(path) != f"{layout.stem(revision.image_id, revision.number)}.json" or not isinstance(found, Found):
            return Finding(Harm.STRAY, path, "a sidecar that does not stand in its place")
        if not holds(self._root / revision.path, revision.sha256):
            ids = (revision.workspace_id, revision.image_id, revision.number)
            return Finding(Harm.CORRUPT, revision.path, "missing, or not the bytes that its sidecar tells of", *ids)
        return found
