"""What one listed image needs."""

from __future__ import annotations

from typing import Any

from syncer.model import Entry, Fetch, Image, Keep, Reason, State
from syncer.operations.diff import decide


def image(**fields: Any) -> Image:
    return Image(**{"id": "a", "workspace_id": "w", "updated_at": "2026-03-01T00:00:00Z", **fields})


def entry(**fields: Any) -> Entry:
    values = {"state": State.LIVE, "updated_at": "2026-03-01T00:00:00Z", **fields}
    return Entry("a", revision=1, sha256="0", size=1, media_type="image/png", path="p", sidecar="s", **values)


def test_an_image_without_an_entry_is_new():
    """What the manifest does not know is fetched."""
    assert decide(image(), None) == Fetch(image(), Reason.NEW)


def test_the_same_updated_at_is_kept_without_a_request():
    """What is as remembered needs nothing."""
    assert decide(image(), entry()) == Keep(image())


def test_clock_stepping_back_counts_as_change():
    """An older timestamp than the remembered one is still another revision."""
    remembered = entry(updated_at="2026-03-02T00:00:00Z")

    assert decide(image(), remembered) == Fetch(image(), Reason.CHANGED, remembered)


def test_a_timestamp_that_went_missing_counts_as_change_and_two_missing_ones_do_not():
    """`updatedAt` is compared as it is, also where it is not there."""
    assert decide(image(updated_at=None), entry()) == Fetch(image(updated_at=None), Reason.CHANGED, entry())
    assert isinstance(decide(image(updated_at=None), entry(updated_at=None)), Keep)


def test_a_gone_image_that_is_listed_again_has_returned():
    """It is fetched anew even if nothing about it seems to have changed."""
    gone = entry(state=State.GONE)

    assert decide(image(), gone) == Fetch(image(), Reason.RETURNED, gone)
