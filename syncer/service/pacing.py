"""Decide when the next request may leave, and how often one is repeated.

`Pacing` knows each origin by its errors and successes. A request waits for its turn (the configured rate, the pause
that the origin asked all of us to make, and what the origin takes by the judgement of `crowding`), failed work is
repeated with growing, random delays within a number of tries and a time, and an origin that only fails is given up
quickly until it answers again. It sends nothing.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from itertools import count
from typing import TypeVar

import structlog
from aiolimiter import AsyncLimiter

from syncer.errors import SyncerError
from syncer.service.crowding import Crowd, Departure

T = TypeVar("T")

BACKOFF_BASE = 0.5  # seconds; the first delay is random below it
BACKOFF_CAP = 30.0
SPREAD = 1.0  # seconds over which those who waited for the same pause wake up
HOPELESS = 8  # so many requests given up in a row, and the origin counts as down
CROWDED = frozenset({429, 503})
TOLD = 60.0  # seconds: an origin that slows us down again within them is not told of again

log = structlog.get_logger()


@dataclass(slots=True)
class _Origin:
    """What we have seen of one origin, and the line of those who wait for their turn."""

    name: str
    crowd: Crowd
    line: asyncio.Lock = field(default_factory=asyncio.Lock)  # the first in line waits for the crowd, the others for it
    moved: asyncio.Event = field(default_factory=asyncio.Event)  # what the crowd says may have changed
    told_at: float = -math.inf
    told_slowed: bool = False
    pause_until: float = 0.0
    successes: int = 0
    alive_at: float = -math.inf  # when an answer last came, or came to its end
    given_up: int = 0  # in a row, without a success in between

    @property
    def down(self) -> bool:
        return self.given_up >= HOPELESS


@dataclass(slots=True)
class _Budget:
    """What one piece of work has and had: its time, waits and repeats included, and its own successes by origin."""

    deadline: float
    successes: Counter[str] = field(default_factory=Counter)


class Turn:
    """A request that may leave; its place is free again at its `end`, or that of the block."""

    __slots__ = ("answered", "clock", "departure", "ended", "origin")

    def __init__(self, origin: _Origin, departure: Departure, clock: Callable[[], float]) -> None:
        self.origin = origin
        self.departure = departure
        self.clock = clock
        self.answered = False
        self.ended = False

    def __enter__(self) -> Turn:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Make room for another one; a second time changes nothing."""
        if not self.ended:
            self.ended = True
            self.origin.crowd.over(self.departure)
            if self.answered:
                self.origin.alive_at = self.clock()
            self.origin.moved.set()


# Known to the work by context, since the turn is awaited deep inside of what is repeated.
_budget: ContextVar[_Budget | None] = ContextVar("budget", default=None)


class Pacing:
    """The patience of one client: a rate, pauses, repeats; `slots` bounds the requests in flight to each origin."""

    def __init__(
        self,
        *,
        retries: int,
        retry_seconds: float,
        requests_per_second: float = 0,
        slots: float = math.inf,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        random: Callable[[], float] = random.random,
    ) -> None:
        self._retries = retries
        self._retry_seconds = retry_seconds
        # One at a time at even distances: a bucket of n would let n leave at once, and n more within the same second.
        self._limiter = AsyncLimiter(1, 1 / requests_per_second) if requests_per_second > 0 else None
        self._slots = slots
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._origins: dict[str, _Origin] = {}

    @property
    def down(self) -> bool:
        """Whether some origin only fails; requests to it get a single try until one succeeds."""
        return any(origin.down for origin in self._origins.values())

    def forget(self) -> None:
        """Try every origin anew, as at the beginning; the pauses that they asked for are kept."""
        for origin in self._origins.values():
            origin.given_up = 0

    def succeeded(self, origin: str) -> None:
        """Note that the origin has answered a request in full."""
        seen = self._origin(origin)
        seen.successes += 1
        seen.given_up = 0
        if budget := _budget.get():
            budget.successes[origin] += 1

    def pause(self, origin: str, seconds: float | None) -> None:
        """Note that the origin asked for a pause; all requests to it make it, and none longer than a retry may last."""
        if seconds is not None:
            seen = self._origin(origin)
            seen.pause_until = max(seen.pause_until, self._clock() + min(seconds, self._retry_seconds))

    async def turn(self, origin: str, *, limited: bool) -> Turn:
        """Wait until a request to the origin may leave; `limited` ones share the configured rate.

        The request has its place among all to this origin until the block of what is returned ends.
        """
        seen, limiter = self._origin(origin), self._limiter if limited else None
        await self._wait_out(seen)
        if limiter is None and not seen.line.locked() and self._wait_for(seen) == 0:
            return Turn(seen, seen.crowd.leave(self._clock(), queued=False), self._clock)
        queued = self._clock()
        async with seen.line:
            hindered = limiter is None or self._wait_for(seen) > 0
            await self._lead(seen)
            if limiter is not None:  # last of all: who has passed it and waits again would leave in a bunch
                await limiter.acquire()
                await self._lead(seen)
            self._excuse(seen, queued, self._clock() if limiter is not None else seen.alive_at)
            return Turn(seen, seen.crowd.leave(self._clock(), queued=hindered), self._clock)

    def answered(self, turn: Turn, status: int, retry_after: float | None) -> None:
        """Note what the head of an answer says: come later (and in how many seconds), or anything else."""
        seen, now = turn.origin, self._clock()
        turn.answered, seen.alive_at = True, now
        if status in CROWDED:
            seen.crowd.refused(turn.departure, now, surely=status == 429, paused=bool(retry_after))
            self.pause(seen.name, retry_after)
            if seen.crowd.slowed and now - seen.told_at > TOLD:
                seen.told_at, seen.told_slowed = now, True
                rate = seen.crowd.rate and round(seen.crowd.rate, 1)
                log.info("pacing.slowed", origin=seen.name, slots=seen.crowd.slots, rate=rate)
        else:
            seen.crowd.let_through(turn.departure, now)
            if seen.told_slowed and not seen.crowd.slowed:
                seen.told_slowed = False
                log.info("pacing.recovered", origin=seen.name)
        seen.moved.set()

    async def retrying(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Carry out the attempt until it succeeds, cannot succeed, or has used up its tries or its time.

        Repeats on errors that are `retryable`, whoever raised them. Inside another `retrying` it is a single try,
        for the outer one repeats the whole.
        """
        if _budget.get() is not None:
            return await attempt()
        budget = _Budget(self._clock() + self._retry_seconds)
        outside = _budget.set(budget)
        try:
            return await self._repeat(attempt, budget)
        finally:
            _budget.reset(outside)

    async def _repeat(self, attempt: Callable[[], Awaitable[T]], budget: _Budget) -> T:
        used = 0
        for tried in count():
            before = self._successes_of_others(budget)
            try:
                return await attempt()
            except SyncerError as error:
                if not error.retryable:
                    raise
                failure = error
            name = str(failure.facts.get("origin"))
            origin = self._origins.get(name)
            # Where others get through, a 429 says that we are too many, not that this request is in vain.
            others_got_through = self._successes_of_others(budget).get(name, 0) > before.get(name, 0)
            crowded = failure.facts.get("status") == 429 and others_got_through
            used += not crowded
            remaining = budget.deadline - self._clock()
            hopeless = failure.facts.get("cause") == "tls" or (origin is not None and origin.down)
            if hopeless or used > self._retries or remaining <= 0:
                if origin is not None:
                    origin.given_up += 1
                raise failure
            delay = self._random() * min(BACKOFF_CAP, BACKOFF_BASE * 2 ** min(tried, 10))
            log.debug("request.retried", error=str(failure), tried=tried + 1)
            await self._sleep(min(delay, remaining))
        raise AssertionError("unreachable")

    def _successes_of_others(self, budget: _Budget) -> dict[str, int]:
        return {name: seen.successes - budget.successes[name] for name, seen in self._origins.items()}

    async def _lead(self, origin: _Origin) -> None:
        """Wait at the head of the line."""
        await self._wait_out(origin, spread=0)
        while (seconds := self._wait_for(origin)) > 0:
            if seconds == math.inf:
                origin.moved.clear()
                await origin.moved.wait()
            else:
                await self._sleep(seconds)
            await self._wait_out(origin, spread=0)

    def _wait_for(self, origin: _Origin) -> float:
        if origin.down:  # a single try each, and it fails at once if it can
            return math.inf if origin.crowd.full else 0.0
        return origin.crowd.wait(self._clock())

    def _excuse(self, origin: _Origin, queued: float, until: float) -> None:
        """A queue of our own making is not the service's fault, as long as it moves; a pause that it asked for is."""
        if budget := _budget.get():
            budget.deadline += max(0.0, until - max(queued, min(until, origin.pause_until)))

    async def _wait_out(self, origin: _Origin, spread: float = SPREAD) -> None:
        waited_for = 0.0
        while not origin.down and origin.pause_until > waited_for:  # asked for longer while we slept: sleep again
            waited_for = origin.pause_until
            seconds = waited_for - self._clock()
            if seconds > 0:
                seconds += self._random() * min(spread, seconds)
                if budget := _budget.get():
                    seconds = min(seconds, budget.deadline - self._clock())
                if seconds > 0:
                    await self._sleep(seconds)

    def _origin(self, origin: str) -> _Origin:
        seen = self._origins.get(origin)
        if seen is None:
            seen = self._origins[origin] = _Origin(origin, Crowd(self._slots))
        return seen


def retry_after(value: str | None, date: str | None, now: datetime) -> float | None:
    """Read `Retry-After` as seconds: a number, or a date relative to the answer's own `Date`, else to our clock.

    What is in the past, negative or not readable says nothing.
    """
    text = (value or "").strip()
    if re.fullmatch(r"[0-9]{1,300}(\.[0-9]{1,20})?", text):
        return float(text)
    until = http_date(text)
    if until is None:
        return None
    seconds = (until - (http_date(date) or now)).total_seconds()
    return seconds if seconds >= 0 else None


@lru_cache(maxsize=64)  # many answers come within the same second
def http_date(text: str | None) -> datetime | None:
    """Read a date of an HTTP header; None for what is not one."""
    try:
        read = parsedate_to_datetime(text or "")
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
