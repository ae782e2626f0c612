"""How many requests an origin takes is found out at little cost, and found out again."""

from __future__ import annotations

import math

import pytest
from crowds import Copy, bucket, windows
from hypothesis import given, settings
from hypothesis import strategies as st

from syncer.service.crowding import FEW, FIRST, GIVE_IN, LEAST_RATE, OPENING, SAMPLE, SURELY_GIVE_IN, Crowd

RATES = (5, 20, 100, 500, 2000)
LATENCIES = (0.001, 0.01)


def refuse_all(crowd: Crowd, now: float, count: int, *, surely: bool = True) -> None:
    """Let so many leave at once and have them all refused."""
    for departure in [crowd.leave(now, queued=False) for _ in range(count)]:
        crowd.refused(departure, now + 0.01, surely=surely, paused=False)
        crowd.over(departure)


def let_through(crowd: Crowd, now: float, count: int = 1, *, seconds: float = 0.001) -> float:
    """Let so many leave one after the other and have them answered; returns the time at the end."""
    for _ in range(count):
        wait = crowd.wait(now)
        assert wait < math.inf
        departure = crowd.leave(now + wait, queued=True)
        now += wait + seconds
        crowd.let_through(departure, now)
        crowd.over(departure)
    return now


def crowded(limit: int = 32) -> tuple[Crowd, float]:
    """A crowd that was let through a hundred times and then refused."""
    crowd = Crowd(limit)
    now = let_through(crowd, 0, 100)
    refuse_all(crowd, now, limit)
    return crowd, now + 0.01


# --- limits of a rate -----------------------------------------------------------------------------------


@pytest.mark.parametrize("latency", LATENCIES)
@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(
    "limiting",
    [
        lambda rate: bucket(rate, 20),
        lambda rate: bucket(rate, max(rate, 1)),
        lambda rate: windows(rate, 1, telling=False),
    ],
    ids=["bucket", "bucket of a second", "windows"],
)
def test_a_limit_is_kept_at_little_cost(limiting, rate, latency):
    """Once found, within 10 % of its own time, with at most 2 % refused, and the rate is known within 10 %."""
    copy = Copy(limiting(rate), latency=latency, own_time=min(0.0005, 0.2 / rate))
    copy.run(max(500, 10 * rate))
    images = max(4000, 10 * rate)

    seconds, refused = copy.run(images)

    assert seconds <= 1.1 * images / rate
    assert refused <= 0.02
    assert 0.9 <= (copy.crowd.rate or 0) / rate <= 1.1


@pytest.mark.parametrize("rate", [10, 100, 400])
def test_whole_seconds_of_pause_are_made_rarely(rate):
    """Where each refusal costs a pause, the limit is tried so rarely that over minutes they cost about a tenth."""
    copy = Copy(windows(rate, 1, telling=True), own_time=min(0.0005, 0.2 / rate))
    images = 120 * rate

    seconds, refused = copy.run(images)

    assert seconds <= 1.15 * images / rate
    assert refused <= 0.02


def test_a_quota_of_a_minute_is_used_up_and_waited_for():
    """One try after each pause, and after a few of them hardly any refusal at all."""
    copy = Copy(windows(20, 60, telling=True))
    seconds, refused = copy.run(20 * 60 * 10)

    assert seconds <= 605
    assert refused <= 0.005


def test_the_first_refusals_cost_no_more_than_what_was_under_way():
    """Two hundred a second after a burst of twenty: the whole of the first ten seconds keeps the promise, too."""
    copy = Copy(bucket(200, 20))
    seconds, refused = copy.run(2000)

    assert seconds <= 11
    assert refused <= 0.02


def test_a_slow_limit_is_found_with_few_refusals():
    """Fifty a second after a burst of twenty: few are under way at the first refusal, and few more find the rate."""
    copy = Copy(bucket(50, 20))
    seconds, refused = copy.run(500)

    assert seconds <= 11
    assert refused <= 0.025


def test_slots_open_one_after_the_other():
    """At first, and again after a time without work; however long the answers take, all are open soon."""
    crowd, now = Crowd(32), 0.0
    for started in (0.0, 60.0):
        leaving, now = [], started
        while len(leaving) < 32:
            now += crowd.wait(now)
            leaving.append(crowd.leave(now, queued=True))
            assert len(leaving) <= FIRST + (now - started) / OPENING + 1
        assert now - started < 0.5
        for departure in leaving:
            crowd.let_through(departure, now + 0.04)
            crowd.over(departure)


def test_a_burst_at_first_is_not_taken_for_the_rate():
    """Twenty let through within thirty milliseconds say little; the same over two seconds are the rate."""
    rates = []
    for seconds in (0.0015, 0.1):
        crowd = Crowd(32)
        now = let_through(crowd, 0, 20, seconds=seconds)
        refuse_all(crowd, now, 4)
        rates.append((crowd.rate or 0) * (now / 20))

    assert rates[0] < 0.2
    assert rates[1] > 0.9


@settings(max_examples=25, deadline=None)
@given(st.floats(5, 2000), st.floats(10, 500), st.integers(1, 64), st.floats(0.0005, 0.02))
def test_whatever_the_limit_the_bounds_hold(rate, burst, slots, latency):
    """Never more at once than the limit, always at least one, and every copy comes to its end."""
    copy = Copy(bucket(rate, burst), slots=slots, latency=latency)
    copy.run(1000)

    assert copy.most <= slots


def test_a_limit_that_was_lifted_is_forgotten():
    """After some hundreds of requests without a refusal nothing is held back any more."""
    limits = [bucket(100, 20)]
    copy = Copy(lambda now: limits[0](now))
    copy.run(2000)
    assert copy.crowd.slowed

    limits[0] = lambda now: None
    copy.run(1500)

    assert not copy.crowd.slowed


def test_a_limit_that_fell_is_found():
    """From five hundred to ten a second: after the fall it is kept like any other."""
    limits = [bucket(500, 20)]
    copy = Copy(lambda now: limits[0](now))
    copy.run(5000)

    limits[0] = bucket(10, 10)
    copy.run(500)
    seconds, refused = copy.run(1000)

    assert seconds <= 110
    assert refused <= 0.02


def test_a_rate_is_forgotten_with_the_time():
    """Where nothing was refused for half an hour, the next request leaves without regard to it."""
    crowd, now = crowded()
    now = let_through(crowd, now + 1)
    assert crowd.rate is not None

    let_through(crowd, now + 3600)

    assert crowd.rate is None


def test_what_was_not_asked_for_is_no_sign_of_a_higher_limit():
    """A rate that nobody waits for does not grow: it was not tried."""
    crowd, now = crowded()
    now = let_through(crowd, now + 1)
    rate = crowd.rate
    for _ in range(1000):
        now += 0.1
        departure = crowd.leave(now, queued=False)
        crowd.let_through(departure, now)
        crowd.over(departure)

    assert crowd.rate == rate


def test_time_without_work_is_not_held_against_the_origin():
    """What was let through is counted from when there was work again, not over the night."""
    crowd = Crowd(32)
    now = let_through(crowd, 0, 100)
    now = let_through(crowd, now + 30_000, 100)
    refuse_all(crowd, now, 32)

    assert crowd.rate is not None
    assert crowd.rate > 500


# --- slots ----------------------------------------------------------------------------------------------


def test_slots_are_halved_once_for_all_that_was_under_way():
    """Thirty-two refusals of one moment are one sign."""
    crowd, _ = crowded(32)

    assert crowd.slots == 16


def test_slots_come_back_one_by_one():
    """One more for each full round of answers, up to the limit."""
    crowd, now = crowded(32)
    now += 1
    rounds = 0
    while crowd.slots < 32:
        before = crowd.slots
        now = let_through(crowd, now, int(before))
        assert crowd.slots == before + 1
        rounds += 1

    assert rounds == 16
    let_through(crowd, now, 100)
    assert crowd.slots == 32


def test_one_slot_is_always_left():
    """However much is refused: with none nobody would find out that it is over."""
    crowd, now = crowded(4)
    for _ in range(20):
        now += 5
        if crowd.wait(now) == 0:
            refuse_all(crowd, now, 1, surely=False)

    assert crowd.slots == 1
    assert crowd.rate is not None
    assert crowd.rate >= LEAST_RATE


def test_no_more_leave_than_there_are_slots():
    """The next one waits until another one is over."""
    crowd = Crowd(2)
    first, _ = crowd.leave(0, queued=False), crowd.leave(0, queued=False)
    assert crowd.wait(0) == math.inf

    crowd.over(first)

    assert crowd.wait(0) == 0


def test_a_single_failure_is_no_crowd():
    """503 for a few single images says something about them; only many say something about us."""
    crowd = Crowd(32)
    now = let_through(crowd, 0, 100)
    refuse_all(crowd, now, FEW, surely=False)
    assert not crowd.slowed

    refuse_all(crowd, now + 1, 1, surely=False)
    assert crowd.slowed


# --- who tries after a refusal --------------------------------------------------------------------------


def test_one_tries_for_all():
    """After a refusal one request leaves, and the others wait for what it is told."""
    crowd, now = crowded()
    assert 0 < crowd.wait(now) < 1
    now += crowd.wait(now)

    trying = crowd.leave(now, queued=True)
    assert crowd.wait(now) == math.inf

    crowd.let_through(trying, now + 0.01)
    assert crowd.wait(now + 1) == 0


def test_who_tries_and_gets_no_answer_is_followed_by_another():
    """A broken connection, or a cancelled task, must not hold back everybody for ever."""
    crowd, now = crowded()
    now += 1
    trying = crowd.leave(now, queued=True)

    crowd.over(trying)

    assert crowd.wait(now) == 0


@pytest.mark.parametrize(("surely", "patience"), [(False, GIVE_IN), (True, SURELY_GIVE_IN)])
def test_an_outage_is_left_to_the_retries(surely, patience):
    """Where nothing but refusals comes, all may try after a time; it is short unless the origin says "too many"."""
    crowd, start = crowded()
    now, tries = start, 0
    while crowd.wait(now) > 0 and now < start + 1000:
        now += crowd.wait(now)
        trying = crowd.leave(now, queued=True)
        crowd.refused(trying, now, surely=surely, paused=False)
        crowd.over(trying)
        tries += 1

    assert patience < now - start < 1.5 * patience
    assert tries < 40


def test_an_outage_teaches_no_rate():
    """Where nothing is let through there is nothing to measure: the rate stays for when it is over."""
    crowd, now = crowded()
    rate = crowd.rate
    for _ in range(400):
        now += 0.5
        refuse_all(crowd, now, 1)

    assert crowd.rate == rate


# --- answers that only get slower -----------------------------------------------------------------------


class Queue:
    """An origin that answers so many a second, one after the other, and never refuses."""

    def __init__(self, rate: float) -> None:
        self.every, self.free, self.now = 1 / rate, 0.0, 0.0
        self.crowd = Crowd(32)
        self.flying: list[tuple[float, object]] = []

    def serve(self, answers: int) -> float:
        """Answer so many; returns how many a second there were."""
        started = self.now
        for _ in range(answers):
            while self.crowd.wait(self.now) == 0:
                self.free = max(self.free, self.now) + self.every
                self.flying.append((self.free, self.crowd.leave(self.now, queued=False)))
            self.now, departure = self.flying.pop(0)
            self.crowd.let_through(departure, self.now)
            self.crowd.over(departure)
        return answers / (self.now - started)


def test_a_queue_at_the_origin_is_made_shorter():
    """Where everybody waits a second and a half, fewer slots lose nothing; and no more are given up than that."""
    origin = Queue(20)
    throughput = origin.serve(2000)

    assert origin.crowd.slots < 12
    assert throughput == pytest.approx(20, rel=0.02)


def test_a_service_that_is_slow_by_nature_keeps_its_slots():
    """Answers of a second each, however many at once: with fewer slots it would be slower, and that shows."""
    crowd, now = Crowd(32), 0.0
    let_through(crowd, 0, SAMPLE)  # quick ones, before
    flying = []
    for _ in range(2000):
        while crowd.wait(now) == 0:
            flying.append((now + 1, crowd.leave(now, queued=False)))
            now += 0.001
        left, departure = flying.pop(0)
        now = max(now, left)
        crowd.let_through(departure, now)
        crowd.over(departure)

    assert crowd.slots == 32


def test_slow_pages_are_no_queue():
    """One quick answer among many slow ones shows that nobody had to wait."""
    crowd = Crowd(32)
    now = let_through(crowd, 0, SAMPLE)
    for _ in range(100):
        now = let_through(crowd, now, SAMPLE - 1, seconds=2)
        now = let_through(crowd, now, 1)

    assert crowd.slots == 32
