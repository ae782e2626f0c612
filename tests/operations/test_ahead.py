"""Reading the manifest along with a listing: only what is live and unchanged is left out of what is looked up."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from support import back_up

from syncer.errors import SafetyStop
from syncer.manifest.manifest import Manifest
from syncer.model import Gone, Image, Reason, Revision, Stored
from syncer.operations import ahead
from syncer.operations.ahead import Ahead
from syncer.settings import Settings
from syncer.simulator import faults
from syncer.simulator.server import Simulator

WS = "w"


def image(name: str, minute: int | None = 0, updated_at: str | None = "u1", workspace: str = WS) -> Image:
    created_at = None if minute is None else f"2026-03-01T00:{minute:02}:00Z"
    return Image(id=name, workspace_id=workspace, updated_at=updated_at, created_at=created_at)


def stored(one: Image) -> Stored:
    path = f"{one.workspace_id}/{one.id}"
    at = "2026-03-02T00:00:00.000Z"
    revision = Revision(
        one.workspace_id, one.id, 1, "0" * 64, 1, "image/png", f"{path}.png", f"{path}.json", at, "r", b"{}"
    )
    return Stored(one, revision, Reason.NEW)


@pytest.fixture
async def manifest(tmp_path: Path) -> AsyncIterator[Manifest]:
    async with Manifest.open(tmp_path / "m.db") as opened:
        yield opened


@pytest.fixture
def by_threes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ahead, "BATCH", 3)
    monkeypatch.setattr(ahead, "MOST", 6)


def listing(count: int) -> list[Image]:
    """So many images in the order of a listing: the newest first."""
    return [image(f"i{number:02}", 59 - number) for number in range(count)]


def names(images: list[Image]) -> list[str]:
    return [one.id for one in images]


async def test_what_is_live_and_unchanged_is_left_out(manifest: Manifest):
    """A new image, a changed one, one that is marked gone, one of another workspace: each of these is looked up."""
    shown = listing(6)
    await manifest.record([stored(one) for one in shown[:4]])
    await manifest.record([stored(image("i04", 55, workspace="other")), Gone(WS, "i02", "2026-03-03")])
    shown[1] = image("i01", 58, "u2")
    shown[3] = image("i03", 56, None)

    assert names(await Ahead(manifest, WS, frozenset()).unsettled(shown)) == ["i01", "i02", "i03", "i04", "i05"]


async def test_a_time_that_is_missing_on_both_sides_is_no_change(manifest: Manifest):
    """Nothing is equal to nothing; but an image that is not remembered at all is not one without a time."""
    shown = [image("known", 1, None), image("new", 1, None)]
    await manifest.record([stored(shown[0])])

    assert names(await Ahead(manifest, WS, frozenset()).unsettled(shown)) == ["new"]


@pytest.mark.usefixtures("by_threes")
async def test_the_manifest_is_read_on_as_the_listing_goes_on(manifest: Manifest):
    """Page after page in the same order: every image is met, though only a few are held at a time."""
    shown = listing(40)
    await manifest.record([stored(one) for one in shown])
    along = Ahead(manifest, WS, frozenset())

    assert [await along.unsettled(shown[at : at + 2]) for at in range(0, 40, 2)] == [[]] * 20


@pytest.mark.usefixtures("by_threes")
async def test_what_a_listing_does_not_show_does_not_stay_in_memory(manifest: Manifest):
    """Deleted images by the hundred are let go of, and those that the listing shows are met again behind them."""
    await manifest.record([stored(image(f"deleted-{number}", 40)) for number in range(50)])
    shown = [image(f"i{number}", 30 - number) for number in range(12)]
    await manifest.record([stored(one) for one in shown])
    along = Ahead(manifest, WS, frozenset())

    rest = [await along.unsettled(shown[:1]) for _ in range(25)]

    assert len(along._live) <= 6
    assert rest[0] == shown[:1]
    assert await along.unsettled(shown[1:3]) == []


@pytest.mark.usefixtures("by_threes")
async def test_one_odd_time_does_not_carry_us_off_to_the_end(manifest: Manifest):
    """A new image that claims to be very old costs a batch, and the images around it are met all the same."""
    shown = listing(12)
    await manifest.record([stored(one) for one in shown])
    along = Ahead(manifest, WS, frozenset())
    odd = Image(id="odd", workspace_id=WS, updated_at="u", created_at="0001-01-01T00:00:00Z")

    assert names(await along.unsettled([odd, *shown[:2]])) == ["odd"]
    assert await along.unsettled(shown[2:5]) == []


async def test_images_without_a_time_are_looked_up(manifest: Manifest):
    """They have no place in the order."""
    shown = [image("timeless", None)]
    await manifest.record([stored(shown[0])])

    assert await Ahead(manifest, WS, frozenset()).unsettled(shown) == shown


async def test_what_is_owed_is_never_left_out(manifest: Manifest):
    """Its debt has to be settled, even where the service took back the change that failed."""
    shown = listing(3)
    await manifest.record([stored(one) for one in shown])

    assert names(await Ahead(manifest, WS, frozenset({"i01"})).unsettled(shown)) == ["i01"]


@pytest.mark.parametrize("quick", [False, True])
async def test_an_empty_listing_is_never_complete(sim: Simulator, shelf: str, settings: Settings, quick: bool):
    """Also where every image that is held was owed, and is shown by its own id."""
    await back_up(settings)
    sim.faults.on("listing", faults.rewrite(lambda body: body.replace(b'"prompt": "', b'"prompt": "\\ud800')))
    garbled = await back_up(settings)
    assert garbled.report.failed == len(sim.workspaces[shelf])
    sim.faults.clear()
    totals = {"totalElements": 0, "totalPages": 0}
    nothing = faults.edit(lambda listing: {**listing, "data": [], "page": {**listing["page"], **totals}})
    sim.faults.on("listing", nothing)

    ran = await back_up(settings, quick=quick)

    assert not ran.result.complete
    assert ran.result.exit_code == SafetyStop.exit_code
