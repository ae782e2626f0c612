"""When requests leave, and how often they are repeated."""

from __future__ import annotations

import asyncio
from contextvars import Context
from datetime import UTC, datetime, timedelta

import pytest

from syncer.errors import Damaged, NotFound, Unavailable
from syncer.service.pacing import BACKOFF_CAP, HOPELESS, Pacing, http_date, retry_after

HERE, THERE = "https://here.example", "https://there.example"


class Time:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def pacing(time: Time, *, retries=5, retry_seconds=300.0, random=lambda: 1.0, rate=0.0) -> Pacing:
    return Pacing(
        retries=retries,
        retry_seconds=retry_seconds,
        requests_per_second=rate,
        clock=time.clock,
        sleep=time.sleep,
        random=random,
    )


class Work:
    """An attempt against one origin that fails as listed and then succeeds."""

    def __init__(self, paced: Pacing, *failures: Exception, origin=HERE) -> None:
        self.paced, self.failures, self.origin, self.tries = paced, list(failures), origin, 0

    async def __call__(self) -> str:
        self.tries += 1
        await self.paced.turn(self.origin, limited=True)
        if self.failures:
            raise self.failures.pop(0)
        self.paced.succeeded(self.origin)
        return "done"


def unavailable(status=503, origin=HERE, **facts) -> Unavailable:
    return Unavailable("later", status=status, origin=origin, **facts)


async def test_retryable_failure_is_repeated_with_growing_delays():
    """Each delay is random below a bound that doubles up to half a minute."""
    time = Time()
    paced = pacing(time, retries=9, retry_seconds=1000)
    work = Work(paced, *[unavailable()] * 9)

    assert await paced.retrying(work) == "done"
    assert time.slept == [0.5, 1, 2, 4, 8, 16, 30, 30, BACKOFF_CAP]


async def test_delays_are_spread_over_their_whole_range():
    """The jitter is full: a lucky draw repeats at once, so that many who failed together do not return together."""
    time = Time()
    draws = iter([0.0, 0.5])
    paced = pacing(time, random=lambda: next(draws))

    await paced.retrying(Work(paced, unavailable(), unavailable()))

    assert time.slept == [0.0, 0.5]


async def test_tries_are_counted_after_the_first():
    """`retries = 2` means three tries, and then the last error rises."""
    paced = pacing(Time(), retries=2)
    work = Work(paced, *[unavailable()] * 9)

    with pytest.raises(Unavailable):
        await paced.retrying(work)
    assert work.tries == 3


async def test_damage_found_by_others_is_repeated_too():
    """An error that knows no origin, such as the archive's, is repeated all the same."""
    paced = pacing(Time())
    work = Work(paced, Damaged("another hash"))

    assert await paced.retrying(work) == "done"


@pytest.mark.parametrize("error", [NotFound("gone", status=404), Unavailable("no", origin=HERE, cause="tls")])
async def test_what_cannot_change_is_not_repeated(error):
    """A refusal, or a certificate that is not valid, is the same a minute later."""
    paced = pacing(Time())
    work = Work(paced, error)

    with pytest.raises(type(error)):
        await paced.retrying(work)
    assert work.tries == 1


async def test_time_bounds_the_tries():
    """After `retry_seconds` there is no other try, and the last wait is cut so that one fits in."""
    time = Time()
    paced = pacing(time, retries=100, retry_seconds=10)
    work = Work(paced, *[unavailable()] * 99)

    with pytest.raises(Unavailable):
        await paced.retrying(work)
    assert time.slept == [0.5, 1, 2, 4, 2.5]
    assert work.tries == 6


async def test_inner_retry_is_part_of_the_outer_one():
    """Work that is repeated as a whole does not repeat its parts as well, which would multiply the tries."""
    paced = pacing(Time(), retries=2)
    work = Work(paced, *[unavailable()] * 99)

    with pytest.raises(Unavailable):
        await paced.retrying(lambda: paced.retrying(work))
    assert work.tries == 3


async def test_pause_is_made_by_everybody_and_by_that_origin_only():
    """One answer's Retry-After holds back all requests to its origin, not those to others."""
    time = Time()
    paced = pacing(time, random=lambda: 0.0)
    paced.pause(HERE, 20)

    await paced.turn(THERE, limited=True)
    assert time.slept == []
    await paced.turn(HERE, limited=True)
    assert time.slept == [20]


async def test_pause_wakes_up_spread_out():
    """Those who waited for the same pause do not all return in the same instant, and never too early."""
    time = Time()
    draws = iter([0.25, 0.75])
    paced = pacing(time, random=lambda: next(draws))
    paced.pause(HERE, 20)
    await paced.turn(HERE, limited=True)
    time.now -= time.slept[0]
    await paced.turn(HERE, limited=True)

    assert time.slept == [20.25, 20.75]


async def test_pause_that_grows_meanwhile_is_waited_for():
    """Who sleeps through a pause and wakes up in the next one sleeps again."""
    time = Time()
    paced = pacing(time, random=lambda: 0.0)
    paced.pause(HERE, 5)
    sleep = time.sleep

    async def sleep_while_others_are_told_more(seconds: float) -> None:
        if not time.slept:
            paced.pause(HERE, 12)
        await sleep(seconds)

    paced._sleep = sleep_while_others_are_told_more
    await paced.turn(HERE, limited=True)

    assert time.slept == [5, 7]


async def test_absurd_pause_is_bounded():
    """Asked to come back in a year, we come back after `retry_seconds`, for one last try."""
    time = Time()
    paced = pacing(time, retry_seconds=60)

    def told(origin: str) -> Unavailable:
        paced.pause(origin, 31_536_000)
        return unavailable(429, retry_after=31_536_000)

    tries = []

    async def work() -> None:
        tries.append(time.now)
        await paced.turn(HERE, limited=True)
        raise told(HERE)

    with pytest.raises(Unavailable):
        await paced.retrying(work)
    assert time.now == 1060
    assert len(tries) == 2


async def test_pause_is_bounded_for_single_requests_too():
    """Work that is not repeated waits no longer than repeated work would."""
    time = Time()
    paced = pacing(time, retry_seconds=60, random=lambda: 0.0)
    paced.pause(HERE, 31_536_000)

    await paced.turn(HERE, limited=True)

    assert time.slept == [60]


async def test_queue_of_our_own_costs_no_patience():
    """Waiting for the configured rate is not held against the service: everybody keeps the time to try again."""
    loop = asyncio.get_running_loop()
    paced = Pacing(retries=1, retry_seconds=0.05, requests_per_second=50, clock=loop.time, random=lambda: 0.0)
    works = [Work(paced, unavailable()) for _ in range(8)]

    assert await asyncio.gather(*(paced.retrying(work) for work in works)) == ["done"] * 8


async def test_throttling_counts_only_when_nobody_gets_through():
    """A 429 while others succeed uses up time and no try; a 429 while nothing succeeds is a failure like others."""
    time = Time()
    paced = pacing(time, retries=2)
    crowded = Work(paced, *[unavailable(429)] * 9)

    async def crowd() -> str:
        somebody_else = Context().run(paced.retrying, Work(paced))
        await asyncio.create_task(somebody_else, context=Context())
        return await crowded()

    async def alone() -> str:
        paced.succeeded(HERE)  # our own redirect or token, which proves nothing for the rest
        return await stuck()

    assert await paced.retrying(crowd) == "done"
    assert crowded.tries == 10
    stuck = Work(paced, *[unavailable(429)] * 9)
    with pytest.raises(Unavailable):
        await paced.retrying(alone)
    assert stuck.tries == 3


async def test_origin_that_only_fails_is_given_up_quickly():
    """After eight requests given up in a row there is one try each and no waiting, until one succeeds."""
    time = Time()
    paced = pacing(time, retries=1)
    for _ in range(HOPELESS):
        assert not paced.down
        with pytest.raises(Unavailable):
            await paced.retrying(Work(paced, *[unavailable()] * 9))
    assert paced.down
    paced.pause(HERE, 100)
    time.slept.clear()

    hopeless = Work(paced, unavailable())
    with pytest.raises(Unavailable):
        await paced.retrying(hopeless)
    assert (hopeless.tries, time.slept) == (1, [])

    assert await paced.retrying(Work(paced)) == "done"
    assert not paced.down
    assert await paced.retrying(Work(paced, unavailable())) == "done"


async def test_one_success_forgives_the_failures_before_it():
    """Only give-ups in a row count: a service that fails now and then is not down."""
    paced = pacing(Time(), retries=0)
    for _ in range(3 * HOPELESS):
        with pytest.raises(Unavailable):
            await paced.retrying(Work(paced, unavailable()))
        await paced.retrying(Work(paced))

    assert not paced.down


async def test_rate_is_kept_from_the_start():
    """The requests leave at even distances: no burst at the start, as a bucket would give."""
    loop = asyncio.get_running_loop()
    paced = Pacing(retries=0, retry_seconds=1, requests_per_second=50, clock=loop.time)
    left: list[float] = []
    began = loop.time()

    async def request(origin: str) -> None:
        await paced.turn(origin, limited=True)
        left.append(loop.time())

    await asyncio.gather(*(request(origin) for origin in [HERE, THERE] * 8))

    # Each against the beginning, not the one before it: where the machine is busy, one may be seen to leave late.
    assert all(at - began >= 0.019 * before for before, at in enumerate(left))


async def test_other_origins_are_not_limited():
    """The rate is for the API; content from elsewhere does not queue for it."""
    paced = pacing(Time(), rate=0.001)

    async with asyncio.timeout(1):
        for _ in range(5):
            await paced.turn(THERE, limited=False)


NOW = datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC)
DATE = "Sun, 22 Nov 2026 11:00:00 GMT"  # an hour behind us


@pytest.mark.parametrize(
    ("value", "date", "seconds"),
    [
        ("17", None, 17),
        (" 1.5 ", None, 1.5),
        ("0", None, 0),
        ("Sun, 22 Nov 2026 12:00:30 GMT", None, 30),
        ("Sun, 22 Nov 2026 11:00:30 GMT", DATE, 30),
        ("Sun, 22 Nov 2026 11:00:30 GMT", "nonsense", None),
        ("Sun, 22 Nov 2026 11:59:00 GMT", None, None),
        ("-5", None, None),
        ("nan", None, None),
        ("soon", None, None),
        ("٣", None, None),
        ("", None, None),
        (None, None, None),
        ("9" * 5000, None, None),
    ],
)
def test_retry_after_is_read_in_all_its_forms(value, date, seconds):
    """Seconds, or a date by the service's own clock; the past, the negative and the garbled say nothing."""
    assert retry_after(value, date, NOW) == seconds


def test_dates_of_headers_are_utc():
    """A date with another offset, or none, is read as the time it means."""
    assert http_date("Sun, 22 Nov 2026 13:00:00 +0100") == NOW
    assert http_date("Sun, 22 Nov 2026 12:00:00 -0000") == NOW
    assert http_date("Sun, 99 Nov 2026 12:00:00 GMT") is None
    assert http_date(DATE) == NOW - timedelta(hours=1)
