"""Requests wait for their place among all to one origin, whoever sends them, and give it back whatever happens."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from rawserver import PAGE, Request, reply, service
from structlog.testing import capture_logs

from syncer.errors import Unavailable
from syncer.service.pacing import TOLD, Pacing

HERE, THERE = "https://here.example", "https://there.example"


class Clock:
    """A time that only tests and sleeping move."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


def pacing(clock: Clock, *, slots: int, retries: int = 5, retry_seconds: float = 300, chance: float = 0.0) -> Pacing:
    return Pacing(
        retries=retries,
        retry_seconds=retry_seconds,
        slots=slots,
        clock=clock,
        sleep=clock.sleep,
        random=lambda: chance,
    )


async def turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def answer(paced: Pacing, status: int = 200, *, seconds: float = 0.001) -> None:
    """Take a turn and be answered."""
    with await paced.turn(HERE, limited=True) as turn:
        paced._clock.now += seconds  # type: ignore[attr-defined]
        paced.answered(turn, status, None)


async def test_a_place_is_waited_for():
    """With two slots the third request waits until one is over; those to another origin do not."""
    paced = pacing(Clock(), slots=2)
    first = await paced.turn(HERE, limited=True)
    await paced.turn(HERE, limited=True)
    third = asyncio.create_task(paced.turn(HERE, limited=True))
    await turns()
    assert not third.done()
    await paced.turn(THERE, limited=True)

    with first:
        pass

    await third


async def test_who_is_cancelled_in_line_leaves_no_gap():
    """Neither the first in line nor those behind take a place with them."""
    paced = pacing(Clock(), slots=1)
    held = await paced.turn(HERE, limited=True)
    waiting = [asyncio.create_task(paced.turn(HERE, limited=True)) for _ in range(4)]
    await turns()
    for task in waiting[:3]:
        task.cancel()
    await turns()

    with held:
        pass

    with await waiting[3]:
        assert paced._origin(HERE).crowd.in_flight == 1
    assert paced._origin(HERE).crowd.in_flight == 0


async def tries_behind(*, answered: bool) -> int:
    """Stand in line for far too long, behind a request that ends answered or not; returns how often one tries."""
    clock = Clock()
    paced = pacing(clock, slots=1, retry_seconds=10)
    held = await paced.turn(HERE, limited=True)
    tries = 0

    async def work() -> None:
        nonlocal tries
        tries += 1
        with await paced.turn(HERE, limited=True):
            if tries == 1:
                raise Unavailable("later", origin=HERE, status=500)

    working = asyncio.create_task(paced.retrying(work))
    await turns()
    clock.now += 1000
    with held:
        if answered:
            paced.answered(held, 200, None)
    with suppress(Unavailable):
        await working
    return tries


async def test_time_in_line_costs_no_patience():
    """The line is of our own making: who stood in it keeps all the time to try again."""
    assert await tries_behind(answered=True) == 2


async def test_time_in_a_line_that_does_not_move_does_cost_patience():
    """An origin that has fallen silent is noticed as soon as without a line."""
    assert await tries_behind(answered=False) == 1


async def test_a_pause_in_line_does_cost_patience():
    """What the origin asked for is counted, wherever it was waited for: a request ends within its time."""
    clock = Clock()
    paced = pacing(clock, slots=1, retries=100, retry_seconds=10, chance=1.0)
    held = await paced.turn(HERE, limited=True)

    async def work() -> None:
        with await paced.turn(HERE, limited=True):
            raise Unavailable("later", origin=HERE, status=500)

    working = asyncio.create_task(paced.retrying(work))
    await turns()
    paced.pause(HERE, 10)
    with held:
        pass

    with pytest.raises(Unavailable):
        await working
    assert clock.now == pytest.approx(1010, abs=1)


async def test_slowing_down_is_told_once_and_so_is_the_end_of_it():
    """Two lines for the whole of it, and none more within a minute."""
    clock = Clock()
    paced = pacing(clock, slots=4)
    with capture_logs() as logs:
        for _ in range(10):
            await answer(paced)
        for _ in range(5):
            await answer(paced, 429)
        for _ in range(2000):
            await asyncio.gather(answer(paced), answer(paced))
        await answer(paced, 429)
        assert clock.now < 1000 + TOLD

    assert [(line["event"], line["origin"]) for line in logs] == [("pacing.slowed", HERE), ("pacing.recovered", HERE)]
    assert logs[0]["slots"] == 2
    assert logs[0]["rate"] > 100


async def test_requests_of_all_kinds_share_the_slots():
    """Twenty pages at once over four slots, against a service that refuses the sixth and seventh: all arrive."""
    now = most = asked = 0

    def respond(request: Request):
        nonlocal now, most, asked
        asked += 1
        now += 1
        most = max(most, now)
        status = 429 if asked in (6, 7) else 200

        async def write(writer: asyncio.StreamWriter) -> bool:
            nonlocal now
            await asyncio.sleep(0.005)
            now -= 1
            writer.write(reply(status, PAGE))
            await writer.drain()
            return True

        return write

    async with service(respond, slots=4, sleep=asyncio.sleep) as (opened, _):
        pages = await asyncio.gather(*(opened.page("w", 1) for _ in range(20)))

    assert len(pages) == 20
    assert asked == 22
    assert most == 4
