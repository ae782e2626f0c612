"""Wait for a slot, then create the task; every task lives in a group."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")


class Pool:
    """Runs work for many items at once, never more than its slots allow; leaving it waits for all of them.

    `slots` are semaphores that a task has to hold, the narrowest first; they may be shared with other pools. The
    first error of a task cancels the others and is raised on leaving, as itself rather than in a group.
    """

    def __init__(self, *slots: asyncio.Semaphore) -> None:
        self._slots = slots
        self._group = asyncio.TaskGroup()

    async def __aenter__(self) -> Pool:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._group.__aexit__(kind, error, trace)
        except BaseExceptionGroup as group:
            raise first(group) from None

    async def submit(self, work: Callable[[T], Awaitable[None]], item: T) -> None:
        """Wait until there is a slot, then start the work."""
        held: list[asyncio.Semaphore] = []
        try:
            for slot in self._slots:
                await slot.acquire()
                held.append(slot)
            task = self._group.create_task(_run(work, item))
        except BaseException:
            for slot in held:
                slot.release()
            raise

        def release(_: object) -> None:
            for slot in held:
                slot.release()

        task.add_done_callback(release)


async def _run(work: Callable[[T], Awaitable[None]], item: T) -> None:
    await work(item)


def first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first error of a group that is not a group itself."""
    error = group.exceptions[0]
    return first(error) if isinstance(error, BaseExceptionGroup) else error
