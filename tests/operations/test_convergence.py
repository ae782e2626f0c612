"""Whole passes over a listing that moves while it is read, or that lies: what is called complete is complete.

The service here is a stand-in in memory, and so are archive and journal: a thousand schedules over sockets and disks
would take too long, and neither plays a part in what is shown. Pass, listing, ledger and manifest are the real ones.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from support import at_once

from syncer.archive.commit import Staged
from syncer.archive.journal import GENESIS, Journal
from syncer.archive.store import Archive
from syncer.errors import NotFound
from syncer.manifest.manifest import Manifest
from syncer.model import Content, Entry, Image, ImagePage, Report, Revision, State, Workspace
from syncer.operations.backup_pass import BackupPass
from syncer.operations.passes import Mode, Options
from syncer.operations.rooms import Rooms
from syncer.service import listing
from syncer.service.client import ImageService
from syncer.settings import ArchiveSettings, SafetySettings, Settings, WorkspaceSettings

SCHEDULES = 1_000
SIZE = 4  # rows on a page: the service's to say
AT = "2026-03-01T00:00:00Z"
PICTURE = b"picture"
BORN = datetime(2026, 3, 1, tzinfo=UTC)
STILL = (0.0, 0.0, 0.0)
RATES = (0.0, 0.02, 0.1, 0.3)  # chances of a creation, a deletion, a change whenever something is asked

Distort = Callable[[ImagePage, int, list[Image]], ImagePage]  # the honest page, the number asked for, all rows


class Service:
    """A workspace, newest first, in which things happen at every question; `distort` may spoil an honest page."""

    requests = 0

    def __init__(
        self, images: int, chance: random.Random | None = None, distort: Distort | None = None, workspace: str = "ws"
    ) -> None:
        self.workspace = workspace
        self.chance = chance or random.Random(0)
        self.distort: Distort = distort or (lambda page, number, there: page)
        self.rates: tuple[float, ...] = STILL
        self.downloads = Counter[str]()
        self.pages = 0
        self.born = 0
        self._images: list[Image] = []
        for _ in range(images):
            self.create()

    @property
    def images(self) -> dict[str, Image]:
        """What is there now."""
        return {image.id: image for image in self._images}

    def create(self) -> None:
        """Put a new image on top; two in a row are born within one second."""
        self.born += 1
        at = (BORN + timedelta(seconds=self.born // 2)).isoformat()
        image = Image(f"i{self.born}", self.workspace, updated_at=at, created_at=at, size=len(PICTURE))
        self._images.insert(0, image)

    def delete(self) -> None:
        """Take any image away."""
        if self._images:
            self._images.pop(self.chance.randrange(len(self._images)))

    def change(self) -> None:
        """Give any image another `updatedAt`, later or earlier."""
        if self._images:
            place = self.chance.randrange(len(self._images))
            self._images[place] = replace(self._images[place], updated_at=f"v{self.chance.random()}")

    async def page(self, _: str, number: int) -> ImagePage:
        """List one page of what is there at this moment."""
        self.pages += 1
        self._stir()
        there = self._images
        rows = tuple(there[(number - 1) * SIZE : number * SIZE])
        page = ImagePage(rows, (), len(rows), len(there), -(-len(there) // SIZE), number, SIZE)
        return self.distort(page, number, there)

    async def image(self, _: str, image_id: str) -> Image:
        """Show one image, if it is there."""
        self._stir()
        if image_id not in self.images:
            raise NotFound("no such image", status=404)
        return self.images[image_id]

    @asynccontextmanager
    async def content(self, image: Image) -> AsyncIterator[Content]:
        """Serve an image's bytes, if it is there."""
        self._stir()
        if image.id not in self.images:
            raise NotFound("no such image", status=404)
        self.downloads[image.id] += 1

        async def chunks() -> AsyncIterator[bytes]:
            yield PICTURE

        yield Content(chunks())

    async def retrying(self, attempt: Callable[[], Any]) -> Any:
        """Nothing here ever needs another try."""
        return await attempt()

    def _stir(self) -> None:
        for rate, happen in zip(self.rates, (self.create, self.delete, self.change), strict=True):
            if self.chance.random() < rate:
                happen()


class Shelf:
    """An archive that only counts."""

    root = Path("/nonexistent")

    async def adopt(self, image: Image, folder: str) -> None:
        """Hold nothing that the manifest does not know."""

    async def stage(self, image: Image, content: Content, *, folder: str, entry: Entry | None, run: str) -> Staged:
        """Take a picture in."""
        async for _ in content.chunks:
            pass
        number = entry.revision + 1 if entry else 1
        place = f"{folder}/{image.id}.r{number}"
        names, kind = (f"{place}.png", f"{place}.json"), "image/png"
        return Staged(
            Revision(image.workspace_id, image.id, number, "0" * 64, len(PICTURE), kind, *names, "", run, b"{}")
        )

    async def commit(self, batch: list[Staged]) -> None:
        """Nothing to make durable."""


class Silence:
    """A journal that keeps nothing."""

    seal = GENESIS

    def append(self, event: str, /, **facts: object) -> None:
        """Forget it."""

    async def flush(self) -> None:
        """Nothing to make durable."""


class House:
    """The rooms around a service; `passed` runs one pass through them."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    async def passed(self, service: Service) -> Report:
        """Back up once."""
        service.downloads.clear()
        settings = Settings(
            ArchiveSettings(Shelf.root), (WorkspaceSettings("*"),), safety=SafetySettings(max_gone_percent=100)
        )
        rooms = Rooms(
            settings,
            cast(ImageService, service),
            self._manifest,
            asyncio.Semaphore(3),
            sleep=at_once,
            archive=cast(Archive, Shelf()),
            journal=cast(Journal, Silence()),
            run="run",
        )
        workspace = Workspace(service.workspace)
        folder = await self._manifest.folder(workspace.id, None, workspace.id)
        report = await BackupPass(rooms, workspace, folder, Options(Mode.FULL), lambda event: None).run()
        parts = (report.new, report.changed, report.unchanged, report.filtered, report.failed)
        assert report.listed == sum(parts), "the summary does not balance"
        assert report.complete != bool(report.why)
        return report

    async def held(self, service: Service) -> dict[str, Entry]:
        """What the manifest remembers of every image that the service ever had."""
        return await self._manifest.entries(service.workspace, [f"i{n + 1}" for n in range(service.born)])


@pytest.fixture
async def house() -> AsyncIterator[House]:
    """A house with an empty manifest: a dry opening of none is one in memory."""
    async with Manifest.open(Shelf.root / "none.db", dry=True) as manifest:
        yield House(manifest)


@pytest.mark.slow
async def test_over_a_thousand_schedules_complete_means_complete(house: House):
    """Images come, go and change at every question: none that lived through a complete run is missed, or called gone.

    And whatever the run came to: no image is downloaded twice in it, and none is marked gone that is still there.
    """
    complete = 0
    for seed in range(SCHEDULES):
        chance = random.Random(seed)
        service = Service(chance.randrange(40), chance, workspace=f"ws{seed}")
        for rates in (STILL, *(tuple(chance.choices(RATES, k=3)) for _ in range(2))):
            service.rates = rates
            before = service.images
            report = await house.passed(service)
            after, held = service.images, await house.held(service)
            told = f"schedule {seed}, rates {rates}: {report}"

            assert not {i for i, entry in held.items() if entry.state is State.GONE} & after.keys(), told
            assert set(service.downloads.values()) <= {1}, told
            if report.complete:
                complete += 1
                lived = before.keys() & after.keys()
                assert lived <= {i for i, entry in held.items() if entry.state is State.LIVE}, told
                still = {i for i in lived if before[i].updated_at == after[i].updated_at}
                assert all(held[i].updated_at == after[i].updated_at for i in still), told
    assert complete > 2 * SCHEDULES, "else the property was hardly ever tried"


# --- pages that lie --------------------------------------------------------------------------------------


def endless(page: ImagePage, number: int, there: list[Image]) -> ImagePage:
    """More and more images, for ever, and totals that promise them."""
    rows = tuple(replace(image, id=f"x{number}-{n}") for n, image in enumerate(page.images or SOME))
    return replace(page, images=rows, rows=len(rows), total=4 * number + 8, pages=number + 2)


def same(page: ImagePage, number: int, there: list[Image]) -> ImagePage:
    """The first page, whatever was asked for."""
    return replace(page, images=SOME, rows=len(SOME))


def hole(page: ImagePage, number: int, there: list[Image]) -> ImagePage:
    """The third page is empty, and others follow."""
    return replace(page, images=(), rows=0) if number == 3 else page


def lower(page: ImagePage, number: int, there: list[Image]) -> ImagePage:
    """Totals of one page, where there are more."""
    return replace(page, total=4, pages=1)


def higher(page: ImagePage, number: int, there: list[Image]) -> ImagePage:
    """Totals of more than there is."""
    return replace(page, total=(page.total or 0) + 9, pages=(page.pages or 0) + 3)


def zero(page: ImagePage, number: int, there: list[Image]) -> ImagePage:
    """Totals of nothing, over pages with rows."""
    return replace(page, total=0, pages=0)


def wavering(page: ImagePage, number: int, there: list[Image]) -> ImagePage:
    """Totals that are another on every page."""
    return replace(page, total=(page.total or 0) + number % 3, pages=(page.pages or 0) + number % 2)


def untold(page: ImagePage, number: int, there: list[Image]) -> ImagePage:
    """No totals at all."""
    return replace(page, total=None, pages=None)


def misnumbered(page: ImagePage, number: int, there: list[Image]) -> ImagePage:
    """Every page says that it is the first."""
    return replace(page, number=1)


def forgetful(page: ImagePage, number: int, there: list[Image]) -> ImagePage:
    """A listing that agrees with itself and leaves out one image, on every reading."""
    shown = [image for image in there if image.id != "i5"]
    rows = tuple(shown[(number - 1) * SIZE : number * SIZE])
    return replace(page, images=rows, rows=len(rows), total=len(shown), pages=-(-len(shown) // SIZE))


def larger(page: ImagePage, number: int, there: list[Image]) -> ImagePage:
    """Twice as many rows as the page's size says, half of them again on the next one."""
    rows = tuple(there[(number - 1) * SIZE : (number + 1) * SIZE])
    return replace(page, images=rows, rows=len(rows))


def smaller(page: ImagePage, number: int, there: list[Image]) -> ImagePage:
    """Pages of half the size that they claim, all of the rows on twice as many."""
    rows = tuple(there[(number - 1) * 2 : number * 2])
    return replace(page, images=rows, rows=len(rows))


SOME = tuple(Image(f"i{n}", "ws", updated_at="v", created_at=AT, size=len(PICTURE)) for n in (4, 3, 2, 1))


async def passed_over(house: House, lie: Distort) -> tuple[Service, Report]:
    """Back up honestly, add an image, and pass over the same workspace with pages that lie."""
    service = Service(23)
    assert (await house.passed(service)).complete
    service.create()
    service.distort, service.pages = lie, 0
    return service, await house.passed(service)


@pytest.mark.parametrize("lie", [lower, zero, untold, misnumbered, larger, smaller, forgetful])
async def test_a_listing_that_lies_and_is_seen_through_is_complete(house: House, lie: Distort):
    """Totals too low, nought or missing, wrong numbers, sizes, an image left out: all is held, and nothing is gone."""
    service, report = await passed_over(house, lie)

    held = await house.held(service)
    assert report.complete
    assert held.keys() == service.images.keys()
    assert {entry.state for entry in held.values()} == {State.LIVE}


@pytest.mark.parametrize("lie", [endless, same, hole, higher, wavering])
async def test_a_listing_that_cannot_be_proven_ends_and_says_why(house: House, lie: Distort):
    """No end, the same page again, a hole, rows that never come: the pass ends, not complete, and nothing is gone."""
    service, report = await passed_over(house, lie)

    assert not report.complete
    assert all(report.why)
    assert {entry.state for entry in (await house.held(service)).values()} == {State.LIVE}
    assert service.pages < 300


async def test_a_listing_without_totals_or_end_is_left_at_a_bound(house: House, monkeypatch: pytest.MonkeyPatch):
    """A service that promises nothing and never ends does not keep us for ever."""
    monkeypatch.setattr(listing, "_MOST_PAGES", 60)
    service, report = await passed_over(house, lambda page, n, there: untold(endless(page, n, there), n, there))

    assert not report.complete
    assert "no end" in report.why[0]
    assert service.pages <= 2 * 60  # once more for the images that it lists and does not know
