"""Judge how much an origin takes: how many requests at once, and how many a second.

A `Crowd` is told when each request leaves and what becomes of it, and says when the next one may. It starts with no
rate, and opens its slots one after the other: what is under way at the first refusal is refused as well. A near origin
is as busy with a few, and of a far one the first page takes about as long as the opening. When requests are refused
because they are too many (429, 503), it holds everybody back but for one request that tries, halves the slots, and
learns the rate from what was let through between two refusals: over that stretch an emptied bucket gave out exactly
what it was filled with. From then on it leaves at even distances a little below that rate and creeps up again, slowly
near the last refusal and faster the further away, so that it costs few refusals to stay at a limit and a limit that
was lifted is soon forgotten. Where answers only get slower, it tries fewer slots, as long as that makes nothing
slower. No I/O and no clock: times are seconds that are handed in.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

MARGIN = 0.97  # of the rate that was refused: what we leave at from then on
BURST = 1 / 8  # the same at the least where the first stretch was shorter than LONG: what came through was a burst
LONG = 1.0  # seconds
TRUST = 0.75  # in what was measured, the rest in what was refused
ENOUGH = 25  # let through: a measure to rely on
SPACING = 180  # let through for each one refused, about: so far apart are the refusals that creeping up costs
STEEPNESS = 8  # how much faster than near the last refusal the rate grows far away from it
FASTEST_GROWTH = 1 / 32  # of the rate, for one request
FAST_CREEP = 0.1  # of the rate, for a second: busy origins need not be asked for more at every moment
SLOW_CREEP = 1e-4  # of the rate, for a second: after the worst, the way back must not take hours
MISSED = 0.2  # refusals that are as bad as one request that could not leave because all were held back
MOST_COST = 400  # refusals
FORGOTTEN = 4.0  # times the rate that was refused, and nothing is refused: there is no such limit any more
FORGOTTEN_GUESS = 64.0  # the same where that rate was little more than a guess
RELAPSE = 16.0  # refusals: what it costs at least to find that there is one all the same
FORGET = 1800.0  # seconds without a refusal: the same
LEAST_RATE = 0.1  # requests a second
UNHINDERED = 200  # requests in a row that did not wait for the rate: it slows nobody down
IDLE = 1.0  # seconds without a request: what was let through since the last refusal measures us, not the origin
FIRST = 2  # requests at once, after that time, and
OPENING = 0.015  # seconds until it may be one more
HOLD = (0.01, 1.0)  # seconds that all are held back before one tries, at first and at the longest
GIVE_IN = 2.0  # seconds of nothing but refusals: an outage rather than a crowd, and for the retries to judge
SURELY_GIVE_IN = 90.0  # the same where the origin itself speaks of too many: quotas are often for a minute
FEW = 3  # refusals among the last hundred answers: what one broken image may cause by itself
SAMPLE = 32  # answers whose fastest one tells how long the origin lets us wait
PATIENCE = 0.25  # seconds beyond twice the fastest answer ever, before waiting is taken for a queue
FEWER, SLOWER = 0.8, 0.9  # of the slots, tried against a queue; of the throughput, that shows that there was none
GRANULE = 0.001  # seconds: shorter waits are not worth a timer
LATE = 0.02  # seconds that a timer may come late without slowing us down, and
BUNCH = 4  # how many requests may leave together to make up for it


@dataclass(slots=True, eq=False)
class Departure:
    """One request that has left: when, whether it could not leave at once, and whether there was a rate."""

    at: float
    queued: bool
    paced: bool


class Crowd:
    """All of our requests to one origin; never more than `limit` at once, and at least one."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.slots = float(limit)
        self.rate: float | None = None  # requests a second; None: as many as the slots allow
        self.in_flight = 0
        self._unhindered = 0  # that left at once, in a row
        self._next = 0.0  # when the next one may leave by the rate
        self._last = -math.inf  # when the last one left
        self._opened = -math.inf  # when the first one left after nothing had for a time
        self._held_until: float | None = None  # None: nobody is held back
        self._probe: Departure | None = None
        self._probes = 0  # that were refused in a row
        self._cut = -math.inf  # when the last refusal that told us something came
        self._since: float | None = None  # what is let through is counted from here on
        self._through = 0
        self._answered = 0  # let through since the last cut
        self._refused = 0.0  # of the last hundred answers, roughly
        self._cost = 1.0  # of the last cut, in requests
        self._least_cost = 1.0
        self._ceiling = math.inf  # the rate that was refused, as far as we know it
        self._sounded = False  # whether we know it
        self._grown = 0  # let through since the slots grew
        self._lowest = math.inf  # seconds to the fastest answer ever
        self._sample = 0
        self._sampled = 0.0
        self._fastest = math.inf
        self._before: tuple[float, float] | None = None  # slots, and answers a second, before we tried fewer

    @property
    def slowed(self) -> bool:
        """Whether requests are held back: fewer slots, or a rate that some of the last requests waited for."""
        return self.slots < self.limit or (self.rate is not None and self._unhindered < UNHINDERED)

    @property
    def full(self) -> bool:
        """Whether a request has to end before another one may leave."""
        return self.in_flight + 1 > self.slots

    def wait(self, now: float) -> float:
        """Say in how many seconds a request may leave: 0 for now, infinity for not before something has changed."""
        if self.full:
            return math.inf
        if self._held_until is not None:
            return math.inf if self._probe is not None else max(0.0, self._held_until - now)
        opens = 0.0 if self._sounded else self._opened + (self.in_flight + 1 - FIRST) * OPENING
        seconds = max(opens, self._next if self.rate is not None else 0.0) - now
        return seconds if seconds > GRANULE else 0.0

    def leave(self, now: float, *, queued: bool) -> Departure:
        """Note that a request leaves now; `queued` tells whether it could not leave at once."""
        departure = Departure(now, queued, self.rate is not None)
        self.in_flight += 1
        self._unhindered = 0 if queued else self._unhindered + 1
        if self._held_until is not None:
            self._probe = departure
        if now - self._last > IDLE and self.in_flight == 1 and self._held_until is None:
            self._since, self._sample, self._opened = None, 0, now
        if self.rate is not None:
            # A timer that came late is made up for; a request that came late is not.
            late = min(LATE, BUNCH / self.rate) if queued and self._sounded else 0
            self._next = max(self._next, now - late) + 1 / self.rate
        self._last = now
        return departure

    def over(self, departure: Departure) -> None:
        """Note that a request is over, body and all, or was given up."""
        self.in_flight -= 1
        if self._probe is departure:  # without an answer: another one has to try
            self._probe = None

    def let_through(self, departure: Departure, now: float) -> None:
        """Note that a request was answered, whatever the answer, instead of being refused for the crowd."""
        self._refused *= 0.99
        if self._since is None:
            self._since, self._through = now, 0
        self._through += 1
        self._answered += 1
        if self._held_until is not None and departure.at >= self._cut:
            self._held_until = self._probe = None
            self._probes, self._opened = 0, now + (FIRST - 1) * OPENING  # not all who waited at once
            if self.rate is not None:  # what was missed meanwhile is a cost like refusals
                self._cost = min(MOST_COST, max(self._cost, MISSED * self.rate * (now - self._cut)))
        if self.rate is not None:
            self._creep(self.rate, now, queued=departure.queued)
        self._count(now - departure.at, now)

    def refused(self, departure: Departure, now: float, *, surely: bool, paused: bool) -> None:
        """Note that a request was refused.

        `surely` for there being too many of them; other refusals count when they add up. `paused` says that a pause
        is made before the next one leaves, whose length is the origin's choice.
        """
        self._refused = self._refused * 0.99 + 1
        self._grown = self._unhindered = 0
        if departure is self._probe:
            self._probe = None
            self._probes += 1
            self._cost += 1
            if not surely:
                self.slots = max(1.0, self.slots / 2)
            if now - self._cut > (SURELY_GIVE_IN if surely else GIVE_IN):
                self._held_until = None
            else:
                self._hold(now, paused=paused)
        elif departure.at <= self._cut:  # it left before we knew
            self._cost += departure.paced  # as many as leave without a rate will not be refused again
        elif self._since is not None and self._answered and (surely or self.rate is not None or self._refused > FEW):
            self._slow_down(max(now - self._since, GRANULE), now)
            self._cut, self._cost = now, self._least_cost
            self._probe, self._probes = None, 0
            self._hold(now, paused=paused)

    def _slow_down(self, seconds: float, now: float) -> None:
        """Take the rate down to what was measured over these seconds, as far as that is to be trusted."""
        refused, measured = self.rate, (self._through + 0.5) / seconds
        few = self._through < (2 * ENOUGH if refused is None else ENOUGH)
        if refused is None or self._answered < self.slots:  # no rate yet, or the rate alone does not help
            self.slots = max(1.0, self.slots / 2)
        if refused is None:
            # What is let through at first is a burst rather than the rate; a wrong guess is soon corrected upwards.
            share = min(MARGIN, max(BURST, seconds / LONG)) if few else MARGIN
            self._ceiling, self._sounded, rate = measured, not few, share * measured
        elif few:
            rate = MARGIN * min(0.9 * refused, max(measured, refused / 4))
            if refused < self._ceiling / 2 or not self._sounded:
                self._ceiling, self._sounded = refused, False
        else:
            # The limit lies between the two: while we are below it a bucket runs over, and the measure comes out low.
            between = min(measured, refused) ** TRUST * refused ** (1 - TRUST)
            if self._sounded and measured > refused / 2:
                between = max(between, 0.9 * refused)
            self._ceiling, self._sounded = between, True
            rate = MARGIN * self._ceiling
        if refused is None or not few:
            self._since, self._through = now, 0
        self.rate = max(LEAST_RATE, rate)
        self._answered = 0

    def _hold(self, now: float, *, paused: bool) -> None:
        """Let one request try after a while, twice as long each time; the others wait for what it is told."""
        shortest, longest = HOLD
        shortest, longest = max(shortest, 1 / (self.rate or math.inf)), max(longest, (now - self._cut) / 8)
        self._held_until = now if paused else now + min(longest, shortest * 2 ** min(self._probes, 30))

    def _creep(self, rate: float, now: float, *, queued: bool) -> None:
        """Raise the rate a little for a request that was let through."""
        if now - self._cut > FORGET:
            self.rate, self._since, self._least_cost = None, None, 1.0
        elif rate > self._ceiling * (FORGOTTEN if self._sounded else FORGOTTEN_GUESS):
            self.rate, self._since, self._least_cost = None, None, RELAPSE
        elif not queued:  # it did not wait for the rate, and so shows nothing about a higher one
            pass
        elif not self._sounded:
            self.rate = rate * (
                1 + FASTEST_GROWTH * max(1 / 8, 1 - rate / self._ceiling if rate < self._ceiling else 1)
            )
        else:
            off = max(rate / self._ceiling, self._ceiling / rate)
            refusals = self._cost if rate > self._ceiling else 1  # below, none is expected
            step = min(2 * (1 - MARGIN) / (SPACING * refusals), FAST_CREEP / rate)
            self.rate = rate * (1 + min(FASTEST_GROWTH, max(step, SLOW_CREEP / rate) * off**STEEPNESS))

    def _count(self, seconds: float, now: float) -> None:
        """Take an answer's time into account: the time to its head, so that a big body is no slow answer."""
        self._grown += 1
        if self._grown >= self.slots and self._before is None:
            self._grown = 0
            self.slots = min(self.limit, self.slots + 1)
        if self._sample == 0:
            self._sampled, self._fastest = now, math.inf
        self._sample += 1
        # The fastest of many: pages are slower than pictures, and our own work delays one or another, but a queue
        # at the origin delays them all.
        self._fastest = min(self._fastest, seconds)
        if self._sample == SAMPLE:
            self._sample = 0
            self._judge_waiting((SAMPLE - 1) / max(now - self._sampled, GRANULE))

    def _judge_waiting(self, throughput: float) -> None:
        self._lowest = min(self._lowest, self._fastest)
        if self.rate is not None or self._fastest <= 2 * self._lowest + PATIENCE:
            self._before = None
            return
        if self._before is None:
            self._before = self.slots, throughput
        elif throughput < SLOWER * self._before[1]:  # fewer made it slower: it is no queue, the origin takes so long
            self.slots, _ = self._before
            self._before, self._lowest = None, self._fastest
            return
        self.slots = max(1.0, self.slots * FEWER)
