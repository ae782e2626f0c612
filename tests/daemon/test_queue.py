"""What is due is done, once, and nothing is forgotten: whatever falls due, fails, is asked for or paused meanwhile."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from syncer.daemon.queue import Batch, Queue
from syncer.daemon.schedule import Job, Work

FULL, QUICK, VERIFY = Job(Work.FULL, "a"), Job(Work.QUICK, "a"), Job(Work.VERIFY)
UPLOAD = Job(Work.UPLOAD, "a")
OTHER_FULL, OTHER_QUICK = Job(Work.FULL, "b"), Job(Work.QUICK, "b")

JOBS = st.sampled_from([FULL, QUICK, VERIFY, OTHER_FULL, OTHER_QUICK])


def taken(queue: Queue, *, paused: bool = False) -> list[Batch]:
    """Everything that the queue gives out, in turn."""
    found = []
    while batch := queue.take(math.inf, paused=paused):
        found.append(batch)
    return found


def test_jobs_of_a_kind_are_done_together_and_full_passes_first():
    """One run for all workspaces that are due for the same; the archive is verified last."""
    queue = Queue()
    queue.add([VERIFY, OTHER_QUICK, OTHER_FULL, FULL], 5.0)

    full, verify = taken(queue)

    assert (full.work, full.workspaces) == (Work.FULL, ("a", "b"))
    assert (verify.work, verify.workspaces) == (Work.VERIFY, ())


def test_a_full_pass_does_what_a_quick_one_would():
    """Of its own workspaces; the quick pass of another is made after it."""
    queue = Queue()
    queue.add([FULL, QUICK, OTHER_QUICK], 5.0)

    full, quick = taken(queue)

    assert full.done == {FULL, QUICK}
    assert quick.jobs == quick.done == {OTHER_QUICK}


def test_the_time_of_a_batch_is_that_of_its_first_job():
    """A job that falls due again keeps the time at which it first did."""
    queue = Queue()
    queue.add([FULL], 5.0)
    queue.add([OTHER_FULL], 3.0)
    queue.add([FULL, OTHER_FULL], 9.0)

    (batch,) = taken(queue)

    assert batch.due == 3.0


def test_work_that_came_to_nothing_waits_and_keeps_nobody_waiting():
    """Until its time; what falls due meanwhile is not held, and it itself not by falling due again."""
    queue = Queue()
    queue.hold([QUICK], 10.0, until=14.0)
    queue.add([QUICK], 11.0)
    assert queue.wait(11.0, paused=False) == 3.0
    assert queue.held_until == 14.0
    assert queue.take(11.0, paused=False) is None
    queue.add([OTHER_QUICK], 12.0)
    assert queue.wait(12.0, paused=False) == 0
    other, own = queue.take(12.0, paused=False), queue.take(14.0, paused=False)

    assert other is not None
    assert other.jobs == {OTHER_QUICK}
    assert own is not None
    assert (own.jobs, own.due) == ({QUICK}, 10.0)


def test_work_that_keeps_coming_to_nothing_lets_the_rest_go_first():
    """What is wrong for all may be wrong for it alone: the others get their turn before it is tried again."""
    queue = Queue()
    queue.add([UPLOAD, FULL], 1.0)
    turns = []
    for now in (1.0, 3.0, 5.0, 7.0):
        batch = queue.take(now, paused=False)
        assert batch is not None
        turns.append(batch.work)
        queue.hold(batch.jobs, now, until=now + 2)
        queue.close(now + 2)

    assert turns == [Work.UPLOAD, Work.FULL, Work.UPLOAD, Work.FULL]


def test_what_a_person_asks_for_is_not_held_back():
    """Whatever it waited for before."""
    queue = Queue()
    queue.hold([QUICK, VERIFY], 10.0, until=900.0)
    queue.add([VERIFY], 11.0, asked=True)

    assert queue.wait(11.0, paused=False) == 0
    batch = queue.take(11.0, paused=False)
    assert batch is not None
    assert batch.jobs == {VERIFY}
    assert queue.held_until == 900.0


def test_released_everything_may_begin():
    """What was wrong may have been mended."""
    queue = Queue()
    queue.hold([QUICK, VERIFY], 10.0, until=900.0)
    queue.release()
    assert queue.wait(11.0, paused=False) == 0
    assert queue.held_until is None


def test_accepted_deletions_are_for_what_was_asked_for_only():
    """Another workspace that is due at the time keeps its brake."""
    queue = Queue()
    queue.add([OTHER_FULL], 1.0)
    queue.add([FULL], 2.0, asked=True, accept=True)

    accepted, other = taken(queue)

    assert (accepted.jobs, accepted.accept) == ({FULL}, True)
    assert (other.jobs, other.accept) == ({OTHER_FULL}, False)


def test_paused_only_what_is_asked_for_is_done():
    """The rest is kept for later."""
    queue = Queue()
    queue.add([FULL, VERIFY], 10.0)
    assert queue.wait(10.0, paused=True) is None
    assert taken(queue, paused=True) == []
    queue.add([VERIFY], 11.0, asked=True)

    assert [batch.jobs for batch in taken(queue, paused=True)] == [{VERIFY}]
    assert [batch.jobs for batch in taken(queue)] == [{FULL}]


def test_a_job_that_is_due_and_asked_for_stays_asked_for():
    """Its falling due again does not put it back behind the pause."""
    queue = Queue()
    queue.add([FULL], 1.0, asked=True)
    queue.add([FULL], 2.0)
    assert queue.take(2.0, paused=True) is not None


def test_an_empty_queue_waits_for_something_to_be_added():
    """There is nothing to begin, and nothing that waits for its time."""
    queue = Queue()
    assert queue.wait(0.0, paused=False) is None
    assert queue.held_until is None
    assert queue.take(0.0, paused=False) is None


def test_dropped_is_what_is_not_scheduled_any_more():
    """What a person asked for stays, as long as it is possible at all."""
    queue = Queue()
    queue.add([FULL, QUICK], 1.0)
    queue.add([OTHER_FULL, VERIFY], 1.0, asked=True)

    queue.drop([FULL], lambda job: job.workspace_id != "b")

    assert len(queue) == 2
    assert FULL in queue
    assert VERIFY in queue


@settings(deadline=None)  # a slow machine is no mistake
@given(st.lists(JOBS), st.lists(JOBS))
def test_every_job_is_done_exactly_once(first: list[Job], second: list[Job]):
    """However often it is added, in whatever order: by itself, or by the full pass of its workspace."""
    queue = Queue()
    queue.add(first, 1.0)
    queue.add(second, 2.0, asked=True)

    batches = taken(queue)

    own = [job for batch in batches for job in batch.jobs]
    assert len(own) == len(set(own))
    assert set(own) <= set(first) | set(second) <= {job for batch in batches for job in batch.done}
    assert len(queue) == 0
    works = [batch.work for batch in batches]
    assert works == [work for work in (Work.FULL, Work.QUICK, Work.VERIFY) if work in works]


class Life(RuleBasedStateMachine):
    """A queue in use, beside the plainest account of what should be in it: for each job, from when it may begin."""

    def __init__(self) -> None:
        super().__init__()
        self.queue = Queue()
        self.owed: dict[Job, float] = {}
        self.asked: set[Job] = set()
        self.now = 1.0
        self.paused = False

    @rule(jobs=st.lists(JOBS, max_size=3), asked=st.booleans())
    def add(self, jobs: list[Job], asked: bool) -> None:
        self.queue.add(jobs, self.now, asked=asked)
        for job in jobs:
            self.owed[job] = 0.0 if asked else self.owed.get(job, 0.0)
        if asked:
            self.asked |= set(jobs)

    @rule(jobs=st.lists(JOBS, max_size=3), seconds=st.floats(0, 1000))
    def hold(self, jobs: list[Job], seconds: float) -> None:
        self.queue.hold(jobs, self.now, self.now + seconds)
        for job in jobs:
            self.owed[job] = 0.0 if job in self.asked else self.now + seconds

    @rule(seconds=st.floats(0, 1000))
    def go_by(self, seconds: float) -> None:
        self.now += seconds

    @rule(paused=st.booleans())
    def pause(self, paused: bool) -> None:
        self.paused = paused

    @rule()
    def release(self) -> None:
        self.queue.release()
        self.owed = dict.fromkeys(self.owed, 0.0)

    @precondition(lambda self: self.queue.wait(self.now, paused=self.paused) == 0)
    @rule()
    def work(self) -> None:
        batch = self.queue.take(self.now, paused=self.paused)
        assert batch is not None, "nothing there, although it need not wait"
        assert batch.jobs <= self.owed.keys()
        assert all(self.owed[job] <= self.now for job in batch.jobs)
        assert not self.paused or batch.jobs <= self.asked
        assert batch.due <= self.now
        for job in batch.done:
            self.owed.pop(job, None)
        self.asked -= batch.done

    @invariant()
    def nothing_is_lost(self) -> None:
        assert len(self.queue) == len(self.owed)
        assert all(job in self.queue for job in self.owed)

    @invariant()
    def it_waits_only_for_a_reason(self) -> None:
        able = [time for job, time in self.owed.items() if job in self.asked or not self.paused]
        expected = max(0.0, min(able) - self.now) if able else None
        assert self.queue.wait(self.now, paused=self.paused) == expected


TestLife = Life.TestCase
TestLife.settings = settings(deadline=None)
