"""Shifting pages become each image once, and "whole" is said only when it is so."""

from __future__ import annotations

import random
import tracemalloc
from dataclasses import replace
from itertools import count

import pytest
from listing_parts import image, images, page_of, read, scripted, untold

from syncer.model import ImagePage, Unreadable
from syncer.service import listing as listing_room
from syncer.service.listing import Ids, Listing, Unproven, Whole

# --- a listing that stands still ----------------------------------------------------------------------


@pytest.mark.parametrize(("count", "pages"), [(1, 1), (4, 1), (5, 2), (12, 3), (15, 4)])
def test_a_still_listing_is_whole_after_one_sweep(count, pages):
    """Totals that agree with the rows are proof; only a full last page costs a request more."""
    rows = images(count)
    listing, passed = read(lambda number: page_of(rows, number, 5))
    assert passed == [one.id for one in rows]
    assert listing.verdict == Whole()
    assert (listing.sweeps, listing.pages, listing.total) == (1, pages, count)


def test_without_totals_the_same_rows_twice_are_whole():
    """A service that says no totals is read until a sweep shows again all that the one before it showed."""
    rows = images(12)
    listing, passed = read(lambda number: untold(page_of(rows, number, 5)))
    assert len(passed) == 12
    assert (listing.verdict, listing.sweeps, listing.pages) == (Whole(), 2, 8)


@pytest.mark.parametrize("total", [0, None])
def test_an_empty_listing_is_believed_when_it_is_empty_twice(total):
    """One empty answer may be an accident of the service."""
    listing, passed = read(lambda number: ImagePage(images=(), total=total, pages=total, size=5))
    assert (listing.verdict, listing.sweeps, listing.pages, passed) == (Whole(), 2, 2, [])


def test_an_empty_first_answer_that_was_an_accident_is_corrected():
    """If the second ask shows images, they are what counts."""
    rows = images(7)
    answers = [ImagePage(images=(), total=0, size=5), page_of(rows, 1, 5), page_of(rows, 2, 5)]
    listing, passed = read(scripted(answers))
    assert (listing.verdict, len(passed)) == (Whole(), 7)


def test_the_service_may_give_smaller_or_larger_pages_than_asked():
    """What the service says or shows as its page size is the page size."""
    rows = images(23)
    for size in (3, 50):
        listing, passed = read(lambda number, size=size: page_of(rows, number, size), size=5)
        assert (len(passed), listing.verdict, listing.sweeps) == (23, Whole(), 1)


def test_smaller_pages_than_the_service_says_do_not_end_the_listing():
    """Short pages are not the last page as long as totals promise more."""
    rows = images(23)
    listing, passed = read(lambda number: replace(page_of(rows, number, 3), size=5, pages=5))
    assert (len(passed), listing.verdict) == (23, Whole())


def test_a_listing_that_was_not_read_to_its_end_proves_nothing():
    """A quick pass stops early, and must not look like a whole."""
    listing = Listing(size=5)
    listing.take(page_of(images(12), 1, 5))
    assert isinstance(listing.verdict, Unproven)
    assert listing.next == 2


def test_a_page_after_the_end_is_a_mistake_of_the_caller():
    """There is nothing to take once the verdict stands."""
    listing, _ = read(lambda number: page_of(images(2), number, 5))
    with pytest.raises(ValueError, match="ended"):
        listing.take(page_of(images(2), 1, 5))


# --- rows that cannot be read -------------------------------------------------------------------------


def test_unreadable_rows_are_named_once_and_count_as_rows():
    """They are known by name, counted by the stop rules, and no image is lost for them."""
    bad = Unreadable("?0123", "not JSON")
    pages = [
        ImagePage(images=tuple(images(4)), unreadable=(bad,), rows=5, total=7, pages=2, size=5),
        ImagePage(images=(image("x"),), unreadable=(bad,), rows=2, total=7, pages=2, size=5),
    ]
    listing, passed = read(scripted(pages, pages))
    assert listing.unreadable == (bad,)
    assert bad.name in listing.seen
    assert (len(passed), listing.verdict, listing.sweeps) == (5, Whole(), 2)  # one row twice: the totals do not add up


def test_a_row_that_becomes_readable_is_passed_on_after_all():
    """What a later page makes readable is an image like any other, and no longer unreadable."""
    first = ImagePage(images=(image(2),), unreadable=(Unreadable("1", "?"),), rows=2)
    rows = untold(page_of(images(2), 1, 5))
    empty = ImagePage(images=())
    listing, passed = read(scripted([first, empty], [rows, empty], [rows, empty], [rows, empty]))
    assert (passed, listing.unreadable) == (["2", "1"], ())
    assert listing.verdict == Whole()


def test_an_unreadable_row_that_turns_up_late_calls_for_another_sweep():
    """It may be an image from before the run, so the sweep that shows it first proves nothing."""
    first = untold(page_of(images(2), 1, 5))
    more = replace(first, unreadable=(Unreadable("?0", "not JSON"),), rows=3)
    empty = ImagePage(images=())
    listing, _ = read(scripted([first, empty], [more, empty], [more, empty]))
    assert (listing.verdict, listing.sweeps) == (Whole(), 3)


# --- totals that lie ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "claims",
    [
        {"total": 0, "pages": 0},
        {"total": 3, "pages": 1},
        {"total": 10, "pages": 2},
        {"total": None, "pages": 1},
        {"total": 23, "pages": 1},
        {"total": 24, "pages": 5},
        {"total": None, "pages": None, "size": None},
        {"total": 0, "pages": None, "size": None},
        {"number": 1},
        {"size": 0},
        {"size": 500},
        {"pages": 9},
    ],
)
def test_claims_that_do_not_agree_with_the_rows_do_not_cut_us_off(claims):
    """Totals that are too low, missing or absurd cost further requests, not images."""
    rows = images(23)
    listing, passed = read(lambda number: replace(page_of(rows, number, 5), **claims))
    assert (len(passed), listing.verdict) == (23, Whole())
    assert listing.sweeps <= 2


@pytest.mark.parametrize("count", [120, 400])
def test_totals_that_are_far_too_low_are_not_a_bound(count):
    """The bound against endless growth does not fall below what the rows have refuted."""
    rows = images(count)
    listing, passed = read(lambda number: replace(page_of(rows, number, 5), total=5, pages=1))
    assert (len(passed), listing.verdict) == (count, Whole())


def test_more_pages_than_the_total_promises_are_read():
    """Where the claims contradict each other, the one that promises more is followed."""
    rows = images(10)
    cuts = {1: rows[:5], 2: rows[5:8], 3: rows[8:]}

    def answer(number: int) -> ImagePage:
        shown = tuple(cuts.get(number, ()))
        return ImagePage(images=shown, rows=len(shown), total=8, pages=3, size=5)

    listing, passed = read(answer)
    assert (len(passed), listing.verdict) == (10, Whole())


def test_a_total_that_drops_at_the_same_page_for_ever_does_not_keep_us():
    """Going back has a bound; beyond it the sweep reads on, and is no proof by itself."""
    rows = images(23)
    listing, passed = read(
        lambda number: replace(page_of(rows, number, 5), total=23 if number < 3 else 18), patience=99
    )
    assert (len(passed), listing.verdict, listing.sweeps) == (23, Whole(), 2)


def test_rows_that_come_twice_make_the_totals_disagree_but_converge():
    """A service that counts an image twice is believed when it shows the same again."""
    rows = [*images(12), image(3)]
    listing, passed = read(lambda number: page_of(rows, number, 5))
    assert (len(passed), listing.verdict, listing.sweeps) == (12, Whole(), 2)


def test_a_last_page_that_is_repeated_beyond_the_end_is_an_end():
    """Some services answer a page beyond the last with the last one."""
    rows = images(15)
    listing, passed = read(lambda number: page_of(rows, min(number, 3), 5))
    assert (len(passed), listing.verdict, listing.pages) == (15, Whole(), 8)


# --- shapes that never prove anything, and end ---------------------------------------------------------


def test_an_empty_page_where_rows_were_promised_is_read_past_but_proves_nothing():
    """A hole in the listing is a loss of the service's, and never "complete"."""
    rows = images(23)
    hole = ImagePage(images=(), total=23, pages=5, size=5)
    listing, passed = read(lambda number: hole if number == 3 else page_of(rows, number, 5))
    assert len(passed) == 18
    assert listing.verdict == Unproven("page 3 was empty although more was promised")


def test_a_sweep_with_a_hole_is_no_measure_for_the_next():
    """That everything is shown again says nothing if the sweep before had a hole."""
    rows = images(7)
    holed = [replace(page_of(rows, 1, 5), total=17), ImagePage(images=(), total=17), page_of(rows, 2, 5)]
    whole = [untold(page_of(rows, number, 5)) for number in (1, 2, 3)]
    listing, _ = read(scripted([*holed, ImagePage(images=(), total=7)], whole, whole))
    assert (listing.verdict, listing.sweeps) == (Whole(), 3)


@pytest.mark.parametrize("total", [1, 23, 10**9])
def test_no_rows_at_all_under_a_total_are_not_an_empty_listing(total):
    """An empty answer never looks like "everything was deleted", however often it is given."""
    listing, _ = read(lambda number: ImagePage(images=(), total=total, size=5))
    assert isinstance(listing.verdict, Unproven)


def test_a_listing_that_suddenly_claims_to_be_empty_is_not_believed_at_once():
    """An outage that answers "nothing there" midway is no proof, and what comes after it counts."""
    rows = images(23)
    nothing = ImagePage(images=(), total=0, pages=0, size=5)
    start = [page_of(rows, number, 5) for number in (1, 2)]
    again = [page_of(rows, number, 5) for number in range(1, 6)]
    listing, passed = read(scripted(start, [nothing, nothing], again))
    assert (len(passed), listing.verdict) == (23, Whole())


@pytest.mark.parametrize("claims", [{}, {"total": 100, "pages": 20}, {"total": 10, "pages": 2}, {"total": 0}])
@pytest.mark.parametrize("count", [3, 5])
def test_the_same_page_for_ever_is_noticed(claims, count):
    """A service that ignores the page number shows a part, and we do not take the part for the whole."""
    rows = tuple(images(count))
    page = ImagePage(images=rows, rows=count, **claims)
    listing, passed = read(lambda number: page, patience=50)
    assert (len(passed), listing.verdict) == (count, Unproven("the service shows the same page again and again"))


def test_a_listing_that_grows_for_ever_ends():
    """Every page shows new images and a larger total; we leave off at a bound."""

    def answer(number: int) -> ImagePage:
        rows = tuple(image(f"{number}-{row}-{random.random()}") for row in range(5))
        return ImagePage(images=rows, rows=5, total=100 + 5 * number, pages=20 + number, size=5)

    listing, _ = read(answer, patience=500)
    assert isinstance(listing.verdict, Unproven)
    assert listing.sweeps == 8


def test_rows_without_totals_and_without_end_are_left_at_a_bound():
    """There is a number of pages beyond which a listing that does not say how long it is is not read."""
    listing, _ = read(lambda number: ImagePage(images=(image(number),), rows=1), size=1)
    assert listing.verdict == Unproven("the listing had no end after 20000 pages")
    assert listing.pages == 20_000


@pytest.mark.parametrize("step", [0, 1, -1, 5, -5])
def test_no_total_of_the_service_lifts_the_bound(step, monkeypatch):
    """Fresh rows under a total that is absurd, standing, growing or shrinking: one sweep, and a plain reason."""
    monkeypatch.setattr(listing_room, "_MOST_PAGES", 300)
    totals = count(10**15, step)

    def answer(number: int) -> ImagePage:
        rows = tuple(image(f"{number}-{row}") for row in range(2))
        return ImagePage(images=rows, rows=2, total=next(totals), pages=10**13, size=2)

    listing, passed = read(answer, size=2, patience=301)
    assert listing.verdict == Unproven("the listing had no end after 300 pages")
    assert (listing.sweeps, listing.pages) == (1, 300)
    assert len(passed) >= 280  # nearly half of the pages, although each of them calls us back


def test_a_total_that_shrinks_at_every_page_does_not_keep_us_at_the_start():
    """How often we go back follows from how far we have come, not from what is promised."""
    asked = []
    totals = count(10**15, -1)
    listing = Listing(size=2)
    while listing.next is not None and listing.next <= 20 and len(asked) < 100:
        asked.append(listing.next)
        rows = tuple(image(f"{listing.next}-{row}") for row in range(2))
        listing.take(ImagePage(images=rows, rows=2, total=next(totals), size=2))
    assert listing.next == 21
    assert len(asked) <= 2 * 20 + 10


def test_known_rows_under_an_absurd_total_that_shrinks_end():
    """Going back and forth between the same few pages ends as the repetition that it is."""
    totals = count(10**15, -1)
    rows = tuple(images(2))
    listing, _ = read(lambda number: ImagePage(images=rows, rows=2, total=next(totals), size=2), size=2, patience=300)
    assert listing.verdict == Unproven("the service shows the same page again and again")


@pytest.mark.parametrize("seed", range(200))
def test_whatever_is_answered_the_listing_ends(seed):
    """Random rows under random claims never keep us for ever, and nothing is passed on twice."""
    dice = random.Random(seed)

    def claim() -> int | None:
        return dice.choice([None, 0, dice.randrange(40), dice.randrange(400)])

    def answer(number: int) -> ImagePage:
        rows = tuple(image(dice.randrange(60)) for _ in range(dice.choice([0, 3, 5, 5, 5, 9])))
        return ImagePage(images=rows, rows=len(rows), total=claim(), pages=claim(), number=claim(), size=claim())

    read(answer, patience=5_000)


# --- remembering ids ----------------------------------------------------------------------------------


def test_ids_are_remembered_through_every_growth():
    """The table answers as a dictionary would."""
    ids, model = Ids(), {}
    dice = random.Random(7)
    for _ in range(20_000):
        name, sweep = f"id-{dice.randrange(8_000)}", dice.randrange(1, 9)
        assert ids.mark([name], sweep) == [model.get(name, 0)]
        model[name] = sweep
    assert len(ids) == len(model)
    assert ids.mark(["id-1", "twice", "twice"], 9) == [model["id-1"], 0, 9]
    assert all((f"id-{number}" in ids) == (f"id-{number}" in model) for number in range(9_000))
    assert None not in ids


def test_ids_are_told_apart_where_half_of_their_hash_is_shared(monkeypatch: pytest.MonkeyPatch):
    """No image is hidden by another one: whatever tells two ids apart is compared."""
    monkeypatch.setattr(listing_room, "hash", lambda text: 7 if text.startswith(salt) else hash(text), raising=False)
    ids = Ids()
    salt = ids._salt
    names = [f"id-{number}" for number in range(3_000)]
    assert ids.mark(names, 1) == [0] * 3_000
    assert ids.mark(names[::100], 2) == [1] * 30
    assert ids.among(["another", *names[::500]]) == names[::500]


def test_two_listings_do_not_share_their_hashes():
    """What hid an image in one, against all odds, does not do so in the next, though the process is the same."""
    ours, theirs = Ids(), Ids()
    ours.mark(["id"], 1)
    theirs.mark(["id"], 1)
    assert ours._first != theirs._first
    assert ours._second != theirs._second


def test_remembering_an_id_takes_some_twenty_bytes():
    """What a listing of a million images remembers stays small beside a set of their ids."""
    tracemalloc.start()
    try:
        ids = Ids()
        for number in range(40_000):
            ids.mark([f"5f0c7d1e-0000-4000-8000-{number:012d}"], 1)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 25 * 40_000
    assert peak < 40 * 40_000
