"""What is due when, and that it becomes due once: on a clock that jumps as clocks do."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from steered_time import NOON, SteeredTime, settled

from syncer.daemon.schedule import Job, Schedule, Work, first_time, first_times, plan
from syncer.settings import (
    ArchiveSettings,
    ScheduleSettings,
    Settings,
    WorkspaceSchedule,
    WorkspaceSettings,
)

QUICK, FULL, VERIFY = Job(Work.QUICK, "one"), Job(Work.FULL, "one"), Job(Work.VERIFY)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


def opened(time: SteeredTime, told: list[Job], **options: Any) -> AbstractAsyncContextManager[Schedule]:
    return Schedule.open(told.append, clock=time.now, call_later=time.call_later, **options)


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2026, 11, day, hour, minute, tzinfo=UTC)


# --- the plan -----------------------------------------------------------------------------------------


def planned(schedule: ScheduleSettings, *workspaces: WorkspaceSettings, ids: tuple[str, ...]) -> Mapping[Job, str]:
    return plan(Settings(ArchiveSettings(Path("/kept")), workspaces, schedule=schedule), ids)


def test_plan_has_every_job_with_its_schedule() -> None:
    """Two for each workspace, one for the archive; "" is never."""
    general = ScheduleSettings(quick="15m", full="0 3 * * *", verify="1d")

    assert planned(general, WorkspaceSettings("one"), ids=("one",)) == {QUICK: "15m", FULL: "0 3 * * *", VERIFY: "1d"}
    assert planned(ScheduleSettings("", "", ""), WorkspaceSettings("one"), ids=("one",)) == {}
    assert planned(general, WorkspaceSettings("*"), ids=()) == {VERIFY: "1d"}


def test_plan_prefers_what_the_workspace_says() -> None:
    """Its own entry before [schedule], key by key; those of "*" are for workspaces without an entry."""
    own = WorkspaceSettings("own", schedule=WorkspaceSchedule(quick="5m"))
    silent = WorkspaceSettings("silent")
    never = WorkspaceSettings("never", schedule=WorkspaceSchedule("", ""))
    others = WorkspaceSettings("*", schedule=WorkspaceSchedule(full="1w"))

    assert planned(
        ScheduleSettings("15m", "1d"), own, silent, never, others, ids=("own", "silent", "never", "other")
    ) == {
        Job(Work.QUICK, "own"): "5m",
        Job(Work.FULL, "own"): "1d",
        Job(Work.QUICK, "silent"): "15m",
        Job(Work.FULL, "silent"): "1d",
        Job(Work.QUICK, "other"): "15m",
        Job(Work.FULL, "other"): "1w",
    }


# --- the first time -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "last", "due"),
    [
        ("0 3 * * *", None, NOON),
        ("0 3 * * *", at(22, 3), at(23, 3)),
        ("0 3 * * *", at(22, 3, 1), at(23, 3)),
        ("0 3 * * *", at(22, 2, 59), NOON),
        ("0 3 * * *", at(1, 3), NOON),
        ("0 12 * * *", at(21, 12), NOON),
        ("0 12 * * *", NOON, at(23, 12)),
        ("0 3 * * mon", at(16, 3), at(23, 3)),
        ("0 3 * * sun", at(16, 3), NOON),
        ("15m", at(22, 11, 50), at(22, 12, 5)),
        ("15m", at(22, 11, 45), NOON),
        ("15m", at(1, 0), NOON),
        ("1d", at(22, 3), at(23, 3)),
        # A last run that lies ahead: within reach it is believed, beyond only a wrong clock can have written it.
        ("0 3 * * *", at(23, 3), at(24, 3)),
        ("0 3 * * *", at(25, 3), at(23, 3)),
        ("15m", at(22, 12, 10), at(22, 12, 25)),
        ("15m", datetime(2036, 1, 1, tzinfo=UTC), NOON),
    ],
)
def test_first_time_is_the_next_one_or_now_if_one_was_missed(text: str, last: datetime | None, due: datetime) -> None:
    """Exactly one run makes up for whatever passed since the last began; else the schedule goes on."""
    assert first_time(text, last, NOON) == due


def test_day_of_the_week_is_that_of_a_crontab() -> None:
    """The settings make names of the numbers, and Sunday is Sunday here, too."""
    sunday = plan(
        Settings(ArchiveSettings(Path("/kept")), (), schedule=ScheduleSettings("", "", verify="0 3 * * sun")), ()
    )

    assert first_time(sunday[VERIFY], at(22, 3), NOON) == at(29, 3)


def test_new_workspace_begins_with_one_full_pass() -> None:
    """The quick one waits for its next regular time; where there is no full one, it begins at once."""
    assert first_times({QUICK: "*/15 * * * *", FULL: "0 3 * * *"}, {}, at(22, 12, 1)) == {
        FULL: at(22, 12, 1),
        QUICK: at(22, 12, 15),
    }
    assert first_times({QUICK: "*/15 * * * *"}, {}, at(22, 12, 1)) == {QUICK: at(22, 12, 1)}


def test_full_pass_counts_as_a_quick_one() -> None:
    """After a restart, nothing quick makes up for what a full pass has found already."""
    jobs = {QUICK: "15m", FULL: "0 3 * * *"}

    assert first_times(jobs, {QUICK: at(22, 3), FULL: at(22, 11, 59)}, NOON)[QUICK] == at(22, 12, 14)
    assert first_times(jobs, {QUICK: at(22, 11, 59), FULL: at(22, 3)}, NOON)[QUICK] == at(22, 12, 14)
    assert first_times(jobs, {FULL: at(22, 3)}, NOON)[QUICK] == NOON
    assert first_times({QUICK: "15m"}, {FULL: at(22, 11, 59)}, NOON)[QUICK] == at(22, 12, 14)


def test_first_verification_waits_for_its_regular_time() -> None:
    """Nobody who has just begun is helped by hashing; and restarts must not put it off for ever."""
    assert first_times({VERIFY: "0 5 * * *"}, {}, NOON) == {VERIFY: at(23, 5)}
    assert first_times({VERIFY: "0 5 * * *"}, {VERIFY: at(21, 5)}, NOON) == {VERIFY: NOON}
    [monthly] = {first_times({VERIFY: "30d"}, {}, NOON + day * DAY)[VERIFY] for day in range(3)}
    assert NOON + 3 * DAY < monthly < NOON + 30 * DAY


# --- at work ------------------------------------------------------------------------------------------


async def test_job_is_due_at_each_of_its_times() -> None:
    """Not before, and not again until the next."""
    time, told = SteeredTime(), list[Job]()
    async with opened(time, told) as schedule:
        schedule.arrange({FULL: "0 3 * * *"}, {FULL: at(22, 3)})
        await settled()

        seen = []
        for moment in (at(23, 2, 59), at(23, 3), at(23, 3, 1), at(24, 2, 59), at(24, 3)):
            await time.move_to(moment)
            seen.append(len(told))

    assert seen == [0, 1, 1, 1, 2]
    assert set(told) == {FULL}


@pytest.mark.parametrize("text", ["* * * * *", "1s", "0 3 * * *"])
async def test_sleep_is_made_up_for_once(text: str) -> None:
    """Also that of a machine without a clock of its own, which wakes in 1970."""
    time, told = SteeredTime(datetime(1970, 1, 1, 0, 0, 30, tzinfo=UTC)), list[Job]()
    async with opened(time, told) as schedule:
        schedule.arrange({FULL: text}, {FULL: time.now()})
        await time.move_to(NOON)
        await time.move_to(NOON + timedelta(milliseconds=1))

    assert told == [FULL]


async def test_loop_is_not_trusted_to_wake_in_time() -> None:
    """Its timers stand still in a sleep and do not hear of a clock that is set: the clock is looked at every 30 s."""
    time = SteeredTime()
    async with opened(time, []) as schedule:
        schedule.arrange({FULL: "0 3 * * *"}, {FULL: NOON})
        await settled()
        assert [timer.seconds for timer in time.timers] == [30]

        await time.move_to(at(23, 2, 59) + timedelta(seconds=50))
        assert [timer.seconds for timer in time.timers] == [10]


async def test_clock_that_was_far_ahead_does_not_stop_the_schedule() -> None:
    """Ten years too far and back again: the next time is the next there is, and not in ten years."""
    time, told = SteeredTime(), list[Job]()
    async with opened(time, told) as schedule:
        schedule.arrange({FULL: "0 3 * * *", QUICK: "15m"}, {FULL: NOON, QUICK: NOON})
        await time.move_to(NOON.replace(year=2036))
        assert sorted(told) == [FULL, QUICK]

        await time.move_to(NOON + MINUTE)
        assert schedule.next_times() == {FULL: at(23, 3), QUICK: at(22, 12, 15)}


async def test_clock_that_is_set_back_a_little_repeats_nothing() -> None:
    """A time that has come once does not come again."""
    time, told = SteeredTime(at(22, 2)), list[Job]()
    async with opened(time, told) as schedule:
        schedule.arrange({FULL: "0 3 * * *"}, {FULL: at(21, 3)})
        for moment in (at(22, 3), at(22, 2, 30), at(22, 3), at(22, 4)):
            await time.move_to(moment)

    assert told == [FULL]


async def test_paused_schedule_makes_up_once_after_the_pause() -> None:
    """While it is paused, nothing becomes due, also not by a new arrangement."""
    time, told = SteeredTime(), list[Job]()
    async with opened(time, told) as schedule:
        schedule.arrange({QUICK: "15m"}, {QUICK: NOON})
        await settled()
        schedule.pause()
        schedule.pause()
        await time.move_to(NOON + DAY)
        schedule.arrange({QUICK: "15m", FULL: "1d"}, {})
        await time.move_to(NOON + 2 * DAY)
        assert told == []
        assert schedule.next_times() == {QUICK: NOON + 15 * MINUTE, FULL: NOON + DAY}

        schedule.resume()
        schedule.resume()
        await settled()
        await time.move_to(NOON + 2 * DAY + MINUTE)

    assert sorted(told) == [FULL, QUICK]


async def test_new_arrangement_keeps_what_is_the_same() -> None:
    """Reading the configuration again starts nothing by itself: only what is new or changed is counted anew."""
    time, told, other = SteeredTime(), list[Job](), Job(Work.FULL, "other")
    async with opened(time, told) as schedule:
        schedule.arrange({FULL: "1d", QUICK: "15m", VERIFY: "1d"}, {FULL: NOON, QUICK: NOON})
        await time.move_to(NOON + MINUTE)
        schedule.arrange({FULL: "1d", QUICK: "5m", other: "1d"}, {QUICK: NOON, other: NOON + MINUTE})
        await settled()

        assert told == []
        assert schedule.next_times() == {
            FULL: NOON + DAY,
            QUICK: NOON + 5 * MINUTE,
            other: NOON + MINUTE + DAY,
        }


async def test_jitter_puts_off_all_that_is_due_together() -> None:
    """By one random share of it for all jobs and times, so that they still can be done in one run; but never a first
    pass, which somebody is waiting for."""
    time, told = SteeredTime(), list[Job]()
    second = Job(Work.QUICK, "two")
    async with opened(time, told, jitter=40, random=lambda: 0.5) as schedule:
        schedule.arrange({QUICK: "*/15 * * * *", second: "15m", FULL: "0 3 * * *"}, {QUICK: NOON, second: NOON})
        await settled()
        assert told == [FULL]

        await time.move_to(NOON + 15 * MINUTE + timedelta(seconds=19))
        assert told == [FULL]
        await time.move_to(NOON + 15 * MINUTE + timedelta(seconds=20))
        assert sorted(told) == sorted([FULL, QUICK, second])
        assert schedule.next_times()[QUICK] == NOON + 30 * MINUTE + timedelta(seconds=20)

        schedule.jitter = 0
        assert schedule.next_times()[QUICK] == NOON + 30 * MINUTE


async def test_listener_is_told_in_the_loop_and_not_while_arranging() -> None:
    """Whoever arranges has finished before anything becomes due, and needs no lock."""
    told = []

    def due(job: Job) -> None:
        told.append((job, asyncio.current_task(), threading.current_thread()))

    async with Schedule.open(due) as schedule:
        schedule.arrange({FULL: "1d"}, {})
        assert told == []
        await settled()

    assert told == [(FULL, None, threading.main_thread())]


async def test_listener_may_arrange_anew() -> None:
    """What is due with it in the same moment is told all the same."""
    time, told = SteeredTime(), list[Job]()

    def due(job: Job) -> None:
        told.append(job)
        schedule.arrange({}, {})

    async with Schedule.open(due, clock=time.now, call_later=time.call_later) as schedule:
        schedule.arrange({FULL: "1d", QUICK: "1d"}, {FULL: NOON - DAY, QUICK: NOON - DAY})
        await settled()

        assert sorted(told) == [FULL, QUICK]
        assert schedule.next_times() == {}


async def test_mistake_of_the_listener_does_not_stop_the_schedule() -> None:
    """The loop hears of it, and the other jobs and times come all the same."""
    time, heard, told = SteeredTime(), list[dict[str, Any]](), list[Job]()

    def due(job: Job) -> None:
        told.append(job)
        raise RuntimeError("a bug")

    asyncio.get_running_loop().set_exception_handler(lambda _, context: heard.append(context))
    async with Schedule.open(due, clock=time.now, call_later=time.call_later) as schedule:
        schedule.arrange({FULL: "1d", QUICK: "1d"}, {FULL: NOON - DAY, QUICK: NOON - DAY})
        await settled()
        await time.move_to(NOON + DAY)

    assert sorted(told) == [FULL, FULL, QUICK, QUICK]
    assert [str(context["exception"]) for context in heard] == ["a bug"] * 4


@pytest.mark.parametrize("last_moment", [{QUICK: "15m"}, {QUICK: "15m", FULL: "1d"}], ids=["idle", "busy"])
async def test_schedule_leaves_nothing_behind(last_moment: dict[Job, str]) -> None:
    """No timer, no task, no thread, and nothing that becomes due after the end, however busy it was."""
    time, told, threads = SteeredTime(), list[Job](), threading.active_count()
    async with opened(time, told) as schedule:
        schedule.arrange({QUICK: "15m"}, {QUICK: NOON})
        await settled()
        schedule.arrange(last_moment, {})
    assert time.timers == []
    await time.move_to(NOON + DAY)

    assert told == []
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert threading.active_count() == threads


async def test_schedule_keeps_real_time_too() -> None:
    """With the clock of the machine and the timers of the loop."""
    told, come = list[datetime](), asyncio.Event()

    def due(_: Job) -> None:
        told.append(datetime.now(UTC))
        come.set()

    last = datetime.now(UTC) - timedelta(seconds=0.8)
    async with Schedule.open(due) as schedule:
        schedule.arrange({FULL: "1s"}, {FULL: last})
        async with asyncio.timeout(30):
            await come.wait()

    assert told[0] >= last + timedelta(seconds=1)
