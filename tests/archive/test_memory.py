"""`memory`: bytes in memory are bounded, first come first served, and nobody's are anybody else's."""

import asyncio
import contextlib
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncer.archive.memory import PAGE, Memory


async def claim(memory, pages, log, name, release):
    async with memory.lent(pages * PAGE):
        log.append(name)
        await release.wait()


async def settle():
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_large_claim_is_not_starved():
    """Small claims that come later wait behind a large one."""
    memory, log = Memory(10 * PAGE), []
    first, rest = asyncio.Event(), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for pages, name, release in ((6, "first", first), (8, "large", rest), (1, "small", rest)):
            group.create_task(claim(memory, pages, log, name, release))
            await settle()
        assert log == ["first"]
        first.set()
        await settle()
        assert log == ["first", "large", "small"]
        assert memory.free == PAGE
        rest.set()
    assert memory.free == 10 * PAGE


async def test_a_claim_waits_for_a_piece_without_gaps():
    """Pieces here and there are not one piece."""
    memory, log = Memory(4 * PAGE), []
    events = [asyncio.Event() for _ in range(5)]
    async with asyncio.TaskGroup() as group:
        for at, pages in enumerate((1, 1, 2, 2, 1)):
            group.create_task(claim(memory, pages, log, at, events[at]))
            await settle()
        assert log == [0, 1, 2]
        events[0].set()
        await settle()
        assert memory.free == PAGE
        assert log == [0, 1, 2]
        events[1].set()
        await settle()
        assert log == [0, 1, 2, 3]
        for event in events:
            event.set()
    assert memory.free == 4 * PAGE


async def test_more_than_the_whole_waits_until_it_is_alone():
    """A claim above the total gets the total instead of waiting for ever."""
    memory = Memory(2 * PAGE)
    async with memory.lent(1000 * PAGE) as view:
        assert memory.free == 0
        assert len(view) == 2 * PAGE
    assert memory.free == 2 * PAGE


@pytest.mark.parametrize("size", [0, 1, PAGE, PAGE + 1])
async def test_a_piece_has_the_length_that_was_asked_for(size):
    """Whole pages are taken, but only what was asked for is seen."""
    memory = Memory(8 * PAGE)
    async with memory.lent(size) as view:
        assert len(view) == size
        assert memory.free % PAGE == 0
    assert memory.free == 8 * PAGE


async def test_a_claim_cancelled_while_it_waits_leaves_nothing_behind():
    """The one behind it gets its turn."""
    memory, log, done = Memory(10 * PAGE), [], asyncio.Event()
    async with memory.lent(6 * PAGE):
        waiting = asyncio.create_task(claim(memory, 10, log, "cancelled", done))
        behind = asyncio.create_task(claim(memory, 4, log, "behind", done))
        await settle()
        waiting.cancel()
        await settle()
        assert log == ["behind"]
    done.set()
    await behind
    assert waiting.cancelled()
    assert memory.free == 10 * PAGE


async def test_a_claim_cancelled_as_its_turn_comes_hands_its_piece_on():
    """Between being granted and waking up, it may be cancelled."""
    memory, log, done = Memory(10 * PAGE), [], asyncio.Event()
    async with memory.lent(10 * PAGE):
        waiting = asyncio.create_task(claim(memory, 10, log, "cancelled", done))
        behind = asyncio.create_task(claim(memory, 5, log, "behind", done))
        await settle()
    waiting.cancel()  # granted at the block's end, not awake yet
    await settle()
    assert log == ["behind"]
    done.set()
    await behind
    assert waiting.cancelled()
    assert memory.free == 10 * PAGE


async def test_a_piece_that_is_still_read_is_not_lent_again():
    """A thread that writes it while its holder leaves would write another picture's bytes."""
    memory = Memory(64 * PAGE)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        with pytest.raises(BufferError):
            async with memory.lent(64 * PAGE) as view:
                ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PAGE)
                writing = asyncio.create_task(asyncio.to_thread(ours.sendall, view))
                await asyncio.to_thread(theirs.recv, 1)
        assert memory.free == 0
        left = 64 * PAGE - 1
        while left:
            left -= len(await asyncio.to_thread(theirs.recv, left))
        await writing


async def test_a_part_of_a_piece_that_is_still_read_keeps_the_whole():
    """Nobody writes more than the bytes that came, which are a part of the piece."""
    memory = Memory(2 * PAGE)
    with pytest.raises(BufferError):
        async with memory.lent(PAGE) as view:
            part = view[:5]
    assert memory.free == PAGE
    part.release()


async def test_what_lasts_does_not_part_the_room_of_the_others():
    """Large bodies come through small windows, for minutes: a large claim must not wait until they have ended."""
    memory, log, done = Memory(8 * PAGE), [], asyncio.Event()
    passing = [asyncio.Event() for _ in range(2)]
    async with asyncio.TaskGroup() as group, contextlib.AsyncExitStack() as stack:
        for leave in passing:
            group.create_task(claim(memory, 2, log, "passes", leave))
            await settle()
            await stack.enter_async_context(memory.lent(PAGE, lasting=True))
        for leave in passing:
            leave.set()
        await settle()
        group.create_task(claim(memory, 6, log, "large", done))
        await settle()
        assert log == ["passes", "passes", "large"]
        done.set()


async def test_what_lasts_takes_any_room_when_there_is_little():
    """And waits in line like the others."""
    memory, log, done = Memory(4 * PAGE), [], asyncio.Event()
    async with memory.lent(PAGE), memory.lent(2 * PAGE, lasting=True), asyncio.TaskGroup() as group:
        async with memory.lent(PAGE, lasting=True):
            group.create_task(claim(memory, 1, log, "waits", done))
            await settle()
            assert log == []
        await settle()
        assert log == ["waits"]
        done.set()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6 * PAGE)), max_size=60))
def test_nobody_sees_another_ones_bytes(steps):
    """Whatever is taken, given back and cancelled in whatever order: each finds in its piece what it wrote there."""

    async def story():
        memory, holders = Memory(8 * PAGE), {}

        async def hold(name, size, leave):
            async with memory.lent(size, lasting=size % 3 == 0) as view:
                view[:] = bytes([name]) * len(view)
                await leave.wait()
                assert bytes(view) == bytes([name]) * len(view)

        for name, (slot, size) in enumerate(steps):
            if slot in holders:
                task, leave = holders.pop(slot)
                leave.set()
                if size % 2:
                    task.cancel()
            else:
                leave = asyncio.Event()
                holders[slot] = (asyncio.create_task(hold(name, size, leave)), leave)
            await settle()
        for task, leave in holders.values():
            leave.set()
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait_for(task, 5)
        await settle()
        assert memory.free == 8 * PAGE

    asyncio.run(story())
