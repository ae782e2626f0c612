"""A watch folder: says which files in it are complete, hands each out once, and does with it as it is told.

Promises that a file is handed out whole, not while somebody is seen to write to it, and once for as long as it stays as
it is; that none is missed, since the folder is walked again now and then whatever events tell; and that what is wrong
with the folder is a `problem` for as long as it lasts, never an end. Whether a file is a picture, and what is done with
it, is the caller's concern; what has been uploaded already is the caller's memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar, assert_never

import structlog

from syncer.inbox.book import Book
from syncer.inbox.disposal import FORMAT, After, Disposal
from syncer.inbox.drop import Drop
from syncer.inbox.watcher import RESCAN, Watcher, described

T = TypeVar("T")

log = structlog.get_logger()


def _now() -> datetime:
    return datetime.now(UTC)


class Inbox:
    """The files in one watch folder."""

    def __init__(
        self,
        folder: Path,
        *,
        settle: float,
        after: After,
        most: int,
        ready: Callable[[], object],
        clock: Callable[[], float],
        rescan: float,
        now: Callable[[], datetime],
    ) -> None:
        self._folder = folder
        self._book = Book(folder, settle)
        self._watcher = Watcher(folder, self._book, most, ready, clock, rescan, self._move_stuck)
        self._stuck: dict[Path, Callable[[Drop], object]] = {}  # what was to be done with those that cannot be moved
        self._disposal = Disposal(folder)
        self._after = after
        self._now = now

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        folder: Path,
        *,
        settle: float,
        after: After,
        most: int,
        ready: Callable[[], object],
        clock: Callable[[], float] = time.monotonic,
        rescan: float = RESCAN,
        now: Callable[[], datetime] = _now,
        events: bool = True,
    ) -> AsyncIterator[Inbox]:
        """Watch a folder until the end of the block, whether it is there at its beginning or not.

        A file is complete when it has been still for `settle` seconds; `most` bytes may be uploaded. `ready` is called
        whenever something has become complete that was not offered yet. The folder is walked every `rescan` seconds;
        without `events` that is all there is, and at least every ten. A mistake of ours in watching ends the block.
        """
        inbox = cls(folder, settle=settle, after=after, most=most, ready=ready, clock=clock, rescan=rescan, now=now)
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(inbox._watcher.run(events=events))
                try:
                    yield inbox
                finally:
                    watching.cancel()
        except BaseExceptionGroup as errors:
            raise _first(errors) from None  # as itself: the block's own, mostly

    @property
    def waiting(self) -> int:
        """How many files are becoming complete, or are and not dealt with yet."""
        return self._book.waiting

    @property
    def problem(self) -> str | None:
        """Why the folder cannot be watched, or files not be moved, just now, and what to do; None while all is well."""
        return self._watcher.problem or self._book.trouble

    def take(self) -> list[Drop]:
        """Hand out all that is complete now; each stays in hand until `done`, `refuse` or `later` is called for it."""
        return self._book.take()

    async def done(self, drop: Drop) -> Path | None:
        """It is proven to be at the service: do with it as `after` says, and say where it lies now.

        None: it stays or is removed, or it is not that file any more and stays for another round.
        """
        match self._after:
            case After.KEEP:
                self._book.keep(drop)
                self._watcher.doubt(drop.path)
                return None
            case After.DELETE:
                await self._dispose(drop, self._disposal.delete)
                return None
            case After.MOVE:
                day = self._now().astimezone(UTC).date().isoformat()
                return await self._dispose(drop, lambda drop: self._disposal.done(drop, day))
            case _:
                assert_never(self._after)

    async def refuse(self, drop: Drop, reason: str, hint: str, facts: Mapping[str, object]) -> Path | None:
        """It will not be uploaded: move it to `.syncer/failed/`, beside a note of why and what to do.

        Say where it lies now; None: it is not that file any more, or cannot be moved, and stays.
        """
        at = self._now().astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        note = {"format": FORMAT, "file": drop.name, "reason": reason, "hint": hint, "at": at}
        return await self._dispose(drop, lambda drop: self._disposal.failed(drop, {**facts, **note}))

    def later(self, drop: Drop) -> None:
        """Give it back: `take` offers it again, or, should it have changed, the file it is then, once it is still."""
        self._book.back(drop)
        self._watcher.doubt(drop.path)

    async def _dispose(self, drop: Drop, way: Callable[[Drop], T]) -> T | None:
        """Have a file moved or removed. One that cannot be is a problem, and that alone is tried again now and then."""
        try:
            result = await asyncio.to_thread(way, drop)
        except FileNotFoundError:  # it went away, perhaps with the whole folder
            result = None
            self._book.ended(drop)
        except OSError as error:
            if self._book.stick(drop, f"{drop.name} cannot be moved: {described(self._folder, error)}"):
                log.warning("inbox.stuck", file=drop.name, reason=error.strerror)
            self._stuck[drop.path] = way
            result = None
        else:
            if not result:
                log.info("inbox.changed", file=drop.name)
            self._book.ended(drop)
        self._watcher.doubt(drop.path)
        return result

    async def _move_stuck(self) -> None:
        ways, self._stuck = self._stuck, {}
        for drop in self._book.loosen():
            await self._dispose(drop, ways[drop.path])


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
