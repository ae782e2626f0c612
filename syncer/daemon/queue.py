"""Work that is due and not done yet: each job once, however often it falls due meanwhile. No I/O, no clock.

Jobs of a kind are done together: uploads first, since somebody may be watching, then full passes. A full pass does what
a quick one of its workspaces would have done. A job that came to nothing waits for a while before it may begin again,
unless a person asks for it; the others wait with it only if they would come to nothing for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, replace

from syncer.daemon.schedule import Job, Work

_ORDER = (Work.UPLOAD, Work.FULL, Work.QUICK, Work.VERIFY)


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs of one kind that are done in one run; `due` is when the first of them fell due, by the clock of `add`.

    `accept`: a person has looked at the deletions that the brake would hold.
    """

    work: Work
    jobs: frozenset[Job]
    due: float
    accept: bool = False

    @property
    def workspaces(self) -> tuple[str, ...]:
        """The ids of the workspaces to look at, in an order that does not change."""
        return tuple(sorted(job.workspace_id for job in self.jobs if job.workspace_id is not None))

    @property
    def done(self) -> frozenset[Job]:
        """All that is done by it: a full pass does what a quick one of its workspaces would have done."""
        if self.work is not Work.FULL:
            return self.jobs
        return self.jobs | {Job(Work.QUICK, workspace_id) for workspace_id in self.workspaces}


@dataclass(frozen=True, slots=True)
class _Waiting:
    due: float
    asked: bool = False
    accept: bool = False
    begins: float = 0.0  # not before this time


class Queue:
    """What waits for its turn."""

    def __init__(self) -> None:
        self._waiting: dict[Job, _Waiting] = {}
        self._closed_until = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, job: Job) -> bool:
        return job in self._waiting

    def add(self, jobs: Iterable[Job], now: float, *, asked: bool = False, accept: bool = False) -> None:
        """Note that jobs are due; `asked` by a person, they wait neither for a pause nor for their time."""
        for job in jobs:
            there = self._waiting.get(job, _Waiting(now))
            begins = 0.0 if asked else there.begins
            self._waiting[job] = _Waiting(there.due, asked or there.asked, accept or there.accept, begins)

    def hold(self, jobs: Iterable[Job], now: float, until: float) -> None:
        """Note that jobs are due, and let them begin at a time only, if nobody has asked for them meanwhile."""
        for job in jobs:
            there = self._waiting.get(job, _Waiting(now))
            self._waiting[job] = there if there.asked else replace(there, begins=until)

    def close(self, until: float) -> None:
        """Let nothing begin before a time but what a person asks for: what is wrong is wrong for all."""
        self._closed_until = until

    def release(self) -> None:
        """Let everything begin that waits for its time."""
        self._closed_until = 0.0
        self._waiting = {job: replace(waiting, begins=0.0) for job, waiting in self._waiting.items()}

    @property
    def held_until(self) -> float | None:
        """When the next job may begin that waits for its time; None if none does."""
        times = [self._begins(waiting) for waiting in self._waiting.values()]
        return min((time for time in times if time), default=None)

    def wait(self, now: float, *, paused: bool) -> float | None:
        """Return the seconds until something may begin: 0 for now, None for not before something is added."""
        times = [self._begins(waiting) for waiting in self._ready(paused=paused).values()]
        return min((max(0.0, time - now) for time in times), default=None)

    def take(self, now: float, *, paused: bool) -> Batch | None:
        """Take out the next batch of what may begin."""
        able = self._ready(paused=paused)
        ready = {job: waiting for job, waiting in able.items() if self._begins(waiting) <= now}
        # What has waited for its time comes behind what has not: in vain again, it must not keep the rest for ever.
        for work in sorted(
            _ORDER, key=lambda work: max((able[job].begins for job in ready if job.work is work), default=0)
        ):
            for accept in (True, False):
                jobs = frozenset(job for job in ready if job.work is work and ready[job].accept is accept)
                if jobs:
                    batch = Batch(work, jobs, min(ready[job].due for job in jobs), accept)
                    for job in batch.done:
                        self._waiting.pop(job, None)
                    return batch
        return None

    def drop(self, keep: Container[Job], possible: Callable[[Job], bool]) -> None:
        """Forget the jobs that are not to be done any more: all but these, and what was asked for if it is possible."""
        self._waiting = {
            job: waiting for job, waiting in self._waiting.items() if job in keep or (waiting.asked and possible(job))
        }

    def _begins(self, waiting: _Waiting) -> float:
        return 0.0 if waiting.asked else max(waiting.begins, self._closed_until)

    def _ready(self, *, paused: bool) -> dict[Job, _Waiting]:
        return {job: waiting for job, waiting in self._waiting.items() if waiting.asked or not paused}
