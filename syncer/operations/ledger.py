"""Settle outcomes in the order that makes them trustworthy: bytes, then journal, then rows.

Outcomes gather until a batch is worth the disk's while. A batch that has begun to settle is settled to its end, even
when whoever waits for it is cancelled: what was finished is kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType

from syncer.archive.commit import Staged
from syncer.archive.journal import Journal
from syncer.archive.store import Archive
from syncer.manifest.manifest import Manifest
from syncer.model import Failed, Gone, Outcome, Stored, Vanished

BATCH = 256  # outcomes
BATCH_BYTES = 64 * 2**20  # of pictures that are staged and not durable yet
BATCH_SECONDS = 2.0  # a crash costs at most about this much work


@dataclass(frozen=True, slots=True)
class _Item:
    outcome: Outcome
    staged: Staged | None


class Ledger:
    """Takes outcomes in and makes them last. Leaving it settles what is left."""

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
        self._broken: BaseException | None = None

    async def __aenter__(self) -> Ledger:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._broken is None:
            await self.flush()

    async def settle(self, outcome: Outcome, staged: Staged | None = None) -> None:
        """Take one outcome in. Returns before it is durable, unless it filled the batch."""
        if not self._items:
            self._since = self._clock()
        self._items.append(_Item(outcome, staged))
        self._bytes += outcome.revision.size if staged is not None and isinstance(outcome, Stored) else 0
        if len(self._items) >= BATCH or self._bytes >= BATCH_BYTES or self._clock() - self._since >= BATCH_SECONDS:
            await self.flush()

    async def flush(self) -> None:
        """Make all that was taken in durable. Raises `ArchiveUnwritable`; nothing of that batch is recorded then."""
        # Not in a group: a group would cancel the batch together with whoever filled it.
        await asyncio.shield(asyncio.create_task(self._flush()))

    async def _flush(self) -> None:
        async with self._turn:
            if self._broken is not None:
                raise self._broken
            items, self._items, self._bytes = self._items, [], 0
            if not items:
                return
            try:
                await self._archive.commit([item.staged for item in items if item.staged is not None])
                for item in items:
                    _write(self._journal, item.outcome)
                await self._journal.flush()
                await self._manifest.record([item.outcome for item in items])  # promise 1: bytes before rows
            except BaseException as error:
                self._broken = error
                raise
            for item in items:
                self._settled(item.outcome)


def _write(journal: Journal, outcome: Outcome) -> None:
    """Append the event of one outcome. No prompts, no links: the journal has to survive a lawful erasure."""
    match outcome:
        case Stored(image, revision, reason):
            journal.append(
                f"image.{'stored' if reason == 'new' else reason}",
                at=revision.fetched_at,
                workspace=image.workspace_id,
                image=image.id,
                revision=revision.number,
                sha256=revision.sha256,
                bytes=revision.size,
                path=revision.path,
                sidecar=revision.sidecar,
            )
        case Failed(workspace_id, image_id, reason, at):
            journal.append("image.failed", at=at, workspace=workspace_id, image=image_id, reason=reason)
        case Gone(workspace_id, image_id, at):
            journal.append("image.gone", at=at, workspace=workspace_id, image=image_id)
        case Vanished(workspace_id, image_id, at):
            journal.append("image.vanished", at=at, workspace=workspace_id, image=image_id)
