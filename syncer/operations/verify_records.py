"""The records' part of a verification: journal, manifest, its copy and the marker, each against the others.

The journal seals itself line by line and names each picture and each sidecar by its hash; from both a manifest is made
for the moment. The one that is there is compared with it as of its own seal, and so is the copy, value by value: what
the journal tells behind that line is no fault of theirs.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from syncer.archive import journal, layout
from syncer.archive.journal import Break, JournalLine
from syncer.errors import ArchiveUnwritable
from syncer.manifest.audit import Expected
from syncer.model import Change, Finding, Harm, Verified
from syncer.operations import tree
from syncer.operations.chronicle import Kept, Made, digest
from syncer.operations.inspection import Inspection
from syncer.operations.replay import BATCH, load, take, understood
from syncer.operations.verification import Progress

LIVE, COPY = "live", "copy"  # the manifest that is judged, and the copy of it


class Records:
    """The look at journal, manifest, copy and marker."""

    def __init__(self, look: Inspection) -> None:
        self._look = look
        self._root = look.root
        self._options = look.options
        self._audit = look.audit
        self._result = look.result
        self._reader = look.reader
        self._bound: dict[str, str | None] = {}  # what the manifest says of the archive it belongs to
        self._copy: dict[str, str | None] = {}  # what the copy says of it
        self._copy_met = False  # whether the copy's mark into the journal was met
        self._made: Made | None = None
        self._trusted = False  # whether the journal may speak against the manifest

    async def gather(self) -> None:
        """Read all of them, have the audit expect the files that they tell of, and judge the copy on the way."""
        await self._at_manifest()
        await self._at_copy()
        await self._at_journal()
        self._at_marker()
        self._trusted = await self._weigh()

    async def compare(self) -> None:
        """Compare the manifest with what is told, once it is known which of its sidecars cannot be believed."""
        if self._options.quick:
            return
        if LIVE in self._audit.attached:
            await self._at_rows(LIVE, layout.MANIFEST, trusted=self._trusted)
        if COPY in self._audit.attached and self._trusted and not self._copy_met:
            self._look.find(Harm.MANIFEST, tree.COPY, "it was made after a line that the journal does not hold")

    async def _at_manifest(self) -> None:
        path = self._root / layout.MANIFEST
        if not path.exists():
            self._look.find(Harm.MISSING, layout.MANIFEST, "make it anew with `syncer rebuild`")
            return
        problems = await self._audit.attach(path, LIVE)
        for problem in problems:
            self._look.find(Harm.MANIFEST, layout.MANIFEST, problem)
        if not problems and LIVE not in self._audit.attached:
            self._look.find(
                Harm.BEHIND, layout.MANIFEST, "an earlier version of syncer made it; the next backup brings it up"
            )
        self._bound = await self._audit.bound_to(LIVE)

    async def _at_copy(self) -> None:
        path = self._root / tree.COPY
        if path.exists():
            for problem in await self._audit.attach(path, COPY):
                self._look.find(Harm.MANIFEST, tree.COPY, problem)
        self._copy = await self._audit.bound_to(COPY)
        self._copy_met = self._copy.get("seal") == journal.GENESIS  # then it tells of nothing that could be compared

    async def _at_journal(self) -> None:
        seal = self._bound.get("seal")
        open_end = LIVE not in self._audit.attached or seal is None
        learning, behind, spoilt = seal != journal.GENESIS, 0, False
        lines = self._lines()
        while batch := await self._look.in_thread(take, lines, BATCH):
            changes: list[Change] = []
            files: list[Expected] = []
            doubts: list[tuple[str, str, int]] = []
            for line, fact in batch:
                self._result.lines += 1
                if isinstance(fact, Break):
                    if not (spoilt and fact.before):  # else it is the same damage, seen once more
                        where = f"line {fact.line}: " if fact.file else ""  # else it is the folder itself
                        self._look.find(Harm.CHAIN, f"{layout.JOURNAL}/{fact.file}", f"{where}{fact.reason}")
                    spoilt = not fact.before
                    continue
                spoilt = False
                change: Change | Finding | None
                match fact:
                    case (Kept() as kept, loaded):
                        files += _files(kept)
                        change = loaded
                        if loaded is None or isinstance(loaded, Finding):
                            doubts.append((kept.workspace_id, kept.image_id, kept.revision))
                    case Made():
                        self._made, change = fact, None
                    case _:
                        change = fact
                if isinstance(change, Finding):
                    self._look.tell(change)
                elif change is not None and learning:
                    changes.append(change)
                # That somebody has looked is no change that anybody waits for.
                behind += not learning and fact is not None and not isinstance(fact, Made | Verified)
                if isinstance(line, JournalLine):
                    self._result.seal = line.seal
                    if line.seal == self._copy.get("seal"):
                        self._copy_met = True
                        if learning:  # else what is told since then is not in the audit
                            await self._audit.record(changes)
                            await self._audit.doubt(doubts)
                            changes, doubts = [], []
                            await self._compare_copy()
                    learning = learning and line.seal != seal
            await self._audit.expect(files)
            await self._audit.record(changes)
            await self._audit.doubt(doubts)
            self._look.watch(Progress("journal", self._result.lines, None, self._result.bytes))
        self._result.sealed = open_end or not learning
        if behind and LIVE in self._audit.attached:
            self._look.find(
                Harm.BEHIND,
                layout.MANIFEST,
                f"the journal tells of {behind} changes more; the next backup takes them up",
            )
        await self._bind()

    async def _bind(self) -> None:
        """Have the audit say which archive it is about, as far as anything tells that."""
        made, bound = self._made, self._bound or self._copy
        if self._audit.attached:
            await self._audit.bind(
                made.archive if made else str(bound.get("archive_id")),
                made.created if made else str(bound.get("created")),
            )

    async def _compare_copy(self) -> None:
        """Compare the copy with the audit, which is just now as far as the copy was when it was made."""
        if not (self._options.quick or self._result.found[Harm.CHAIN]):
            await self._bind()
            await self._at_rows(COPY, tree.COPY, trusted=True)

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
            self._look.find(Harm.MISSING, layout.MARKER, "is this the right folder? If it is, put it back from a copy")
            return
        except OSError as error:
            self._look.find(Harm.UNREADABLE, layout.MARKER, error.strerror or str(error))
            return
        except (msgspec.MsgspecError, UnicodeDecodeError):
            self._look.find(Harm.MARKER, layout.MARKER, "it cannot be read")
            return
        if data != msgspec.json.format(msgspec.json.encode(marker), indent=2) + b"\n":
            self._look.find(Harm.MARKER, layout.MARKER, "it is not as it was written")
        elif self._made and digest(data) != self._made.marker_sha256:
            self._look.find(Harm.MARKER, layout.MARKER, "it is not the one that the journal tells of")
        elif not self._made and self._bound and self._bound["archive_id"] != marker.get("archive"):
            self._look.find(Harm.MARKER, layout.MARKER, "it and the manifest name different archives")

    async def _weigh(self) -> bool:
        """Say whether the journal may speak against the manifest; where not, its files are expected as well."""
        intact = not self._result.found[Harm.CHAIN]
        if LIVE not in self._audit.attached:
            return intact
        if intact and self._result.sealed:
            return True
        untold = await self._audit.untold()
        if intact and untold:
            detail = f"its end is missing, or {layout.MANIFEST} is of another journal: it knows {untold} revisions more"
            self._look.find(Harm.CHAIN, layout.JOURNAL, detail)
        elif intact:
            lacking = f"it was written after a line that {layout.JOURNAL}/ lacks"
            detail = f"{lacking}: the journal's end is missing, or the manifest is of another journal"
            self._look.find(Harm.MANIFEST, layout.MANIFEST, detail)
        return False

    async def _at_rows(self, name: str, path: str, *, trusted: bool) -> None:
        try:
            differences = await self._audit.differences(name, trusted=trusted)
        except ArchiveUnwritable as error:
            self._look.find(Harm.MANIFEST, path, str(error.facts.get("sqlite") or error))
            return
        for difference in differences:
            key = "/".join(map(str, difference.key))
            self._look.find(Harm.MANIFEST, path, f"{difference.table} {key}: {difference.detail}")


def _files(kept: Kept) -> list[Expected]:
    ids = (kept.workspace_id, kept.image_id, kept.revision)
    files = [Expected(kept.path, kept.sha256, kept.size, *ids)]
    if kept.sidecar_sha256 is not None:
        files.append(Expected(kept.sidecar, kept.sidecar_sha256, kept.sidecar_size, *ids))
    return files
