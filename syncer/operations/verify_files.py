"""The files' part of a verification: what is there against what should be, and every byte against its hash.

What should be there has been gathered in the audit before: by the journal, else by the manifest. Sidecars that neither
tells of speak for their own pictures.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator

from syncer.archive import layout, sidecar
from syncer.manifest.audit import Expected
from syncer.model import Finding, Harm
from syncer.operations import tree
from syncer.operations.inspection import READERS, Inspection
from syncer.operations.replay import BATCH, canonical, interrupted, take
from syncer.operations.tree import Present
from syncer.operations.verification import Progress

AHEAD = 4  # pieces of work that wait for the threads that hash
PIECE_FILES, PIECE_BYTES = 64, 8 << 20


class Files:
    """The look at pictures, sidecars and strays."""

    def __init__(self, look: Inspection) -> None:
        self._look = look
        self._root = look.root
        self._options = look.options
        self._audit = look.audit
        self._result = look.result
        self._reader = look.reader
        self._hashed_pieces: dict[int, str] = {}  # that are done before one that came earlier: their last paths
        self._next_piece = 0

    async def at_all(self) -> None:
        """Look at every file below the archive's folder."""
        await self._at_unknown_sidecars()
        await self._at_files()

    async def _at_unknown_sidecars(self) -> None:
        """Read the sidecars that the journal does not tell of; a whole pair among them is no stray."""
        pairs = await self._interrupted()
        found = (one for one in tree.walk(self._root) if isinstance(one, Present) and one.path.endswith(".json"))
        while batch := await self._look.in_thread(take, found, BATCH):
            known = await self._audit.expected([one.path for one in batch])
            for one in batch:
                expected = known.get(one.path)
                if expected is None:
                    pairs += await self._pair(one.path)
                elif expected.sha256 is None and self._in_part(expected):
                    await self._against_row(expected)
        if not self._result.lines and pairs:
            self._look.find(Harm.MISSING, layout.JOURNAL, "the files speak for themselves only")
            return
        for finding in pairs:
            self._look.tell(finding)

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
        ids = (revision.workspace_id, revision.image_id, revision.number)
        await self._audit.doubt([ids])
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
            self._look.find(Harm.UNREADABLE, expected.path, error.strerror or str(error), expected)
            return
        self._result.sidecars += 1
        if row is None or data != sidecar.render(row):
            self._look.find(Harm.SIDECAR, expected.path, "it is not as the manifest remembers it", expected)

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
                self._look.find(Harm.MISSING, expected.path, "it is not there", expected)
                expected = await anext(wanted, None)
            elif expected is None or ours != its:
                self._look.find(Harm.STRAY, present.path, "nothing tells of it")
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
            self._look.find(Harm.UNREADABLE, expected.path, "it is not a plain file", expected)
        elif expected.size is not None and present.size != expected.size:
            harm = Harm.SIDECAR if is_sidecar else Harm.CORRUPT
            self._look.find(harm, expected.path, f"{present.size} bytes, {expected.size} expected", expected)
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
        while batch := await self._look.in_thread(take, found, BATCH):
            for one in batch:
                if isinstance(one, OSError):
                    self._look.find(Harm.UNREADABLE, os.path.relpath(str(one.filename), self._root), one.strerror or "")
                else:
                    yield one

    async def _hash(self, work: asyncio.Queue[tuple[int, list[Expected]]]) -> None:
        while (numbered := await work.get())[1]:
            number, piece = numbered
            for expected, finding in await self._look.in_thread(self._hash_piece, piece):
                if finding is not None:
                    self._look.find(finding[0], expected.path, finding[1], expected)
                self._result.bytes += expected.size or 0
            self._hashed_pieces[number] = piece[-1].path
            while self._next_piece in self._hashed_pieces:  # the readers do not end in order
                self._result.reached = self._hashed_pieces.pop(self._next_piece)
                self._next_piece += 1
            self._look.watch(Progress("pictures", self._result.pictures, None, self._result.bytes))

    def _hash_piece(self, piece: list[Expected]) -> list[tuple[Expected, tuple[Harm, str] | None]]:
        return [(expected, self._hashed(expected)) for expected in piece]

    def _hashed(self, expected: Expected) -> tuple[Harm, str] | None:
        try:
            sha256, _ = self._reader.sha256(self._root / expected.path)
        except OSError as error:
            return Harm.UNREADABLE, error.strerror or str(error)
        return None if sha256 == expected.sha256 else (Harm.CORRUPT, f"sha256 {sha256}, {expected.sha256} expected")
