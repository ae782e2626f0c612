"""Trust only bytes: every file against its hash, every sidecar and row against what the journal tells.

Three tellings of the same facts stand in an archive: the sidecars, the journal, the manifest. The journal seals itself
line by line and names each picture and each sidecar by its hash; from both, a manifest is made for the moment and
compared with the one that is there, value by value. Where one of the three is missing, the others still speak.
Nothing is written, no credentials are needed, and a medium that cannot be written is fine. What is found is told to
whoever watches; mending it is left to `repair`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from syncer.archive import journal, layout, sidecar
from syncer.archive.commit import LOCK
from syncer.archive.journal import Break, JournalLine
from syncer.archive.lock import shared
from syncer.errors import ArchiveUnwritable, SafetyStop
from syncer.manifest.audit import Audit, Expected
from syncer.model import Change, Finding, Harm
from syncer.operations import tree
from syncer.operations.chronicle import Kept, Made, digest
from syncer.operations.replay import BATCH, canonical, interrupted, load, take, understood
from syncer.operations.tree import Present, Reader
from syncer.operations.verification import Options, Progress, Verification, Watch

T = TypeVar("T")

LIVE, COPY = "live", "copy"  # the manifest that is judged, and the copy of it
READERS = 2  # threads that hash
AHEAD = 4  # pieces of work that wait for them
PIECE_FILES, PIECE_BYTES = 64, 8 << 20


async def verify(root: Path, options: Options, watch: Watch, result: Verification) -> None:
    """Look at an archive as it stands. Raises `SafetyStop` where there is none, `AlreadyRunning` during a backup."""
    if not any((root / name).exists() for name in (layout.MARKER, tree.MANIFEST, layout.JOURNAL)):
        raise SafetyStop("there is no archive here", hint="is the disk mounted?", archive=root)
    with shared(root / layout.STAGING / LOCK):
        await look(root, options, watch, result)


async def look(root: Path, options: Options, watch: Watch, result: Verification) -> None:
    """Look at an archive that nobody else writes to."""
    async with Audit.begin(options.part) as audit:
        looking = _Look(root, options, watch, result, audit)
        try:
            await looking.at_all()
        finally:
            looking.close()


class _Look:
    """One verification under way."""

    def __init__(self, root: Path, options: Options, watch: Watch, result: Verification, audit: Audit) -> None:
        self._root = root
        self._options = options
        self._watch = watch
        self._result = result
        self._audit = audit
        self._reader = Reader(options.rate)
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="verify")
        self._told: set[tuple[Harm, str, str]] = set()
        self._hashed_pieces: dict[int, str] = {}  # that are done before one that came earlier: their last paths
        self._next_piece = 0
        result.reached = options.after
        self._bound: dict[str, str | None] = {}  # what the manifest says of the archive it belongs to
        self._copy_seal: str | None = None
        self._copy_met = False
        self._learnt: str | None = None  # the last line of the journal whose changes are compared
        self._made: Made | None = None
        self._sealed = True  # whether the manifest's mark into the journal was met

    def close(self) -> None:
        """Stop the threads, wherever they are."""
        self._reader.stop.set()
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def at_all(self) -> None:
        """Look at everything."""
        await self._at_manifest()
        await self._at_copy()
        await self._at_journal()
        self._at_marker()
        trusted = await self._weigh()
        await self._at_unknown_sidecars()
        await self._at_files()
        if LIVE in self._audit.attached and not self._options.quick:
            await self._at_rows(LIVE, tree.MANIFEST, trusted=trusted)
        if COPY in self._audit.attached and trusted and not self._options.quick:
            if self._copy_seal == self._learnt:
                await self._at_rows(COPY, tree.COPY, trusted=True)
            elif not self._copy_met:
                self._find(Harm.MANIFEST, tree.COPY, "it was made after a line that the journal does not hold")

    async def _in_thread(self, work: Callable[..., T], *args: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)

    def _find(self, harm: Harm, path: str, detail: str, about: Expected | None = None) -> None:
        who = (about.workspace_id, about.image_id, about.revision) if about else ()
        self._tell(Finding(harm, path, detail, *who))

    def _tell(self, finding: Finding) -> None:
        key = (finding.harm, finding.path, finding.detail if finding.image_id is None else "")
        if key not in self._told:
            self._told.add(key)
            self._result.found[finding.harm] += 1
            self._watch(finding)

    # --- manifest, journal, marker ----------------------------------------------------------------------

    async def _at_manifest(self) -> None:
        path = self._root / tree.MANIFEST
        if not path.exists():
            self._find(Harm.MISSING, tree.MANIFEST, "make it anew with `syncer rebuild`")
            return
        problems = await self._audit.attach(path, LIVE)
        for problem in problems:
            self._find(Harm.MANIFEST, tree.MANIFEST, problem)
        if not problems and LIVE not in self._audit.attached:
            self._find(Harm.BEHIND, tree.MANIFEST, "an earlier version of syncer made it; the next backup brings it up")
        self._bound = await self._audit.bound_to(LIVE)

    async def _at_copy(self) -> None:
        path = self._root / tree.COPY
        if path.exists():
            for problem in await self._audit.attach(path, COPY):
                self._find(Harm.MANIFEST, tree.COPY, problem)
        self._copy_seal = (await self._audit.bound_to(COPY)).get("seal")

    async def _at_journal(self) -> None:
        seal = self._bound.get("seal")
        open_end = LIVE not in self._audit.attached or seal is None
        learning, behind, spoilt = seal != journal.GENESIS, 0, False
        lines = self._lines()
        while batch := await self._in_thread(take, lines, BATCH):
            changes: list[Change] = []
            files: list[Expected] = []
            for line, fact in batch:
                self._result.lines += 1
                if isinstance(fact, Break):
                    if not (spoilt and fact.before):  # else it is the same damage, seen once more
                        self._find(Harm.CHAIN, f"{layout.JOURNAL}/{fact.file}", f"line {fact.line}: {fact.reason}")
                    spoilt = not fact.before
                    continue
                spoilt = False
                change: Change | Finding | None
                match fact:
                    case (Kept() as kept, loaded):
                        files += _files(kept)
                        change = loaded
                        if loaded is None or isinstance(loaded, Finding):
                            await self._audit.doubt(kept.workspace_id, kept.image_id, kept.revision)
                    case Made():
                        self._made, change = fact, None
                    case _:
                        change = fact
                if isinstance(change, Finding):
                    self._tell(change)
                elif change is not None and learning:
                    changes.append(change)
                if not learning and fact is not None and not isinstance(fact, Made):
                    behind += 1
                if isinstance(line, JournalLine):
                    self._learnt = line.seal if learning else self._learnt
                    self._copy_met = self._copy_met or line.seal == self._copy_seal
                    learning = learning and line.seal != seal
            await self._audit.expect(files)
            await self._audit.record(changes)
            self._watch(Progress("journal", self._result.lines, None, self._result.bytes))
        self._sealed = open_end or not learning
        if behind and LIVE in self._audit.attached:
            self._find(
                Harm.BEHIND, tree.MANIFEST, f"the journal tells of {behind} changes more; the next backup takes them up"
            )
        if self._audit.attached:
            made, bound = self._made, self._bound
            await self._audit.bind(
                made.archive if made else str(bound.get("archive_id")),
                made.created if made else str(bound.get("created")),
            )

    def _lines(self) -> Iterator[tuple[JournalLine | Break, object]]:
        """Read the journal, in a thread, and each sidecar with the line that tells of it."""
        for line in journal.read(self._root):
            fact = line if isinstance(line, Break) else understood(line)
            if not isinstance(fact, Kept):
                yield line, fact
                continue
            wanted = not self._options.quick and self._options.part(fact.workspace_id, fact.image_id)
            if not wanted or fact.sidecar_sha256 is None:
                yield line, (fact, None)
                continue
            self._reader.pace(fact.sidecar_size or 0)
            self._result.sidecars += 1
            self._result.bytes += fact.sidecar_size or 0
            yield line, (fact, load(self._root, fact))

    def _at_marker(self) -> None:
        path = self._root / layout.MARKER
        try:
            data = path.read_bytes()
            marker = msgspec.json.decode(data, type=dict[str, object])
        except FileNotFoundError:
            self._find(Harm.MISSING, layout.MARKER, "is this the right folder? If it is, put it back from a copy")
            return
        except OSError as error:
            self._find(Harm.UNREADABLE, layout.MARKER, error.strerror or str(error))
            return
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._find(Harm.MARKER, layout.MARKER, "it cannot be read")
            return
        if data != msgspec.json.format(msgspec.json.encode(marker), indent=2) + b"\n":
            self._find(Harm.MARKER, layout.MARKER, "it is not as it was written")
        elif self._made and digest(data) != self._made.marker_sha256:
            self._find(Harm.MARKER, layout.MARKER, "it is not the one that the journal tells of")
        elif not self._made and self._bound and self._bound["archive_id"] != marker.get("archive"):
            self._find(Harm.MARKER, layout.MARKER, "it and the manifest name different archives")

    async def _weigh(self) -> bool:
        """Say whether the journal may speak against the manifest; where not, its files are expected as well."""
        intact = not self._result.found[Harm.CHAIN]
        if LIVE not in self._audit.attached:
            return intact
        if intact and self._sealed:
            return True
        untold = await self._audit.untold()
        if intact and untold:
            detail = f"its end is missing: the manifest knows of {untold} revisions more"
            self._find(Harm.CHAIN, layout.JOURNAL, detail)
        elif intact:
            self._find(Harm.MANIFEST, tree.MANIFEST, "it was written after a line that the journal does not hold")
        return False

    async def _at_rows(self, name: str, path: str, *, trusted: bool) -> None:
        try:
            differences = await self._audit.differences(name, trusted=trusted)
        except ArchiveUnwritable as error:
            self._find(Harm.MANIFEST, path, str(error.facts.get("sqlite") or error))
            return
        for difference in differences:
            key = "/".join(map(str, difference.key))
            self._find(Harm.MANIFEST, path, f"{difference.table} {key}: {difference.detail}")

    # --- files --------------------------------------------------------------------------------------------

    async def _at_unknown_sidecars(self) -> None:
        """Read the sidecars that the journal does not tell of; a whole pair among them is no stray."""
        pairs = await self._interrupted()
        found = (one for one in tree.walk(self._root) if isinstance(one, Present) and one.path.endswith(".json"))
        while batch := await self._in_thread(take, found, BATCH):
            known = await self._audit.expected([one.path for one in batch])
            for one in batch:
                expected = known.get(one.path)
                if expected is None:
                    pairs += await self._pair(one.path)
                elif expected.sha256 is None and self._in_part(expected):
                    await self._against_row(expected)
        if not self._result.lines and pairs:
            self._find(Harm.MISSING, layout.JOURNAL, "the files speak for themselves only")
            return
        for finding in pairs:
            self._tell(finding)

    async def _interrupted(self) -> list[Finding]:
        """Expect the pictures that a crash left without their sidecars, which the next opening puts beside them."""
        findings = []
        for revision in interrupted(self._root):
            ids = (revision.workspace_id, revision.image_id, revision.number)
            await self._audit.expect([Expected(revision.path, revision.sha256, revision.size, *ids)])
            detail = "its sidecar is still staged; the next backup puts it beside"
            findings.append(Finding(Harm.UNRECORDED, revision.path, detail, *ids))
        return findings

    async def _pair(self, path: str) -> list[Finding]:
        revision = canonical(self._root, path)
        if revision is None:
            return []  # a stray
        if self._options.part(revision.workspace_id, revision.image_id):
            self._result.sidecars += 1
        await self._audit.doubt(revision.workspace_id, revision.image_id, revision.number)
        ids = (revision.workspace_id, revision.image_id, revision.number)
        await self._audit.expect(
            [Expected(path, "", None, *ids), Expected(revision.path, revision.sha256, revision.size, *ids)]
        )
        detail = "a pair that neither journal nor manifest knows; the next backup or `syncer rebuild` takes it up"
        return [Finding(Harm.UNRECORDED, path, detail, *ids)]

    async def _against_row(self, expected: Expected) -> None:
        row = await self._audit.live_revision(expected)
        try:
            data = (self._root / expected.path).read_bytes()
        except OSError as error:
            self._find(Harm.UNREADABLE, expected.path, error.strerror or str(error), expected)
            return
        self._result.sidecars += 1
        if row is None or data != sidecar.render(row):
            self._find(Harm.SIDECAR, expected.path, "it is not as the manifest remembers it", expected)

    def _in_part(self, expected: Expected) -> bool:
        return not self._options.quick and self._options.part(expected.workspace_id, expected.image_id)

    async def _at_files(self) -> None:
        """Go through what should be there and what is there side by side, both in the order of their paths."""
        work: asyncio.Queue[tuple[int, list[Expected]]] = asyncio.Queue(AHEAD)
        number = 0
        async with asyncio.TaskGroup() as group:
            for _ in range(READERS):
                group.create_task(self._hash(work))
            piece: list[Expected] = []
            weight = 0
            async for expected in self._present_of_expected():
                piece.append(expected)
                weight += expected.size or 0
                if len(piece) >= PIECE_FILES or weight >= PIECE_BYTES:
                    await work.put((number, piece))
                    number, piece, weight = number + 1, [], 0
            for rest in (piece, *([] for _ in range(READERS))):
                if rest or rest is not piece:
                    await work.put((number, rest))

    async def _present_of_expected(self) -> AsyncIterator[Expected]:
        """Yield the pictures whose bytes are to be hashed; tell what is missing, stray or of another size."""
        wanted, there = self._expected(), self._present()
        expected, present = await anext(wanted, None), await anext(there, None)
        while expected is not None or present is not None:
            ours = None if expected is None else expected.path.encode()
            its = None if present is None else os.fsencode(present.path)
            if present is None or (ours is not None and its is not None and ours < its):
                assert expected is not None  # noqa: S101  one of them is there
                self._find(Harm.MISSING, expected.path, "it is not there", expected)
                expected = await anext(wanted, None)
            elif expected is None or ours != its:
                self._find(Harm.STRAY, present.path, "nothing tells of it")
                present = await anext(there, None)
            else:
                if self._sized(expected, present):
                    yield expected
                expected, present = await anext(wanted, None), await anext(there, None)

    def _sized(self, expected: Expected, present: Present) -> bool:
        """Say whether the bytes are still to be looked at."""
        is_sidecar = expected.path.endswith(".json")
        if not is_sidecar:
            self._result.pictures += self._options.part(expected.workspace_id, expected.image_id)
        if present.size is None:
            self._find(Harm.UNREADABLE, expected.path, "it is not a plain file", expected)
        elif expected.size is not None and present.size != expected.size:
            harm = Harm.SIDECAR if is_sidecar else Harm.CORRUPT
            self._find(harm, expected.path, f"{present.size} bytes, {expected.size} expected", expected)
        else:
            return not is_sidecar and self._in_part(expected) and expected.path > self._options.after
        return False

    async def _expected(self) -> AsyncIterator[Expected]:
        after = ""
        while page := await self._audit.files(after):
            for one in page:
                yield one
            after = page[-1].path

    async def _present(self) -> AsyncIterator[Present]:
        found = tree.walk(self._root)
        while batch := await self._in_thread(take, found, BATCH):
            for one in batch:
                if isinstance(one, OSError):
                    self._find(Harm.UNREADABLE, os.path.relpath(str(one.filename), self._root), one.strerror or "")
                else:
                    yield one

    async def _hash(self, work: asyncio.Queue[tuple[int, list[Expected]]]) -> None:
        while (numbered := await work.get())[1]:
            number, piece = numbered
            for expected, finding in await self._in_thread(self._hash_piece, piece):
                if finding is not None:
                    self._find(finding[0], expected.path, finding[1], expected)
                self._result.bytes += expected.size or 0
            self._hashed_pieces[number] = piece[-1].path
            while self._next_piece in self._hashed_pieces:  # the readers do not end in order
                self._result.reached = self._hashed_pieces.pop(self._next_piece)
                self._next_piece += 1
            self._watch(Progress("pictures", self._result.pictures, None, self._result.bytes))

    def _hash_piece(self, piece: list[Expected]) -> list[tuple[Expected, tuple[Harm, str] | None]]:
        return [(expected, self._hashed(expected)) for expected in piece]

    def _hashed(self, expected: Expected) -> tuple[Harm, str] | None:
        try:
            sha256, _ = self._reader.sha256(self._root / expected.path)
        except OSError as error:
            return Harm.UNREADABLE, error.strerror or str(error)
        return None if sha256 == expected.sha256 else (Harm.CORRUPT, f"sha256 {sha256}, {expected.sha256} expected")


def _files(kept: Kept) -> list[Expected]:
    ids = (kept.workspace_id, kept.image_id, kept.revision)
    files = [Expected(kept.path, kept.sha256, kept.size, *ids)]
    if kept.sidecar_sha256 is not None:
        files.append(Expected(kept.sidecar, kept.sidecar_sha256, kept.sidecar_size, *ids))
    return files
