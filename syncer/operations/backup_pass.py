"""A pass that carries out what it decides, and keeps its promises about durability while it does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from syncer.errors import SyncerError
from syncer.model import Failed, Fetch, Forgiven, Gone, Hole, Outcome, Read, Stored, Vanished, Workspace
from syncer.operations.chronicle import tell_read
from syncer.operations.events import PictureReceived, Settled, Watch
from syncer.operations.fetch import fetch
from syncer.operations.ledger import Ledger
from syncer.operations.passes import Options, Pass
from syncer.operations.rooms import Rooms


class BackupPass(Pass):
    """One pass over one workspace that writes: bytes, journal, rows."""

    rooms: Rooms

    def __init__(self, rooms: Rooms, workspace: Workspace, folder: str, options: Options, watch: Watch) -> None:
        super().__init__(rooms, workspace, options, watch)
        self.report.run = rooms.run
        self._folder = folder
        self._ledger = Ledger(rooms.archive, rooms.journal, rooms.manifest, self._settled)
        self._row: int | None = None
        self._hole_noted = False
        self._vanished: set[str] = set()  # listed, and then neither held nor owed

    @asynccontextmanager
    async def _carrying_out(self) -> AsyncIterator[None]:
        self._row = await self.rooms.manifest.start_run(self.report)
        async with self._ledger:
            yield

    async def _fetch(self, action: Fetch) -> None:
        if not self._hole_noted:  # until this pass has settled all it saw, known ground proves nothing
            self._hole_noted = True
            await self._ledger.note(Hole(self.workspace.id, True))
        outcome, staged = await fetch(self.rooms, action, self._folder)
        if staged is not None:
            self.watch(PictureReceived(self.report, staged.revision.size))
        if isinstance(outcome, Vanished):
            self._unknown.append(action)  # believed only when another reading of the listing agrees
        else:
            await self._ledger.settle(outcome, staged)

    async def _fail(self, failed: Failed) -> None:
        await self._ledger.settle(failed)

    async def _drop(self, vanished: Vanished) -> None:
        self._vanished.add(vanished.image_id)
        await self._ledger.settle(vanished)

    async def _mark_gone(self, image_ids: Sequence[str]) -> None:
        for image_id in image_ids:
            await self._ledger.settle(Gone(self.workspace.id, image_id, self._now()))
        await self._ledger.flush()

    async def _settle_debts(self, image_ids: Sequence[str]) -> None:
        await self._ledger.note(*(Forgiven(self.workspace.id, image_id) for image_id in image_ids))

    async def _set_hole(self, hole: bool) -> None:
        await self._ledger.flush()
        if await self.rooms.manifest.hole(self.workspace.id) != hole:
            await self._ledger.note(Hole(self.workspace.id, hole))

    async def _tell_read(self) -> None:
        shown = await self.rooms.manifest.listed(self.workspace.id, self._listing.seen.among, self._vanished)
        read = Read(self.workspace.id, self.options.mode, *shown, complete=not self.report.why)
        async with self._ledger:
            tell_read(self.rooms.journal, read)
            await self._ledger.note()  # no row, but the manifest is to know that there is nothing to catch up with

    def _settled(self, outcome: Outcome) -> None:
        report = self.report
        match outcome:
            case Stored(_, revision, reason):
                self._count(reason)
                report.bytes += revision.size
            case Failed():
                report.listed += 1
                report.failed += 1
            case Gone():
                report.gone += 1
            case Vanished():
                report.vanished += 1  # and not listed: it is not there any more, so nothing of it is missing
        self.watch(Settled(outcome))

    async def _close(self) -> None:
        if self._row is not None:
            try:
                await self.rooms.manifest.end_run(self._row, self.report)
            except SyncerError:
                if self.error is None:  # else that error is the one to tell
                    raise
