"""What a look among the newest images shows of one that is missing: judged with plain values."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from uploading import picture, sha256

from syncer.model import Image, Upload, UploadState
from syncer.operations.likeness import look
from syncer.operations.upload_proof import WITHOUT_FILE
from syncer.operations.upload_search import (
    Absent,
    Candidate,
    Found,
    Missing,
    Unclear,
    Undecided,
    Verdict,
    intended,
    known_to_reencode,
    since,
    verdict,
)
from syncer.simulator.uploads import as_jpeg

SINCE = datetime(2026, 11, 22, 12, tzinfo=UTC)
LATER = "2026-11-22T12:30:00Z"
A, B = picture("a"), picture("b")


def missing(content: bytes = A, *, at_hand: bool = True) -> Missing:
    row = Upload("w", sha256(content), UploadState.UNKNOWN, "a.png", len(content), LATER, LATER)
    return Missing(row, SINCE, look=look(content) if at_hand else None, at_hand=at_hand)


def image(name: str = "i", *, created: str | None = LATER, size: int | None = None) -> Image:
    return Image(name, "w", LATER, created, size=size, width=48, height=32)


def had(content: bytes, name: str = "i", *, created: str | None = LATER) -> Candidate:
    return Candidate(image(name, created=created, size=len(content)), sha256(content), look(content))


def seen(
    one: Missing, *candidates: Candidate, reencodes: bool | None = None, besides: Missing | None = None
) -> Verdict:
    return verdict(one, [one, *([besides] if besides else [])], candidates, reencodes=reencodes)


def test_the_same_bytes_are_proof():
    """Among any others, and whatever is known of the service."""
    for reencodes in (None, True, False):
        assert seen(missing(), had(B, "b"), had(A, "a"), reencodes=reencodes) == Found("a", sha256(A))


def test_of_two_with_the_same_bytes_the_older_one_is_it():
    """The content is there; which of them it is matters to nobody."""
    older = had(A, "old", created="2026-11-22T12:10:00Z")

    assert seen(missing(), had(A, "new"), older) == Found("old", sha256(A))


def test_what_was_made_before_the_intent_is_not_it():
    """Without a time it may be."""
    assert seen(missing(), had(A, created="2026-11-22T11:59:59Z")) == Absent()
    assert seen(missing(), had(A, created=None)) == Found("i", sha256(A))


def test_a_time_without_an_offset_may_be_of_any_zone():
    """The documentation leaves it open; one of half a day before the intent is not it."""
    assert seen(missing(), had(A, created="2026-11-22T00:00:00")) == Found("i", sha256(A))
    assert seen(missing(), had(A, created="2026-11-21T23:59:59.5")) == Absent()
    assert seen(missing(), had(A, created="2026-11-22T11:00:00+00:00")) == Absent()


def test_nothing_there_is_absent():
    """Nor is another picture it."""
    assert seen(missing()) == Absent()
    assert seen(missing(), had(B)) == Absent()


def test_what_the_service_took_is_never_absent():
    """It said so."""
    assert isinstance(seen(replace(missing(), accepted=True)), Undecided)


def test_the_only_one_that_shows_the_picture_is_it():
    """In other bytes, by a service that is not known to keep them."""
    jpeg = as_jpeg(A)

    assert seen(missing(), had(jpeg), had(B, "b")) == Found("i", sha256(jpeg), reencoded=True)


@pytest.mark.parametrize(
    ("candidates", "reencodes"),
    [
        ([had(as_jpeg(A), "one"), had(as_jpeg(A), "two")], True),
        ([had(as_jpeg(A), "one")], False),
        ([Candidate(image("one"), sha256(b"?"))], None),
        ([Candidate(image("one"), sha256(b"?"))], False),
    ],
)
def test_what_may_be_it_is_for_a_person(candidates: list[Candidate], reencodes: bool | None):
    """Two of them; one, though the service keeps bytes; one that cannot be decoded. They are named."""
    found = seen(missing(), *candidates, reencodes=reencodes)

    assert isinstance(found, Undecided)
    assert "one" in found.reason


def test_one_image_is_not_given_to_two():
    """Each of two uploads that look the same may be the one that arrived."""
    again = missing(as_jpeg(A))

    assert isinstance(seen(missing(), had(picture("a", kind="WEBP")), besides=again), Undecided)


def test_what_is_another_missing_ones_by_its_bytes_is_not_it():
    """However much it looks like it."""
    assert seen(missing(), had(as_jpeg(A)), besides=missing(as_jpeg(A))) == Absent()


def test_what_cannot_be_read_may_be_it():
    """If its size is right or unknown, or it may be the picture in other bytes; else it cannot."""
    for size in (None, len(A), len(A) + 1):
        assert seen(missing(), Candidate(image(size=size), trouble="503")) == Unclear("503")
    large = replace(image(size=len(A) + 1), width=4000, height=3000)
    assert seen(missing(), Candidate(large, trouble="503")) == Absent()


def test_without_the_file_other_bytes_tell_nothing():
    """Unless the service is known to keep bytes."""
    without = missing(at_hand=False)
    for reencodes in (None, True):
        found = seen(without, had(B), reencodes=reencodes)
        assert isinstance(found, Undecided)
        assert found.reason.startswith(WITHOUT_FILE)
    assert seen(without, had(B), reencodes=False) == Absent()
    assert seen(without, had(A), reencodes=True) == Found("i", sha256(A))


def test_an_address_may_be_any_new_image():
    """There are no bytes to compare."""
    address = replace(missing(at_hand=False), upload=replace(missing().upload, size=None))

    assert isinstance(seen(address, Candidate(image()), reencodes=False), Undecided)
    assert seen(address) == Absent()


@pytest.mark.parametrize(
    ("rows", "known"),
    [
        ([], None),
        ([(UploadState.DONE, "a", "a")], False),
        ([(UploadState.DONE, "a", "of what an address led to")], None),
        ([(UploadState.DONE, "a", "a"), (UploadState.REENCODED, "b", "c")], True),
        ([(UploadState.UNKNOWN, "a", None)], None),
    ],
)
def test_what_earlier_uploads_show_of_the_service(rows: list[tuple[UploadState, str, str | None]], known: bool | None):
    """Whether it serves what it was sent."""
    uploads = [
        Upload("w", hash_, state, "a", 1, LATER, LATER, "i", served_sha256=served) for state, hash_, served in rows
    ]

    assert known_to_reencode(uploads) is known


@pytest.mark.parametrize(
    ("skew", "expected"),
    [(None, "12:00:00"), (2.0, "12:00:00"), (-7200.0, "12:00:00"), (7200.0, "10:00:00")],
)
def test_an_intent_is_dated_by_the_clock_that_is_behind(skew: float | None, expected: str):
    """Ours may be set right before its image is looked for, which would seem to be older then."""
    at = datetime(2026, 11, 22, 12, tzinfo=UTC)
    rooms: Any = SimpleNamespace(now=lambda: at, service=SimpleNamespace(clock_skew=skew))

    assert intended(rooms) == datetime.fromisoformat(f"2026-11-22T{expected}+00:00")


@pytest.mark.parametrize(
    ("skew", "now", "expected"),
    [
        (None, "2026-11-22T13:00:00", "2026-11-22T12:15:00"),
        (3600.0, "2026-11-22T13:00:00", "2026-11-22T11:15:00"),  # ours is ahead: the service dates it earlier
        (-3600.0, "2026-11-22T13:00:00", "2026-11-22T12:15:00"),  # never later than without knowing
        (None, "2026-01-01T00:00:00", "2025-12-31T23:45:00"),  # ours was set back since
    ],
)
def test_how_far_back_an_image_may_be(skew: float | None, now: str, expected: str):
    """A quarter of an hour before the intent, and further where our clock is, or was, ahead."""
    at = datetime.fromisoformat(f"{now}+00:00")
    rooms: Any = SimpleNamespace(now=lambda: at, service=SimpleNamespace(clock_skew=skew))

    assert since(rooms, missing().upload) == datetime.fromisoformat(f"{expected}+00:00")
