"""What keeps the daemon from doing its work, since when, and how long to wait before it tries again. No I/O.

A trouble has a key, for the work that it keeps from being done and for what that is about (a workspace, a part), and
lasts until that is done well. The daemon is degraded while there is any; whoever is told, is told of every kind once,
when the one told last is over, and once a day.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from syncer.daemon.schedule import Work
from syncer.daemon.snapshot import Cause

Key = tuple[Work | None, str]  # None for what is no work: the configuration

FIRST_PAUSE = 2.0  # seconds
LONGEST_PAUSE = 900.0
REMINDER = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Trouble:
    """Work that was not done well, why, and since when."""

    key: Key
    cause: Cause
    text: str
    hint: str
    since: datetime


@dataclass(frozen=True, slots=True)
class Changed:
    """What was told last, and what is to be told now; None for that all is well."""

    before: Trouble | None
    after: Trouble | None
    at: datetime


class Troubles:
    """All that is not well, by key."""

    def __init__(self, told: Trouble | None = None) -> None:
        """Begin with what an earlier life `told` last: it lasts until its work is done well."""
        self._lasting: dict[Key, Trouble] = {} if told is None else {told.key: told}
        self._told = told
        self._reminded: datetime | None = None if told is None else told.since

    def __contains__(self, key: Key) -> bool:
        return key in self._lasting

    @property
    def told(self) -> Trouble | None:
        """What was told last; None for that all is well."""
        return self._told

    @property
    def keys(self) -> frozenset[Key]:
        """What is not well."""
        return frozenset(self._lasting)

    @property
    def causes(self) -> frozenset[Cause]:
        """Every cause there is."""
        return frozenset(trouble.cause for trouble in self._lasting.values())

    @property
    def worst(self) -> Trouble | None:
        """The one to name first: of the gravest kind, the longest-lasting."""
        return min(self._lasting.values(), key=lambda one: (one.cause.passing, one.since), default=None)

    def arise(self, key: Key, cause: Cause, text: str, hint: str, now: datetime) -> Changed | None:
        """Note what is wrong with `key`; returns what is to be told, if nothing is wrong for the same cause already."""
        before = self.causes
        lasting = self._lasting.get(key)
        since = lasting.since if lasting is not None and lasting.cause is cause else now
        self._lasting[key] = Trouble(key, cause, text, hint, since)
        return self._change(before, now)

    def heal(self, keys: Iterable[Key], now: datetime) -> Changed | None:
        """Note that the work of these keys was done well, or is not to be done any more."""
        before = self.causes
        for key in keys:
            self._lasting.pop(key, None)
        return self._change(before, now)

    def heal_older(self, work: Work, proven: datetime, now: datetime) -> Changed | None:
        """Note that all work of a kind was done well at a time, whatever was wrong with it before."""
        return self.heal([t.key for t in self._lasting.values() if t.key[0] is work and t.since < proven], now)

    def reminder(self, now: datetime) -> Trouble | None:
        """Return what still lasts, once a day."""
        worst = self.worst
        if self._reminded is not None and now < self._reminded:  # the clock was wrong
            self._reminded = now
        if worst is None or self._reminded is None or now - self._reminded < REMINDER:
            return None
        self._reminded = now
        return worst

    def _change(self, before: frozenset[Cause], now: datetime) -> Changed | None:
        new = [trouble for trouble in self._lasting.values() if trouble.cause not in before]
        if not new and (self._told is None or self._told.cause in self.causes):
            return None
        change = Changed(self._told, new[0] if new else self.worst, now)
        self._told, self._reminded = change.after, now
        return change


def pause(failures: int, chance: float) -> float:
    """Return the seconds to wait after so many failures in a row: doubling, and spread by `chance` (0 to 1).

    The spread keeps many daemons from storming a service that comes back.
    """
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 20)) * (0.75 + chance / 2)
