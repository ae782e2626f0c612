"""The schedule on clocks that jump and through restarts, held against a list of its times made another way."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from steered_time import SteeredTime, settled

from syncer.daemon.schedule import Job, Schedule, Work, first_time

JOB = Job(Work.FULL, "one")
BEGIN = datetime(2026, 1, 30, 12, 0, 0, tzinfo=UTC)
DAY = timedelta(days=1)
DAYS = range(-3, 1500)
FIRST = BEGIN - 300 * DAY


@dataclass(frozen=True)
class Crontab:
    """A cron line, and its times of a day spelt out."""

    line: str
    hours: tuple[int, ...]
    minutes: tuple[int, ...] = (0,)
    weekdays: tuple[int, ...] = tuple(range(7))  # from Monday


CRONTABS = (
    Crontab("*/15 * * * *", tuple(range(24)), (0, 15, 30, 45)),
    Crontab("7 */6 * * *", (0, 6, 12, 18), (7,)),
    Crontab("0 3 * * *", (3,)),
    Crontab("30 2,14 * * mon,thu", (2, 14), (30,), (0, 3)),
)


@cache
def times(crontab: Crontab) -> list[datetime]:
    midnight = BEGIN.replace(hour=0)
    return [
        midnight + day * DAY + timedelta(hours=hour, minutes=minute)
        for day in DAYS
        if (midnight + day * DAY).weekday() in crontab.weekdays
        for hour in crontab.hours
        for minute in crontab.minutes
    ]


def come(crontab: Crontab, moment: datetime) -> int:
    """How many of its times have come by then: one more means that one lies between."""
    return bisect_right(times(crontab), moment)


crontabs = st.sampled_from(CRONTABS)
intervals = st.integers(120, 100_000).map(lambda seconds: timedelta(seconds=seconds))
jitters = st.floats(0, 120).map(lambda seconds: timedelta(seconds=seconds))
steps = (
    st.timedeltas(timedelta(milliseconds=1), timedelta(minutes=20))
    | st.timedeltas(timedelta(hours=1), timedelta(days=9))
    | st.sampled_from([timedelta(minutes=15), timedelta(hours=1), DAY, 7 * DAY])
)
# What one process sees of the clock, from the first start on: each life begins with the time since the one before.
lives = st.lists(st.lists(steps, min_size=1, max_size=20), max_size=4).map(lambda later: [[timedelta()], *later])
patient = settings(deadline=None)  # each example has a loop of its own, which takes a slow machine its time
back = st.floats(
    0, 0.95
)  # how far the clock is set back behind the latest it has shown, of the time between two starts


async def looks(text: str, jitter: timedelta, lived: list[list[timedelta]]) -> list[list[tuple[datetime, int]]]:
    """Live, and give for each life the times at which the schedule looked, and how often the job became due there."""
    time, told, seen = SteeredTime(BEGIN), list[datetime](), []
    for life in lived:
        before = len(told)
        time.time += life[0]
        seen.append(list[tuple[datetime, int]]())
        async with Schedule.open(
            lambda _: told.append(time.now()),
            jitter=jitter.total_seconds(),
            clock=time.now,
            call_later=time.call_later,
            random=lambda: 1,
        ) as schedule:
            schedule.arrange({JOB: text}, {JOB: told[-1] if told else BEGIN})
            await settled()
            seen[-1].append((time.now(), len(told) - before))
            for step in life[1:]:
                before = len(told)
                await time.move_to(time.now() + step)
                seen[-1].append((time.now(), len(told) - before))
    return seen


@patient
@given(crontabs, jitters, lives)
def test_cron_line_is_due_once_for_each_time_or_gap(
    crontab: Crontab, jitter: timedelta, lived: list[list[timedelta]]
) -> None:
    """Exactly where one of its times has come since it was due last: never twice for it, and never before it."""
    began = BEGIN
    for life in asyncio.run(looks(crontab.line, jitter, lived)):
        covered = began  # this process does not know how much of it was the jitter of the one before
        for moment, count in life:
            time = moment - jitter
            assert count == (come(crontab, time) > come(crontab, covered)), moment
            if count:
                began, covered = moment, time


@patient
@given(intervals, jitters, lives)
def test_interval_is_due_once_it_has_passed(
    interval: timedelta, jitter: timedelta, lived: list[list[timedelta]]
) -> None:
    """Counted from the start before, whoever made it; the jitter comes once in each life of the process."""
    began = BEGIN
    for life in asyncio.run(looks(f"{interval.total_seconds():.0f}s", jitter, lived)):
        waits = interval + jitter
        for moment, count in life:
            assert count == (moment - began >= waits), moment
            if count:
                began, waits = moment, interval


@patient
@given(crontabs, jitters, st.lists(st.tuples(steps, back), max_size=30))
def test_clock_that_is_set_back_a_little_repeats_no_time(
    crontab: Crontab, jitter: timedelta, moves: list[tuple[timedelta, float]]
) -> None:
    """Forward by any step, back by less than the shortest time between two starts: each start has a time of its own."""
    least = min(two - one for one, two in pairwise(times(crontab)[:200]))
    latest, walk = BEGIN, list[timedelta]()
    now = BEGIN
    for step, share in moves:
        latest = max(latest, now + step)
        walk += [latest - now, -share * least]
        now = latest - share * least

    [life] = asyncio.run(looks(crontab.line, jitter, [[timedelta(), *walk]]))

    numbers = [come(crontab, moment - jitter) for moment, count in life for _ in range(count)]
    assert numbers == sorted(set(numbers))


@patient
@given(
    st.sampled_from([crontab.line for crontab in CRONTABS]) | intervals.map(lambda length: f"{length.seconds + 1}s"),
    jitters,
    st.lists(st.timedeltas(-400 * DAY, 400 * DAY), max_size=15),
)
def test_no_clock_leads_to_a_wait_without_end(text: str, jitter: timedelta, walk: list[timedelta]) -> None:
    """Wherever it jumps, the next time is the next or the second after now, and a job is due at most once a look."""

    async def check() -> None:
        time, told = SteeredTime(BEGIN), list[Job]()
        async with Schedule.open(
            told.append,
            jitter=jitter.total_seconds(),
            clock=time.now,
            call_later=time.call_later,
            random=lambda: 1,
        ) as schedule:
            schedule.arrange({JOB: text}, {JOB: BEGIN})
            await settled()
            for step in walk:
                told.clear()
                await time.move_to(max(time.now() + step, FIRST))
                assert len(told) <= 1
                behind = time.now() - jitter
                # By the rule for a job that began just now, and at its next time.
                second = first_time(text, first_time(text, behind, behind), behind)
                assert behind < schedule.next_times()[JOB] - jitter <= second

    asyncio.run(check())


@patient
@given(crontabs, steps, jitters)
def test_last_start_ahead_of_the_clock_leads_to_no_wait_without_end(
    crontab: Crontab, ahead: timedelta, jitter: timedelta
) -> None:
    """As after a restart, when the manifest was written by a wrong clock."""
    now = BEGIN + jitter
    due = first_time(crontab.line, now + ahead, now)

    assert now <= due <= times(crontab)[come(crontab, now) + 1]


async def test_thousands_of_starts_take_no_time() -> None:
    """On a steered clock, a year of quarters of an hour passes at once."""
    time, told = SteeredTime(BEGIN), list[Job]()
    async with Schedule.open(told.append, clock=time.now, call_later=time.call_later) as schedule:
        schedule.arrange({JOB: "*/15 * * * *"}, {JOB: BEGIN})
        await settled()
        for _ in range(10_000):
            await time.move_to(min(schedule.next_times().values()))

    assert len(told) == 10_000
    assert time.now() == BEGIN + 10_000 * timedelta(minutes=15)
