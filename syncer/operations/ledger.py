"""Settle outcomes in the order that makes them trustworthy: bytes, then journal, then rows.

Outcomes gather until a batch is worth the disk's while, and while the batch before is settled: a slow disk gets larger
batches, and holds up whoever brings more only when many wait for it. A batch that has begun to settle is settled to its
end, even when whoever waits for it is cancelled: what was finished is kept.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from syncer.archive.commit import Staged
from syncer.archive.disk import ended
from syncer.archive.journal import Journal
from syncer.archive.sidecar import render
from syncer.archive.store import Archive
from syncer.manifest.manifest import Manifest
from syncer.model import Change, Outcome, Revision, Stored
from syncer.operations.chronicle import tell

BATCH = 512  # outcomes
BATCH_BYTES = 64 * 2**20  # of pictures that are staged and not durable yet
BATCH_SECONDS = 2.0  # a crash costs at most about this much work, and what the disk takes for the batch before
MOST = 4 * BATCH  # outcomes that gather behind a batch that is being settled, and never more bytes than a batch has


@dataclass(frozen=True, slots=True)
class _Item:
    outcome: Outcome
    staged: Staged | None


class Ledger:
    """Takes outcomes in and makes them last. Leaving it settles what is left, or raises what stood against it."""

    def __init__(
        self,
        archive: Archive,
        journal: Journal,
        manifest: Manifest,
        settled: Callable[[Outcome], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._archive = archive
        self._journal = journal
        self._manifest = manifest
        self._settled = settled
        self._clock = clock
        self._items: list[_Item] = []
        self._bytes = 0
        self._since = 0.0
        self._turn = asyncio.Lock()
        self._begun = False  # a batch, whose task may not have come to its turn yet
        self._broken: BaseException | None = None

    async def __aenter__(self) -> Ledger:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._broken is None or kind is None:
            # To its end also for who is cancelled meanwhile: the rooms are closed next, and the archive is another's.
            await ended(asyncio.create_task(self._flush()))

    async def settle(self, outcome: Outcome, staged: Staged | None = None) -> None:
        """Take one outcome in. Returns before it is durable, unless a batch begins with it or too many wait."""
        if not self._items:
            self._since = self._clock()
        self._items.append(_Item(outcome, staged))
        self._bytes += outcome.revision.size if staged is not None and isinstance(outcome, Stored) else 0
        if self._too_much() or (self._worth_it() and not self._settling):
            self._begun = True
            await _to_its_end(self._flush_if_worth_it())

    async def flush(self) -> None:
        """Make all that was taken in durable. Raises `ArchiveUnwritable`; nothing of that batch is recorded then."""
        await _to_its_end(self._flush())

    async def _flush(self) -> None:
        async with self._turn:
            await self._make_last()

    async def _flush_if_worth_it(self) -> None:
        try:
            more = True
            while more:  # and what filled a batch meanwhile: the next outcome may be long in coming
                async with self._turn:  # others had theirs meanwhile, and may have left only a few
                    if self._broken is not None or self._worth_it():
                        await self._make_last()
                    more = self._worth_it()
        finally:
            self._begun = False

    @property
    def _settling(self) -> bool:
        return self._begun or self._turn.locked()

    def _worth_it(self) -> bool:
        full = len(self._items) >= BATCH or self._bytes >= BATCH_BYTES
        return full or (bool(self._items) and self._clock() - self._since >= BATCH_SECONDS)

    def _too_much(self) -> bool:
        return len(self._items) >= MOST or self._bytes >= BATCH_BYTES

    async def _make_last(self) -> None:
        if self._broken is not None:
            raise self._broken
        items, self._items, self._bytes = self._items, [], 0
        if not items:
            return
        try:
            batch = [item.staged for item in items if item.staged is not None]
            await self._archive.commit(batch)
            await self._tell_and_record([item.outcome for item in items], batch)
        except BaseException as error:
            self._broken = error
            raise
        for item in items:
            self._settled(item.outcome)

    async def note(self, *changes: Change) -> None:
        """Make changes last that no file belongs to, after all that was taken in before.

        What else has been told to the journal lasts with them, and the manifest takes note of its last line.
        """
        await self.flush()
        await _to_its_end(self._note(changes))

    async def _note(self, changes: Sequence[Change]) -> None:
        async with self._turn:
            if self._broken is not None:
                raise self._broken
            try:
                await self._tell_and_record(changes)
            except BaseException as error:
                self._broken = error
                raise

    async def _tell_and_record(self, changes: Sequence[Change], batch: Sequence[Staged] = ()) -> None:
        words = {staged.revision.sidecar: staged.words for staged in batch}
        for change in changes:
            tell(self._journal, change, lambda revision: words.get(revision.sidecar) or self._sidecar(revision))
        seal = self._journal.seal
        await self._journal.flush()
        await self._manifest.record(changes, seal)  # promise 1: bytes before rows

    def _sidecar(self, revision: Revision) -> bytes | None:
        there = os.path.lexists(self._archive.root / revision.sidecar)  # not where sidecars are switched off
        return render(revision) if there else None


async def _to_its_end(work: Coroutine[Any, Any, None]) -> None:
    """Carry work on even when whoever waits for it is cancelled; then whoever cancelled tells of the trouble."""
    # Not in a group: a group would cancel the batch together with whoever filled it.
    task = asyncio.create_task(work)
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, so that asyncio prints nothing
    await asyncio.shield(task)
