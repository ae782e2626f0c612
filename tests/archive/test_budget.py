"""`budget`: bytes in memory are bounded, first come first served."""

import asyncio

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


async def test_a_claim_cancelled_while_it_waits_leaves_nothing_behind():
    """The one behind it gets its turn."""
    budget, log, done = Budget(10), [], asyncio.Event()
    async with budget.hold(6):
        waiting = asyncio.create_task(claim(budget, 10, log, "cancelled", done))
        behind = asyncio.create_task(claim(budget, 4, log, "behind", done))
        await settle()
        waiting.cancel()
        await settle()
        assert log == ["behind"]
    done.set()
    await behind
    assert waiting.cancelled()
    assert budget.free == 10


async def test_a_claim_cancelled_as_its_turn_comes_hands_the_bytes_on():
    """Between being granted and waking up, it may be cancelled."""
    budget, log, done = Budget(10), [], asyncio.Event()
    async with budget.hold(10):
        waiting = asyncio.create_task(claim(budget, 10, log, "cancelled", done))
        behind = asyncio.create_task(claim(budget, 5, log, "behind", done))
        await settle()
    waiting.cancel()  # granted at the block's end, not awake yet
    await settle()
    assert log == ["behind"]
    done.set()
    await behind
    assert waiting.cancelled()
    assert budget.free == 10
