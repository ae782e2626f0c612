"""A listing that moves while it is read."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from listing_parts import image, images, page_of, read, scripted, untold

from syncer.model import Image, ImagePage
from syncer.service.listing import Listing, Whole


def test_a_drop_of_the_total_is_made_good_by_stepping_back():
    """A deletion above pulls a row to a page that was read; the drop says how far to go back."""
    rows = images(12)
    asked = []

    def answer(number: int) -> ImagePage:
        asked.append(number)
        page = page_of(rows, number, 5)
        if len(asked) == 1:
            del rows[0]
        return page

    listing, passed = read(answer)
    assert asked == [1, 2, 1, 2, 3]
    assert len(passed) == 12
    assert (listing.verdict, listing.sweeps) == (Whole(), 1)


def test_a_drop_of_several_pages_goes_back_as_many():
    """Twelve deletions at pages of five: three pages back."""
    rows = images(40)
    asked = []

    def answer(number: int) -> ImagePage:
        asked.append(number)
        page = page_of(rows, number, 5)
        if len(asked) == 4:
            del rows[:12]
        return page

    listing, passed = read(answer)
    assert asked == [1, 2, 3, 4, 5, 2, 3, 4, 5, 6]
    assert (len(passed), listing.verdict) == (40, Whole())


def test_a_burst_of_uploads_is_not_taken_for_the_same_page_again():
    """Many new images push whole pages of known ones down; the total says why nothing new is to be seen."""
    rows = images(40)

    def answer(number: int) -> ImagePage:
        page = page_of(rows, number, 5)
        if number == 4:
            rows[:0] = [image(f"new-{new}") for new in range(18)]
        return page

    listing, passed = read(answer)
    assert (len(passed), listing.verdict, listing.sweeps) == (40, Whole(), 1)


def test_what_an_image_from_before_the_run_is_is_told_by_the_services_clock():
    """New images do not keep a listing from settling; one with an old or no readable time does."""
    before, after = "2026-01-01T00:00:00Z", "2026-01-01T00:00:01+00:00"
    for created_at, sweeps in ((after, 2), (before, 5), (None, 5), ("yesterday", 5)):
        first = [image(1, before)]
        contents = [first, [image(2, created_at), *first], [image(3, created_at), *first], first, [image(4, after)]]
        answers = [(untold(page_of(rows, 1, 5)), ImagePage(images=())) for rows in contents]
        listing, _ = read(scripted(*answers))
        assert (listing.verdict, listing.sweeps) == (Whole(), sweeps)


def test_without_totals_an_id_that_vanished_calls_for_another_sweep():
    """What was deleted since the last sweep may have been deleted during it, and have hidden another image."""
    one, two, three = images(3)
    contents = [[one, two, three], [one, three], [one, three]]
    answers = [(untold(page_of(rows, 1, 5)), ImagePage(images=())) for rows in contents]
    listing, _ = read(scripted(*answers))
    assert (listing.verdict, listing.sweeps) == (Whole(), 3)


class Service:
    """A model of the service: newest first, changed by others between any two of our requests."""

    def __init__(self, count: int, seed: int) -> None:
        self.dice = random.Random(seed)
        self.clock = datetime(2026, 1, 1, tzinfo=UTC)
        self.rows: list[Image] = []
        self.created = 0
        for _ in range(count):
            self.create()

    def create(self) -> None:
        """Put a new image on top; several may share a second."""
        self.clock += timedelta(seconds=self.dice.choice([0, 0, 1]))
        self.created += 1
        self.rows.insert(0, image(self.created, self.clock.isoformat()))

    def delete(self) -> None:
        """Take any image away."""
        if self.rows:
            del self.rows[self.dice.randrange(len(self.rows))]

    def change(self) -> None:
        """Change any image where it is."""
        if self.rows:
            row = self.dice.randrange(len(self.rows))
            self.rows[row] = replace(self.rows[row], updated_at=str(self.dice.random()))

    def stir(self, create: float, delete: float) -> None:
        """Let some time pass, with so many creations and deletions on average."""
        chances = [(self.create, create), (self.delete, delete), (self.change, 0.5)]
        deeds = [deed for deed, rate in chances for _ in range(int(rate) + (self.dice.random() < rate % 1))]
        self.dice.shuffle(deeds)
        for deed in deeds:
            deed()


def read_while_moving(seed: int, *, create: float, delete: float, totals: bool) -> tuple[Listing, set[str]]:
    """Read a moving listing; the answer is the listing and the images that it missed though they lived throughout."""
    dice = random.Random(-seed - 1)
    size = dice.choice([2, 3, 5, 8])
    service = Service(dice.randrange(0, 60), seed)
    lived: set[str] | None = None

    def answer(number: int) -> ImagePage:
        nonlocal lived
        alive = {row.id for row in service.rows}
        lived = alive if lived is None else lived & alive
        page = page_of(service.rows, number, size)
        service.stir(create, delete)
        return page if totals else untold(page)

    listing, passed = read(answer, size=size)
    assert lived is not None
    assert set(passed) == {name for name in passed if name in listing.seen}
    return listing, lived - set(passed)


@pytest.mark.parametrize(
    ("create", "delete"), [(0.0, 0.0), (0.02, 0.02), (0.3, 0.0), (0.0, 0.3), (0.3, 0.3), (0.1, 0.6), (1.0, 1.0), (3, 3)]
)
def test_whole_is_never_said_while_an_image_is_missing(create, delete):
    """With totals, whatever is created, deleted and changed at every page: what lived throughout was passed on."""
    whole = 0
    for seed in range(200):
        listing, missing = read_while_moving(seed, create=create, delete=delete, totals=True)
        if isinstance(listing.verdict, Whole):
            assert not missing, f"seed {seed}"
            whole += 1
    assert whole >= 160


@pytest.mark.parametrize(("create", "delete"), [(0.0, 0.0), (0.02, 0.02), (0.3, 0.02), (0.1, 0.1)])
def test_without_totals_whole_is_as_good_under_modest_rates(create, delete):
    """Nothing but the rows to go by: sweeps that show nothing unseen are enough."""
    for seed in range(150):
        listing, missing = read_while_moving(seed, create=create, delete=delete, totals=False)
        assert not (isinstance(listing.verdict, Whole) and missing), f"seed {seed}"


@pytest.mark.parametrize("rate", [0.02, 0.3])
def test_modest_rates_converge_within_few_sweeps(rate):
    """A team at work does not keep a backup from ending: one or two sweeps, and rarely a few more."""
    sweeps = [read_while_moving(seed, create=rate, delete=rate, totals=True)[0].sweeps for seed in range(100)]
    assert sum(sweeps) <= 200
    assert max(sweeps) <= 5
