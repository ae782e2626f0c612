"""Origins that limit, and a client with a `Crowd` that copies from them, in a time that costs nothing."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from syncer.service.crowding import Crowd, Departure

Origin = Callable[[float], float | None]  # the time of a request → None: let through; else its Retry-After, 0 for none


def bucket(rate: float, burst: float) -> Origin:
    """Refuse what is above a rate and a burst, without a word about when to come again."""
    tokens, last = burst, 0.0

    def answer(now: float) -> float | None:
        nonlocal tokens, last
        tokens, last = min(burst, tokens + (now - last) * rate), now
        if tokens < 1:
            return 0.0
        tokens -= 1
        return None

    return answer


def windows(rate: float, width: float, *, telling: bool) -> Origin:
    """Let through so many in each window of time; says when the next one begins, in whole seconds, if `telling`."""
    window, used = -1.0, 0

    def answer(now: float) -> float | None:
        nonlocal window, used
        if now // width != window:
            window, used = now // width, 0
        if used >= rate * width:
            return math.ceil((window + 1) * width - now) if telling else 0.0
        used += 1
        return None

    return answer


@dataclass
class Copy:
    """A copy of many images by a client that repeats what is refused."""

    origin: Origin
    slots: int = 32
    latency: float = 0.001
    own_time: float = 0.0005  # for one request, on our side
    now: float = 0.0
    done: int = 0
    refused: int = 0
    most: int = 0
    crowd: Crowd = field(init=False)

    def __post_init__(self) -> None:
        self.crowd = Crowd(self.slots)
        self.chance = random.Random(7)
        self._flying: list[tuple[float, int, Departure, int, float | None]] = []
        self._later: list[tuple[float, int]] = []
        self._numbers = itertools.count()
        self._pause = 0.0

    def run(self, images: int) -> tuple[float, float]:
        """Copy so many more; returns the seconds and the share of requests that were refused."""
        started, refused, end = self.now, self.refused, self.done + images
        waiting = [0] * images  # how often each was refused
        while self.done < end:
            while self._later and self._later[0][0] <= self.now:
                waiting.append(heapq.heappop(self._later)[1])
            while self._flying and self._flying[0][0] <= self.now:
                self._land()
            assert 1 <= self.crowd.slots <= self.slots
            until = [queue[0][0] for queue in (self._flying, self._later) if queue]
            if waiting:
                seconds = max(self._pause - self.now, 0) or self.crowd.wait(self.now)
                if seconds <= 0:
                    self._leave(waiting.pop(0))
                    continue
                if seconds < math.inf:
                    until.append(self.now + seconds + self.chance.random() * 0.001)  # as timers are
            if until:
                self.now = max(self.now, min(until))
        return self.now - started, (self.refused - refused) / (self.refused - refused + images)

    def _leave(self, tries: int) -> None:
        departure = self.crowd.leave(self.now, queued=True)
        self.most = max(self.most, self.crowd.in_flight)
        takes = self.latency * (1 + 0.1 * self.chance.random())
        told = self.origin(self.now + takes / 2)
        heapq.heappush(self._flying, (self.now + takes, next(self._numbers), departure, tries, told))
        self.now += self.own_time

    def _land(self) -> None:
        _, _, departure, tries, told = heapq.heappop(self._flying)
        if told is None:
            self.crowd.let_through(departure, self.now)
            self.done += 1
        else:
            self.crowd.refused(departure, self.now, surely=True, paused=told > 0)
            self.refused += 1
            self._pause = max(self._pause, self.now + told)
            heapq.heappush(self._later, (self.now + self.chance.random() * min(30, 0.5 * 2**tries), tries + 1))
        self.crowd.over(departure)
