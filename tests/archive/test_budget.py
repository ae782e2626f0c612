"""`budget`: bytes in memory are bounded, first come first served."""

import asyncio

import pytest

from syncer.archive.budget import Budget


async def claim(budget, amount, log, name, release):
    async with budget.hold(amount):
        log.append(name)
        await release.wait()


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_large_claim_is_not_starved():
    """Small claims that come later wait behind a large one."""
    budget, log = Budget(10), []
    first, rest = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for amount, name, release in ((6, "first", first), (8, "large", rest), (1, "small", rest)):
            group.create_task(claim(budget, amount, log, name, release))
            await settle()
        assert log == ["first"]
        first.set()
        await settle()
        assert log == ["first", "large", "small"]
        assert budget.free == 1
        rest.set()
    assert budget.free == 10


async def test_more_than_the_whole_waits_until_it_is_alone():
    """A claim above the total gets the total instead of waiting for ever."""
    budget = Budget(10)
    async with budget.hold(1000):
        assert budget.free == 0
    assert budget.free == 10


@pytest.mark.parametrize("granted_first", [False, True])
async def test_a_cancelled_claim_leaves_nothing_behind(granted_first):
    """Cancelled while waiting, or in the moment its turn comes: the bytes go to the next."""
    budget, log = Budget(10), []
    holding, done = asyncio.Event(), asyncio.Event()
    holder = asyncio.create_task(claim(budget, 10, log, "holder", holding))
    await settle()
    waiting = asyncio.create_task(claim(budget, 10, log, "cancelled", done))
    behind = asyncio.create_task(claim(budget, 5, log, "behind", done))
    await settle()
    holding.set()
    if granted_first:
        while budget._waiting[0][1] is not None and not budget._waiting[0][1].done() and len(budget._waiting) == 2:
            await asyncio.sleep(0)
    waiting.cancel()
    await settle()
    assert log == ["holder", "behind"]
    done.set()
    holding.set()
    await asyncio.gather(holder, behind)
    assert waiting.cancelled()
