"""What is kept of an image is of one moment, and what fails becomes an outcome that can be kept."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import Ran, back_up, pictures, rows

from syncer.errors import Damaged
from syncer.model import Image, Stored
from syncer.operations.events import Settled
from syncer.operations.fetch import CONSISTENT_TRIES, _failed
from syncer.operations.rooms import utc_now
from syncer.settings import Settings
from syncer.simulator import faults
from syncer.simulator.server import Simulator
from syncer.simulator.state import Shelf


def test_a_reason_is_whole_letters_without_secrets():
    """A header may hold bytes that are no letters, and journal and manifest take only those that are."""
    rooms: Any = SimpleNamespace(now=utc_now)
    error = Damaged("not a picture", declared="text/\udcff", said="Bearer abcdef0123456789")

    failed = _failed(rooms, Image("a", "w", None), error)

    assert failed.reason.encode().decode() == failed.reason
    assert "abcdef" not in failed.reason


# --- bytes and document of one moment ---------------------------------------------------------------------


@pytest.fixture
def untold(sim: Simulator, shelf: str) -> str:
    """An image of whose size the service says nothing."""
    image = sim.workspaces[shelf].ids[2]
    sim.workspaces[shelf].change(image, touch=False, imageSize=None)
    return image


def repainted(held: Shelf, image: str) -> faults.Action:
    """Give an image other bytes before the answer is made, and still say nothing of its size."""

    def repaint(_: object) -> None:
        held.repaint(image)
        held.change(image, touch=False, imageSize=None)

    return faults.before(repaint)


def kept(archive: Path, image: str) -> list[tuple[bytes, str]]:
    """The bytes of each revision, and the `updatedAt` of the document beside it."""
    return [
        (
            (archive / row["path"]).read_bytes(),
            json.loads((archive / row["sidecar"]).read_bytes())["document"]["updatedAt"],
        )
        for row in rows(archive, "revisions", f"image_id = '{image}'")
    ]


def notes(ran: Ran, image: str) -> tuple[str, ...]:
    """What is noted of an image that was stored."""
    (found,) = (
        event.outcome.notes
        for event in ran.events
        if isinstance(event, Settled) and isinstance(event.outcome, Stored) and event.outcome.image.id == image
    )
    return found


def asked(sim: Simulator, image: str) -> list[str]:
    """What was asked about an image, in turn."""
    return [served.operation for served in sim.requests if served.image == image]


async def test_a_stated_size_that_came_costs_no_more_requests(sim: Simulator, settings: Settings):
    """Bytes of the size that the listing states belong to it."""
    assert (await back_up(settings)).result.complete
    assert "image" not in sim.counts


@pytest.mark.parametrize("when", ["content", "image"])
async def test_a_change_between_listing_and_content_is_not_stored_under_the_old_document(
    sim: Simulator, shelf: str, settings: Settings, untold: str, when: str
):
    """The service states no size: whether before the bytes or behind them, a change is seen, and all is asked again."""
    held = sim.workspaces[shelf]
    sim.faults.on(when, repainted(held, untold), image=untold, times=1)

    ran = await back_up(settings)

    assert ran.result.complete
    assert kept(settings.archive.path, untold) == [(held[untold].body, held[untold].row["updatedAt"])]
    assert asked(sim, untold) == ["content", "image"] * 2
    assert notes(ran, untold) == ()
    assert ran.report.requests == sum(sim.counts.values())


async def test_a_changed_size_shows_a_change(sim: Simulator, shelf: str, settings: Settings):
    """With a size stated, other bytes than listed are asked for again with the document that they belong to."""
    held, image = sim.workspaces[shelf], sim.workspaces[shelf].ids[2]
    sim.faults.on("content", faults.before(lambda _: held.repaint(image)), image=image, times=1)

    assert (await back_up(settings)).result.complete

    assert kept(settings.archive.path, image) == [(held[image].body, held[image].row["updatedAt"])]
    assert asked(sim, image) == ["content", "image", "content"]


@pytest.mark.parametrize("stated", [None, 1])
async def test_a_size_that_never_tells_the_bytes_is_the_services_habit(
    sim: Simulator, shelf: str, settings: Settings, stated: int | None
):
    """Nothing stated, or never the right number: each picture is downloaded once, its document asked for once more."""
    held = sim.workspaces[shelf]
    for image in held.ids:
        held.change(image, touch=False, imageSize=stated)

    ran = await back_up(settings)

    assert ran.result.complete
    assert {tuple(asked(sim, image)) for image in held.ids} == {("content", "image")}
    assert sorted(pictures(settings.archive.path).values()) == sorted(held[image].body for image in held.ids)
    assert (await back_up(settings)).report.unchanged == len(held)


async def test_a_size_that_only_the_document_states_is_held_against_the_bytes(
    sim: Simulator, shelf: str, settings: Settings
):
    """Listings without sizes: the document's own agrees with the bytes, or they are asked for once more."""
    held, odd = sim.workspaces[shelf], sim.workspaces[shelf].ids[4]
    held.change(odd, touch=False, imageSize=1)
    sim.faults.on("listing", faults.each(lambda row: {**row, "imageSize": None}))

    ran = await back_up(settings)

    assert ran.result.complete
    assert {tuple(asked(sim, image)) for image in held.ids if image != odd} == {("content", "image")}
    assert asked(sim, odd) == ["content", "image"] * 2


async def test_an_image_that_is_another_each_time_is_owed(sim: Simulator, shelf: str, settings: Settings, untold: str):
    """It is tried a few times; no pair of it is kept, and the next run makes it good."""
    sim.faults.on("content", repainted(sim.workspaces[shelf], untold), image=untold)

    ran = await back_up(settings)

    assert (ran.report.failed, ran.result.exit_code) == (1, 3)
    assert asked(sim, untold) == ["content", "image"] * CONSISTENT_TRIES
    assert kept(settings.archive.path, untold) == []
    assert not [*(settings.archive.path / ".staging").glob("*.*")]
    (owed,) = rows(settings.archive.path, "failures")
    assert "changes faster" in owed["reason"]

    sim.faults.clear()
    assert (await back_up(settings)).result.complete


async def test_an_image_deleted_behind_its_bytes_is_kept(sim: Simulator, shelf: str, settings: Settings, untold: str):
    """These are the last bytes that there are: they are kept, noted, and marked gone by the next run."""
    held = sim.workspaces[shelf]
    body, updated_at = held[untold].body, held[untold].row["updatedAt"]
    sim.faults.on("image", faults.before(lambda _: held.delete(untold)), image=untold, times=1)

    ran = await back_up(settings)

    assert ran.result.complete
    assert kept(settings.archive.path, untold) == [(body, updated_at)]
    assert notes(ran, untold) == ("deleted at the service while it was copied",)
    assert (await back_up(settings)).report.gone == 1


@pytest.mark.parametrize("answer", [faults.status(503), faults.status(403), faults.html(200)])
async def test_a_document_that_cannot_be_had_again_is_no_failure(
    sim: Simulator, configured: Callable[..., Settings], untold: str, answer: faults.Action
):
    """The pair is kept, and the note says that a change meanwhile would not have been seen."""
    settings = configured(limits={"retries": 0})
    sim.faults.on("image", answer, image=untold)

    ran = await back_up(settings)

    assert ran.result.complete
    assert notes(ran, untold) == ("the service did not say whether it changed while it was copied",)
    assert len(kept(settings.archive.path, untold)) == 1
