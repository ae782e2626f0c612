"""An archive with a history, made once and copied for each test that spoils it; and a ledger's rooms."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from settling import Desk, furnished
from support import CANARY, back_up, configure, settings_of

from syncer.archive.commit import Staged
from syncer.archive.lock import settle
from syncer.simulator import faults
from syncer.simulator.server import Options, Simulator


@pytest.fixture(scope="session")
def _history(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("history")

    async def make() -> None:
        async with Simulator.start(Options(images=24, client_secret=CANARY)) as sim:
            (shelf, *_) = sim.workspaces.values()
            settings = settings_of(configure(sim, folder, [shelf.id]))
            await back_up(settings)
            shelf.repaint(shelf.ids[0])
            shelf.change(shelf.ids[1], prompt="another")
            for deleted in shelf.ids[2:4]:
                shelf.delete(deleted)
            sim.faults.on("content", faults.status(404), image=shelf.add())
            await back_up(settings)
            shelf.restore(deleted)
            shelf.change(shelf.ids[5], prompt="yet another")
            await back_up(settings)

    asyncio.run(make())
    return folder / "archive"


@pytest.fixture
def archive(_history: Path, tmp_path: Path) -> Path:
    """A workspace with all that can happen to an image: changed, reworded, deleted, returned, owed."""
    archive = Path(shutil.copytree(_history, tmp_path / "archive"))
    settle(archive / ".staging")  # it is the archive for the test, not a copy of it
    return archive


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with furnished(tmp_path / "archive") as furnished_desk:
        yield furnished_desk


@pytest.fixture
def held(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Stop every commit when it begins; gives the event that it has begun, and the one that lets it go on."""
    begun, let_go = asyncio.Event(), asyncio.Event()
    commit = desk.archive.commit

    async def slow(batch: list[Staged]) -> None:
        begun.set()
        await let_go.wait()
        await commit(batch)

    monkeypatch.setattr(desk.archive, "commit", slow)
    return begun, let_go
