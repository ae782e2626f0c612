"""Which workspaces a backup looks at: those that are wanted, and `*` for all that have no entry of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
from support import back_up, configure, settings_of

from syncer.errors import ConfigError, SafetyStop
from syncer.settings import Settings
from syncer.simulator.server import Simulator


async def test_every_workspace_can_be_chosen_by_its_star(sim: Simulator, shelf: str, tmp_path: Path):
    """A `*` that is asked for stands for those without an entry of their own; together with one of these, for all."""
    reachable = [one.id for one in sim.workspaces.values() if one.accessible]
    others = [one for one in reachable if one != shelf]
    settings = settings_of(configure(sim, tmp_path, [shelf, "*"]))

    async def looked_at(*wanted: str) -> list[str]:
        ran = await back_up(settings, *wanted)
        return [report.workspace_id for report in ran.result.reports]

    assert await looked_at("*") == others
    assert await looked_at("*", shelf) == [*others, shelf]
    assert await looked_at(others[0], "*") == others
    assert await looked_at() == reachable
    sim.counts.clear()
    assert await looked_at(shelf) == [shelf]
    assert sim.counts["workspaces"] == 0, "what has an entry need not be looked for"


async def test_a_star_alone_is_every_workspace(sim: Simulator, tmp_path: Path):
    """Also of those that have become invisible: what we hold of them is looked at, not forgotten."""
    reachable = [one for one in sim.workspaces.values() if one.accessible]
    settings = settings_of(configure(sim, tmp_path, ["*"]))
    await back_up(settings)
    reachable[0].accessible = False

    ran = await back_up(settings, "*")

    assert {report.workspace_id for report in ran.result.reports} == {one.id for one in reachable}
    assert ran.result.exit_code == SafetyStop.exit_code


async def test_a_star_that_is_not_configured_is_no_workspace(settings: Settings):
    """Nobody may mean by it what the configuration does not name."""
    with pytest.raises(ConfigError, match=r"no workspace '\*'"):
        await back_up(settings, "*")
