"""The installed command, configured for the simulated service."""

from __future__ import annotations

from pathlib import Path

import pytest
from outside import Make, Outside, tokens
from support import configure

from syncer.simulator.server import Simulator


@pytest.fixture
def make(sim: Simulator, shelf: str, tmp_path: Path) -> Make:
    """Configure the command: `make(limits={"retries": 0})`, `make([one, two])`; the first workspace by default."""

    def configured(workspaces: list[str] | None = None, **tables: dict[str, object]) -> Outside:
        limits = {"retries": 0, **tables.pop("limits", {})}
        path = configure(sim, tmp_path, [shelf] if workspaces is None else workspaces, limits=limits, **tables)
        return Outside(path, lambda: tokens(sim))

    return configured


@pytest.fixture
def outside(make: Make) -> Outside:
    """The command for the first workspace, which does not repeat what failed."""
    return make()
