"""What gathers while a batch is settled: in order, bounded, and never forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from settling import Desk, failed, returned

from syncer.archive.commit import Staged
from syncer.operations import ledger as module
from syncer.operations.ledger import Ledger


async def test_batches_do_not_overtake_each_other(desk: Desk, held: tuple[asyncio.Event, asyncio.Event]):
    """While one is settled the next gathers; both come in order."""
    begun, let_go = held
    async with desk.ledger() as ledger:
        await ledger.settle(failed("a"))
        first = asyncio.create_task(ledger.flush())
        await begun.wait()
        await ledger.settle(failed("b"))
        second = asyncio.create_task(ledger.flush())
        let_go.set()
        await asyncio.gather(second, first)

        assert desk.events() == [("image.failed", "a"), ("image.failed", "b")]
        assert desk.settled == [failed("a"), failed("b")]


async def test_who_waited_for_a_batch_leaves_the_few_that_came_meanwhile(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    """Each batch costs the same syncs, however few are in it; what is left waits until it is worth one, or the end."""
    monkeypatch.setattr(module, "BATCH", 2)
    monkeypatch.setattr(module, "MOST", 2)
    began, go, sizes = asyncio.Semaphore(0), asyncio.Semaphore(0), []
    commit = desk.archive.commit

    async def slow(batch: list[Staged]) -> None:
        sizes.append(len(batch))
        began.release()
        await go.acquire()
        await commit(batch)

    monkeypatch.setattr(desk.archive, "commit", slow)
    pictures = [await desk.picture(name) for name in "abcdef"]
    async with desk.ledger() as ledger:
        await ledger.settle(*pictures[0])
        full = [asyncio.create_task(ledger.settle(*pictures[1]))]
        await began.acquire()
        await ledger.settle(*pictures[2])
        full += [asyncio.create_task(ledger.settle(*one)) for one in pictures[3:5]]
        go.release()
        await began.acquire()
        await ledger.settle(*pictures[5])
        for _ in range(2):
            go.release()
        await asyncio.gather(*full)
        assert sizes == [2, 3]

    assert sizes == [2, 3, 1]


@asynccontextmanager
async def behind_a_batch(
    desk: Desk, held: tuple[asyncio.Event, asyncio.Event]
) -> AsyncIterator[tuple[Ledger, asyncio.Task[None]]]:
    """A ledger whose first batch of two is on its way to the disk for the block; gives who waits for it, too."""
    begun, let_go = held
    async with desk.ledger() as ledger:
        await ledger.settle(failed("a"))
        first = asyncio.create_task(ledger.settle(failed("b")))
        await begun.wait()
        try:
            yield ledger, first
        finally:
            let_go.set()
        await first


async def test_a_slow_disk_holds_nobody_up_at_first(
    desk: Desk, held: tuple[asyncio.Event, asyncio.Event], monkeypatch: pytest.MonkeyPatch
):
    """Behind a batch that is being settled the next one grows, full and old as it may be."""
    monkeypatch.setattr(module, "BATCH", 2)
    async with behind_a_batch(desk, held) as (ledger, _):
        others = [asyncio.create_task(ledger.settle(failed(name))) for name in "cde"]
        desk.time = 10 * module.BATCH_SECONDS
        others.append(asyncio.create_task(ledger.settle(failed("f"))))

        assert await returned(*others) == [True] * 4
        assert desk.settled == []

    assert desk.settled == [failed(name) for name in "abcdef"]


async def test_only_one_waits_for_a_batch_that_begins(
    desk: Desk, held: tuple[asyncio.Event, asyncio.Event], monkeypatch: pytest.MonkeyPatch
):
    """Who brings more in the same moment goes on, although the batch has not begun to move yet."""
    monkeypatch.setattr(module, "BATCH", 2)
    _, let_go = held
    async with desk.ledger() as ledger:
        done = await returned(*[asyncio.create_task(ledger.settle(failed(name))) for name in "abcd"])
        let_go.set()

    assert done == [True, False, True, True]


async def test_what_filled_a_batch_meanwhile_is_settled_behind_it(
    desk: Desk, held: tuple[asyncio.Event, asyncio.Event], monkeypatch: pytest.MonkeyPatch
):
    """The next outcome may be long in coming, and a crash would cost what waits for it."""
    monkeypatch.setattr(module, "BATCH", 2)
    async with behind_a_batch(desk, held) as (ledger, first):
        for name in "cde":
            await ledger.settle(failed(name))
        held[1].set()
        await first

        assert desk.settled == [failed(name) for name in "abcde"]


@pytest.mark.parametrize("full", ["outcomes", "bytes"])
async def test_a_slow_disk_holds_up_what_would_be_too_much(
    desk: Desk, held: tuple[asyncio.Event, asyncio.Event], monkeypatch: pytest.MonkeyPatch, full: str
):
    """What gathers behind a batch is bounded: in number, and in bytes that a crash would cost."""
    monkeypatch.setattr(module, "BATCH", 2)
    monkeypatch.setattr(module, "MOST", 4)
    stored, staged = await desk.picture("p")
    heavy = replace(stored, revision=replace(stored.revision, size=module.BATCH_BYTES))
    more = [(failed(name), None) for name in "cdef"] if full == "outcomes" else [(failed("c"), None), (heavy, staged)]
    async with behind_a_batch(desk, held) as (ledger, _):
        done = await returned(*[asyncio.create_task(ledger.settle(*one)) for one in more])

    assert done == [*[True] * (len(more) - 1), False]
