"""Turn shifting offset pages into each image once, and judge whether the whole can be trusted.

Pages move while we read them: an upload repeats a row, a deletion skips one. `Listing` says which page to ask
for next, passes every id on the first time, and ends with a verdict. It does no I/O and decides nothing about
what is gone. Pages are to be asked one after another: the proof below needs each answer newer than the last.

When a listing counts as whole. It is newest first, so new images only come on top, and only deletions can move
rows out of our sight. Deletions that outweigh the creations show as a drop of the total from one page to the
next; a drop of x takes back x rows of what we have covered, and reading goes on from there.

- One sweep is proof if the totals it saw are borne out by the rows of every page, every drop was made good,
  and the ids add up to the totals.
- Where totals are missing or not borne out, sweeps are repeated until one shows no unseen image from before the
  run and every id that the sweep before it showed: then none of those was deleted while that one was read, and
  nothing can have been skipped. Where images are deleted all the time, two sweeps in a row without an unseen
  image from before the run are enough: overwhelming likelihood rather than proof, since an image would have to
  be skipped in three sweeps. "Before" is told by the service's own clock, and an image without a readable time
  counts as from before.
- A sweep with a hole (an empty page where rows were promised) or without an end of its own proves nothing, and
  an empty listing is believed only when it is empty twice.

What a page says about its own number is not used: if the service answers with another page, its rows tell.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from secrets import token_hex

from syncer.model import Image, ImagePage, Unreadable, moment

_QUIET_SWEEPS = 2  # so many in a row without an unseen image from before the run
_IDLE_PAGES = 3  # so many new pages in a row without anything new: the service repeats itself
_HALF = 2**32 - 1
_MOST_PAGES = 20_000  # requests of one sweep, whatever the service says: four million images


@dataclass(frozen=True, slots=True)
class Whole:
    """Every image that existed throughout the run has been passed on."""


@dataclass(frozen=True, slots=True)
class Unproven:
    """Images may be missing; `reason` says why in plain words."""

    reason: str


Verdict = Whole | Unproven


class Ids:
    """Remember ids, and the sweep that last showed each, in some twenty bytes an id.

    A set of a million ids takes over 100 MB, so 96 bits of two hashes stand for an id. Were two ids to share them all,
    one would be hidden: with a million ids that happens once in 10^17 listings, which is beyond what disk and memory
    promise for the ids themselves. The salts are new with every listing, so that it would not happen again in the next
    one, even where the process is the same or was told its hash seed.
    """

    def __init__(self) -> None:
        self._slots = array("I", [0]) * 1024  # an open-addressing table: the number of an id, 0 where a slot is free
        self._first, self._second = array("q", [0]), array("I", [0])  # by number
        self._sweeps = array("B", [0])
        self._salt, self._other_salt = token_hex(8), token_hex(8)

    def __len__(self) -> int:
        return len(self._first) - 1

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.among([name]))

    def among(self, names: Sequence[str]) -> list[str]:
        """Return those of these ids that have been shown."""
        slots, first, second, salt = self._slots, self._first, self._second, self._other_salt
        last = len(slots) - 1  # the length is a power of two
        shown: list[str] = []
        for name, hashed in zip(names, map(hash, map(self._salt.__add__, names)), strict=True):
            slot = hashed & last
            while number := slots[slot]:
                if first[number] == hashed and second[number] == hash(salt + name) & _HALF:
                    shown.append(name)
                    break
                slot = slot + 1 & last
        return shown

    def mark(self, names: Sequence[str], sweep: int) -> list[int]:
        """Note that this sweep shows these ids; the answers are the sweeps that last did, 0 if none has yet."""
        while 3 * (len(self._first) + len(names)) > 2 * len(self._slots):
            self._grow()
        slots, first, second, sweeps, salt = self._slots, self._first, self._second, self._sweeps, self._other_salt
        last = len(slots) - 1
        before: list[int] = []
        for name, hashed in zip(names, map(hash, map(self._salt.__add__, names)), strict=True):
            other, slot = hash(salt + name) & _HALF, hashed & last
            while (number := slots[slot]) and not (first[number] == hashed and second[number] == other):
                slot = slot + 1 & last
            if number:
                before.append(sweeps[number])
                sweeps[number] = sweep
            else:
                slots[slot] = len(first)
                first.append(hashed)
                second.append(other)
                sweeps.append(sweep)
                before.append(0)
        return before

    def _grow(self) -> None:
        count = 2 * len(self._slots)
        self._slots = slots = array("I", [0])  # the old ones are let go of first
        slots *= count
        last = count - 1
        for number, hashed in enumerate(islice(self._first, 1, None), 1):
            slot = hashed & last
            while slots[slot]:
                slot = slot + 1 & last
            slots[slot] = number


class Listing:
    """The listing of one workspace in one run: ask for page `next`, `take` the answer, until `next` is None."""

    def __init__(self, *, size: int = 200, max_sweeps: int = 8) -> None:
        self.next: int | None = 1
        self.verdict: Verdict = Unproven("the listing was not read to its end")
        self.seen = Ids()
        self.sweeps = 0  # that have ended
        self.pages = 0
        self.total: int | None = None
        self._size = size
        self._max_sweeps = max_sweeps
        self._unreadable: dict[str, Unreadable] = {}
        self._newest: datetime | None = None  # what existed before the run was created no later than this
        self._unseen_before = False  # whether this sweep showed an unseen image from before the run
        self._quiet = 0  # sweeps in a row that did not
        self._returned = 0  # ids of the last sweep that this one shows again
        self._awaited: int | None = None  # how many there were, if the last sweep came to its end
        self._sweep = _Sweep(size)

    @property
    def unreadable(self) -> tuple[Unreadable, ...]:
        """The rows that could not be read, each once. Their names count as seen."""
        return tuple(self._unreadable.values())

    def take(self, page: ImagePage) -> tuple[Image, ...]:
        """Fold in the answer to `next`, and pass on the images that this run has not passed on before."""
        if self.next is None:
            raise ValueError("the listing has ended")
        self.pages += 1
        if page.total is not None:
            self.total = page.total
        number = self.sweeps + 1
        before = self.seen.mark([image.id for image in page.images], number)
        fresh = len(before) - before.count(number)  # rows that this sweep had not shown
        self._returned += before.count(number - 1)
        unseen = [
            image
            for image, shown in zip(page.images, before, strict=True)
            if self._unreadable.pop(image.id, None) or not shown
        ]
        for row in page.unreadable:
            (shown,) = self.seen.mark([row.name], number)
            fresh += shown != number
            self._returned += shown == number - 1
            if not shown:
                self._unreadable[row.name] = row
                self._unseen_before = True
        self._look_at_times(unseen)
        self._sweep.take(page, fresh)
        self.next = self._sweep.next
        if self.next is None:
            self._judge(self._sweep)
        return tuple(unseen)

    def _look_at_times(self, unseen: Iterable[Image]) -> None:
        # "Before the run" reaches to the newest image of the first sweep. The first page would do if it were
        # sure that the newest come first; an image too many on this side costs a sweep, one too few an image.
        for image in unseen:
            created = moment(image.created_at)
            if self.sweeps == 0:
                if created and (self._newest is None or created > self._newest):
                    self._newest = created
            elif created is None or self._newest is None or created <= self._newest:
                self._unseen_before = True

    def _judge(self, sweep: _Sweep) -> None:
        self.sweeps += 1
        if sweep.trouble or self.sweeps == 1 or self._unseen_before:  # whatever the first sweep shows is unseen
            self._quiet = 0
        else:
            self._quiet += 1
        still = self._quiet > 0 and self._returned == self._awaited
        if sweep.proof or still or self._quiet >= _QUIET_SWEEPS:
            self.verdict = Whole()
        elif sweep.hopeless or self.sweeps >= self._max_sweeps:
            self.verdict = Unproven(sweep.trouble or f"images kept moving during all of {self.sweeps} readings")
        else:
            self._awaited = None if sweep.trouble else sweep.ids
            self._returned, self._unseen_before = 0, False
            self._sweep = _Sweep(self._size)
            self.next = self._sweep.next


class _Sweep:
    """One reading of all pages: which page comes next, when it ends, and whether it is proof by itself.

    `_covered` counts the rows on top of the listing, as it is now, of which we know that each has been read or is
    newer than the sweep. All of the arithmetic is in rows as the service counts them, before any filter.
    """

    def __init__(self, size: int) -> None:
        self.next: int | None = 1
        self.trouble = ""  # why this sweep cannot count for anything
        self.hopeless = False  # and another would end the same way
        self._size = size
        self.ids = 0  # distinct ones that this sweep showed
        self._covered = 0
        self._highest = 0
        self._idle = 0
        self._asked = 0
        self._rereads = 0
        self._first_total: int | None = None
        self._last_total = 0
        self._total: int | None = None  # as the newest page says, None once a page has refuted it
        self._refuted = False
        self._dropped = 0
        self._risen = 0
        self._exact = True  # every page bore out its total, and every drop was made good

    @property
    def proof(self) -> bool:
        """Whether this sweep alone shows that nothing was missed."""
        if self._first_total is None or not self._total:  # "nothing there" is never believed at once
            return False
        low, high = self._first_total - self._dropped, self._first_total + self._risen
        return self._exact and not self.trouble and low <= self.ids <= high

    def take(self, page: ImagePage, fresh: int) -> None:
        """Fold in the page `next`, of which `fresh` rows were new to this sweep."""
        number = self.next or 1
        frontier = number > self._highest
        if not self._highest:
            self._size = max(page.size or self._size, page.rows)
        self._highest = max(self._highest, number)
        self._asked += 1
        self._rereads += not frontier
        self.ids += fresh

        start = (number - 1) * self._size
        self._follow(page.total, start + page.rows if fresh else 0)
        if page.rows != min(self._size, max(0, (self._total or 0) - start)):
            self._exact = False
        if start > self._covered:
            # As often as honest drops may ask for, and no oftener for a total that promises more than it shows.
            if self._rereads < min(self._expected(), self._highest) + 10:
                self.next = self._within_bound(self._covered // self._size + 1)
                return
            self._exact = False
        self._covered = max(self._covered, number * self._size)
        if frontier:
            self._idle = 0 if fresh else self._idle + 1
        self.next = None if self._ends(page, number, repeated=frontier and not fresh) else self._go_on(number)

    def _follow(self, total: int | None, shown: int) -> None:
        """Take in what the page says of the total, if the `shown` rows up to its end do not refute it."""
        if total is None or shown > total:
            self._exact = False
            self._refuted = self._refuted or total is not None
        if total is None or self._refuted:
            self._total = None
            return
        if self._first_total is None:
            self._first_total = self._last_total = total
        change = total - self._last_total
        self._dropped += max(0, -change)
        self._risen += max(0, change)
        self._covered = max(0, self._covered + min(0, change))
        self._total = self._last_total = total

    def _ends(self, page: ImagePage, number: int, *, repeated: bool) -> bool:
        """Whether the sweep has come to its natural end with this page; also notes a hole."""
        start, pages, total = (number - 1) * self._size, page.pages or 0, self._total
        enough = total is not None and self.ids >= total
        if not page.rows:
            hole = not enough and (number < pages or start < (total or 0))
            if hole:
                self.trouble = f"page {number} was empty although more was promised"
            return not hole
        if total is None or number < pages:
            return False  # only an empty page will end it
        # A full page never ends a sweep, lest totals that are too low cut us off, unless it lies beyond the end
        # and shows nothing new: some services repeat their last page there. Nor does a short page before we have
        # read as much as was promised: the pages may all be shorter than the service says.
        last = page.rows < self._size and start + page.rows >= total and (enough or self._exact)
        return last or (repeated and enough and start >= total)

    def _go_on(self, number: int) -> int | None:
        """The page after this one, unless the sweep has to be broken off."""
        if self._idle >= _IDLE_PAGES + self._risen // self._size:  # new images push whole pages of known ones down
            self.trouble = self.trouble or "the service shows the same page again and again"
            return None
        if self._total is not None and number >= self._expected() + max(5, self._expected() // 4):
            self.trouble = self.trouble or f"the listing had no end after {number} pages"
            return None
        return self._within_bound(number + 1)

    def _within_bound(self, number: int) -> int | None:
        """That page, unless this sweep has asked for as many as any may."""
        if self._asked < _MOST_PAGES:
            return number
        self.hopeless = True
        self.trouble = self.trouble or f"the listing had no end after {self._asked} pages"
        return None

    def _expected(self) -> int:
        """How many pages the first total makes."""
        return -(-(self._first_total or 0) // self._size)
