"""Slots are never exceeded, always given back, and the first error is the one that is told."""

from __future__ import annotations

import asyncio
from asyncio import Semaphore

import pytest

from syncer.operations.pool import Pool

CANCELLED = pytest.raises(asyncio.CancelledError)


class Gauge:
    """Work that counts how much of it runs at once, and lasts until it is let go."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.done: list[object] = []
        self.full = asyncio.Event()
        self.let_go = asyncio.Event()

    async def __call__(self, item: object) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        self.full.set()
        try:
            await self.let_go.wait()
            self.done.append(item)
        finally:
            self.now -= 1


def free(slots: Semaphore) -> int:
    """How many slots can be taken at once."""
    return slots._value


async def turns(count: int = 20) -> None:
    """Let everything else go as far as it can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_never_more_than_the_slots():
    """Nor less, while there is work; all of it is done when the block is left."""
    slots, gauge = Semaphore(3), Gauge()

    async def fill() -> None:
        async with Pool(slots) as pool:
            for item in range(10):
                await pool.submit(gauge, item)

    filling = asyncio.create_task(fill())
    await turns()
    assert gauge.now == 3

    gauge.let_go.set()
    await filling

    assert gauge.most == 3
    assert sorted(gauge.done) == list(range(10))
    assert free(slots) == 3


async def test_slots_are_shared_between_pools():
    """What one workspace holds, another cannot have; a bound of its own is held besides."""
    shared, own, gauge = Semaphore(3), Semaphore(2), Gauge()

    async def fill(*slots: Semaphore) -> None:
        async with Pool(*slots) as pool:
            for item in range(5):
                await pool.submit(gauge, item)

    narrow = asyncio.create_task(fill(own, shared))
    await turns()
    assert gauge.now == 2

    wide = asyncio.create_task(fill(shared))
    await turns()
    assert gauge.now == 3

    gauge.let_go.set()
    await asyncio.gather(narrow, wide)
    assert gauge.most == 3
    assert (free(own), free(shared)) == (2, 3)


async def test_the_first_error_is_raised_as_itself():
    """Not in a group; the others are cancelled, and every slot is given back."""
    slots, gauge = Semaphore(4), Gauge()

    async def fail(item: object) -> None:
        await gauge.full.wait()
        raise LookupError(item)

    with pytest.raises(LookupError, match="this one"):
        async with Pool(slots) as pool:
            await pool.submit(gauge, 1)
            await pool.submit(fail, "this one")
            await pool.submit(fail, "another")

    assert (gauge.now, gauge.done) == (0, [])
    assert free(slots) == 4


async def test_an_error_inside_a_group_is_found():
    """Whatever the work itself used to run things at once."""

    async def fail(_: object) -> None:
        raise ExceptionGroup("outer", [ExceptionGroup("inner", [LookupError("deep")])])

    with pytest.raises(LookupError, match="deep"):
        async with Pool(Semaphore(1)) as pool:
            await pool.submit(fail, 1)


async def test_an_error_of_the_block_ends_the_work():
    """It is raised as itself too."""
    slots, gauge = Semaphore(2), Gauge()

    with pytest.raises(LookupError, match="the block's"):
        async with Pool(slots) as pool:
            await pool.submit(gauge, 1)
            await gauge.full.wait()
            raise LookupError("the block's")

    assert gauge.now == 0
    assert free(slots) == 2


async def test_cancelling_from_outside_ends_the_work():
    """Also while it waits for a slot: what it holds of the other slots is given back."""
    shared, own, gauge = Semaphore(1), Semaphore(5), Gauge()

    async def fill() -> None:
        async with Pool(own, shared) as pool:
            for item in range(3):
                await pool.submit(gauge, item)

    filling = asyncio.create_task(fill())
    await gauge.full.wait()
    await turns()
    filling.cancel()

    with CANCELLED:
        await filling
    assert (gauge.now, gauge.done) == (0, [])
    assert (free(own), free(shared)) == (5, 1)


async def test_work_that_never_began_gives_its_slot_back():
    """It is cancelled between its creation and its first step."""
    slots, gauge = Semaphore(2), Gauge()

    with pytest.raises(LookupError):
        async with Pool(slots) as pool:
            await pool.submit(gauge, 1)
            raise LookupError

    await turns()
    assert gauge.most == 0
    assert free(slots) == 2
