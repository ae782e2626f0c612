"""An archive with a history, made once and copied for each test that spoils it."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from support import CANARY, back_up, configure, settings_of

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
