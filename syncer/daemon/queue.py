"""Work that is due and not done yet: each job once, however often it falls due meanwhile. No I/O, no clock.

Jobs of a kind are done together, full passes first, and a full pass does what a quick one of its workspaces would have
done. After work that came to nothing all wait for a while, but for what a person asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass

from syncer.daemon.schedule import Job, Work

_ORDER = (Work.FULL, Work.QUICK, Work.VERIFY)


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs of one kind that are done in one run; `due` is when the first of them fell due, by the clock of `add`."""

    work: Work
    jobs: frozenset[Job]
    due: float

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
    asked: bool


class Queue:
    """What waits for its turn."""

    def __init__(self) -> None:
        self._waiting: dict[Job, _Waiting] = {}
        self._held_until = 0.0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, job: Job) -> bool:
        return job in self._waiting

    def add(self, jobs: Iterable[Job], now: float, *, asked: bool = False) -> None:
        """Note that jobs are due; `asked` by a person, they wait for no pause and end the waiting of the others."""
        for job in jobs:
            there = self._waiting.get(job)
            self._waiting[job] = _Waiting(there.due if there else now, asked or (there.asked if there else False))
        if asked:
            self._held_until = 0.0

    def hold(self, until: float) -> None:
        """Let nothing begin before this time."""
        self._held_until = until

    @property
    def held_until(self) -> float | None:
        """When what waits may begin again; None if nothing waits for that."""
        return self._held_until if self._waiting and self._held_until else None

    def wait(self, now: float, *, paused: bool) -> float | None:
        """Return the seconds until something may begin: 0 for now, None for not before something is added."""
        if not self._ready(paused=paused):
            return None
        return max(0.0, self._held_until - now)

    def take(self, *, paused: bool) -> Batch | None:
        """Take the next batch out; whether it is time, `wait` says."""
        ready = self._ready(paused=paused)
        for work in _ORDER:
            jobs = frozenset(job for job in ready if job.work is work)
            if jobs:
                batch = Batch(work, jobs, min(self._waiting[job].due for job in jobs))
                for job in batch.done:
                    self._waiting.pop(job, None)
                self._held_until = 0.0
                return batch
        return None

    def drop(self, keep: Container[Job], possible: Callable[[Job], bool]) -> None:
        """Forget the jobs that are not to be done any more: all but these, and what was asked for if it is possible."""
        self._waiting = {
            job: waiting for job, waiting in self._waiting.items() if job in keep or (waiting.asked and possible(job))
        }

    def _ready(self, *, paused: bool) -> list[Job]:
        return [job for job, waiting in self._waiting.items() if waiting.asked or not paused]
