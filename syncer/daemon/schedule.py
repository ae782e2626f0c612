"""Say what is due when, and tell it once when its time has come.

A job's times are those of its schedule, in UTC. However many of them pass while the machine sleeps, the daemon is down
or the schedule is paused, the job becomes due once, at the next opportunity. The jitter puts every time off, and never
forward. A clock that is set back by less than the time between two starts is waited out, so that no time counts twice;
one that is set back further was wrong before, and the times are counted anew: no clock leads to a wait without end.
It runs nothing, and knows nothing of what became of a job: it calls `due`, and whoever is called remembers when the job
last began.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any, Protocol

from apscheduler.schedulers.asyncio import AsyncIOScheduler  # type: ignore[import-untyped]  # it ships no types
from apscheduler.schedulers.base import STATE_RUNNING  # type: ignore[import-untyped]
from apscheduler.triggers.base import BaseTrigger  # type: ignore[import-untyped]
from apscheduler.triggers.cron import CronTrigger  # type: ignore[import-untyped]
from apscheduler.triggers.interval import IntervalTrigger  # type: ignore[import-untyped]

from syncer.settings import Settings, WorkspaceSchedule, parse_duration

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FRIDAY = datetime(2027, 1, 1, tzinfo=UTC)
_GLANCE = 30.0  # seconds; a timer stands still while the machine sleeps, and does not hear of a clock that is set


class Work(StrEnum):
    QUICK = "quick"
    FULL = "full"
    VERIFY = "verify"
    UPLOAD = "upload"  # has no times: it is due when something was dropped


@dataclass(frozen=True, slots=True, order=True)
class Job:
    """One kind of work on one workspace, or on the whole archive (None), as `VERIFY` is."""

    work: Work
    workspace_id: str | None = None


class Timer(Protocol):
    """What a `CallLater` gives back."""

    def cancel(self) -> object: ...


CallLater = Callable[[float, Callable[[], object]], Timer]  # as `loop.call_later`: seconds, what to call


def utc_now() -> datetime:
    return datetime.now(UTC)


# --- judgement ----------------------------------------------------------------------------------------


def plan(settings: Settings, workspace_ids: Iterable[str]) -> dict[Job, str]:
    """Give every job of these workspaces, and of the archive, with its schedule; those that are never due are left out.

    A workspace without an entry of its own has the schedules of "*".
    """
    own = {workspace.id: workspace.schedule for workspace in settings.workspaces}
    general = settings.schedule
    jobs = {Job(Work.VERIFY): general.verify}
    for id_ in workspace_ids:
        special = own.get(id_) or own.get("*") or WorkspaceSchedule()
        jobs[Job(Work.FULL, id_)] = general.full if special.full is None else special.full
        jobs[Job(Work.QUICK, id_)] = general.quick if special.quick is None else special.quick
    return {job: text for job, text in jobs.items() if text}


def first_time(text: str, last: datetime | None, now: datetime) -> datetime:
    """Say when a job is due that last began at `last`: now if it never did or has missed a time since, else its next.

    All times are aware; the text is a schedule as the settings hold it, and not "". A `last` that lies so far ahead
    that only a wrong clock can have given it does not count.
    """
    if last is None:
        return now
    return max(now, _within_reach(text, _following(text, last), now))


def first_times(jobs: Mapping[Job, str], last: Mapping[Job, datetime], now: datetime) -> dict[Job, datetime]:
    """Say when each job is due that has not been arranged yet, given when those that ever ran last began.

    A full pass finds all that a quick one would, so it counts as one; and a workspace that is new begins with it.
    Hashing everything again helps nobody who has just begun: the first verification waits for its regular time.
    """
    return {job: _first_of(job, text, jobs, last, now) for job, text in jobs.items()}


def _first_of(job: Job, text: str, jobs: Mapping[Job, str], last: Mapping[Job, datetime], now: datetime) -> datetime:
    began, waits = last.get(job), job.work is Work.VERIFY
    if job.work is Work.QUICK:
        full = Job(Work.FULL, job.workspace_id)
        began = max(filter(None, (began, last.get(full))), default=None)
        waits = full in jobs
    return _regular(text, now) if began is None and waits else first_time(text, began, now)


@lru_cache(maxsize=1024)
def longest_gap(text: str) -> float:
    """Give the longest wait between two times of a schedule, in seconds; over nights, weekends and months.

    Looked for among many times in a row from a Friday on, and from day to day over a year, there to the day below.
    """
    if len(text.split()) != 5:
        return parse_duration(text)
    longest, time = 0.0, _next(text, None, _FRIDAY)
    for _ in range(2000):
        if time.year > _FRIDAY.year + 10:
            break
        following = _following(text, time)
        longest, time = max(longest, (following - time).total_seconds()), following
    days = (_FRIDAY + timedelta(days=number) for number in range(366))
    return max(longest, *((_next(text, None, day) - day).total_seconds() for day in days))


def _within_reach(text: str, planned: datetime, now: datetime) -> datetime:
    """Keep a planned time up to the second one from now; what is beyond was planned by a wrong clock."""
    second = _following(text, _following(text, now))
    return planned if planned <= second else _regular(text, now)


def _following(text: str, moment: datetime) -> datetime:
    """Give a job's next time after it began: the cron line's next, or an interval later."""
    return _next(text, moment, moment)


def _regular(text: str, now: datetime) -> datetime:
    """Give the first time from now of a job that never began. Intervals count from 1970: no restart puts them off."""
    return _next(text, None, now)


def _next(text: str, previous: datetime | None, moment: datetime) -> datetime:
    # Never None: the settings let no schedule through that never comes.
    time: datetime = _trigger(text).get_next_fire_time(previous, moment)
    return time


@lru_cache(maxsize=1024)
def _trigger(text: str) -> Any:
    if len(text.split()) == 5:
        return CronTrigger.from_crontab(text, timezone=UTC)
    return IntervalTrigger(seconds=parse_duration(text), start_date=_EPOCH, timezone=UTC)


# --- the schedule at work -----------------------------------------------------------------------------


class Schedule:
    """The jobs that have been arranged, each with its next time."""

    def __init__(
        self,
        due: Callable[[Job], object],
        *,
        jitter: float,
        clock: Callable[[], datetime],
        call_later: CallLater,
        random: Callable[[], float],
    ) -> None:
        self.jitter = jitter  # seconds; may be changed, and counts from then on
        self._clock = clock
        self._share = random()
        self._due = due
        self._scheduler = _Scheduler(self._behind, call_later)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        due: Callable[[Job], object],
        *,
        jitter: float = 0,
        clock: Callable[[], datetime] = utc_now,
        call_later: CallLater | None = None,
        random: Callable[[], float] = random.random,
    ) -> AsyncIterator[Schedule]:
        """Call `due` in the running loop for each job whose time has come, until the block ends.

        `due` must not block; what it raises goes to the loop's exception handler. `jitter` is in seconds. `clock` gives
        aware times; it is asked at least every 30 s, by means of `call_later`.
        """
        later = asyncio.get_running_loop().call_later if call_later is None else call_later
        schedule = cls(due, jitter=jitter, clock=clock, call_later=later, random=random)
        schedule._scheduler.start()
        try:
            yield schedule
        finally:
            schedule._scheduler.pause()  # at once, while the rest of the end waits for the loop's next round
            schedule._scheduler.shutdown(wait=False)
            await asyncio.sleep(0)

    def arrange(self, jobs: Mapping[Job, str], last: Mapping[Job, datetime]) -> None:
        """Put these jobs, each with its schedule, in place of all others; `last` says when they last began.

        A job whose schedule stays the same keeps its next time. `due` is not called before this returns.
        """
        arranged = {kept.args[0]: kept for kept in self._scheduler.get_jobs()}
        for job in arranged.keys() - jobs.keys():
            arranged[job].remove()
        for job, time in first_times(jobs, last, self._behind()).items():
            if job not in arranged or arranged[job].trigger.text != jobs[job]:
                name = f"{job.work} {job.workspace_id}"
                trigger = _Trigger(jobs[job])
                self._scheduler.add_job(self._due, trigger, [job], id=name, next_run_time=time, replace_existing=True)

    def next_times(self) -> dict[Job, datetime]:
        """Say when each job is due next, in UTC; those that the pause holds back may lie in the past."""
        return {kept.args[0]: kept.next_run_time + self._delay for kept in self._scheduler.get_jobs()}

    def pause(self) -> None:
        """Let nothing become due until `resume`."""
        self._scheduler.pause()

    def resume(self) -> None:
        """Go on; what has missed its time meanwhile is due once."""
        self._scheduler.resume()

    @property
    def _delay(self) -> timedelta:
        # Drawn once for all jobs, so that what is due at the same time starts together.
        return timedelta(seconds=self._share * self.jitter)

    def _behind(self) -> datetime:
        """Give the time by the clock that the schedule goes by: it is late by the jitter, so all that it says is."""
        return self._clock().astimezone(UTC) - self._delay


class _Trigger(BaseTrigger):  # type: ignore[misc]  # untyped, as all of APScheduler
    """A schedule's next time after now. APScheduler's own triggers go through each one that was missed."""

    def __init__(self, text: str) -> None:
        self.text = text

    def get_next_fire_time(self, previous: datetime | None, now: datetime) -> datetime:
        return _following(self.text, now)


class _Scheduler(AsyncIOScheduler):  # type: ignore[misc]  # untyped, as all of APScheduler
    """APScheduler by a clock and timers that are handed in; it would ask `datetime.now`.

    With `due` called right here and triggers that skip what was missed, nothing is left for its executors to do.
    """

    def __init__(self, clock: Callable[[], datetime], call_later: CallLater) -> None:
        super().__init__(timezone=UTC)
        self._clock = clock
        self._call_later = call_later
        self._seen = clock()

    def _process_jobs(self) -> float | None:
        """Tell what is due, and give the seconds until the next look."""
        if self.state != STATE_RUNNING:
            return None
        now, store = self._clock(), self._lookup_jobstore("default")
        if now < self._seen:  # the clock was set back
            for job in store.get_all_jobs():
                job._modify(next_run_time=_within_reach(job.trigger.text, job.next_run_time, now))
                store.update_job(job)
        self._seen = now
        due = store.get_due_jobs(now)
        for job in due:  # before anybody is told, who may arrange anew
            job._modify(next_run_time=job.trigger.get_next_fire_time(job.next_run_time, now))
            store.update_job(job)
        for job in due:
            try:
                job.func(*job.args)
            except Exception as error:  # a bug, and no reason to let all later times pass in silence
                self._eventloop.call_exception_handler({"message": f"{job.id} is due, but", "exception": error})
        upcoming = store.get_next_run_time()
        return None if upcoming is None else (upcoming - now).total_seconds()

    def _start_timer(self, wait_seconds: float | None) -> None:
        self._stop_timer()
        if wait_seconds is not None:
            self._timeout = self._call_later(min(max(wait_seconds, 0), _GLANCE), self.wakeup)
