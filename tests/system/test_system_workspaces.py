"""Several workspaces, a star, and the ways to look at them: full, quick, dry, while they move."""

from __future__ import annotations

import pytest
from aiohttp import web
from outside import Make, Outside, whole
from support import rows

from syncer.simulator import faults
from syncer.simulator.server import Simulator


async def test_one_workspace_fails_and_the_other_is_copied(sim: Simulator, make: Make):
    """The first answers 500 only: the second is complete, and the run is not."""
    first, second = list(sim.workspaces)[:2]
    outside = make([first, second])
    sim.faults.on("listing", faults.status(500), workspace=first)

    ran = await outside.backup()

    assert ran.code == 3
    assert [report["complete"] for report in ran.summary["workspaces"]] == [False, True]
    assert ran.counts == {"new": len(sim.workspaces[second])}
    assert (await outside("status", "--max-age", "1h")).code == 3


async def test_a_star_is_every_workspace_and_names_choose_among_them(sim: Simulator, make: Make):
    """`id = "*"` reaches both, and a name that it brings can be asked for; an unknown one is 2 with a suggestion."""
    outside = make(["*"])
    first, second = list(sim.workspaces.values())[:2]

    ran = await outside.backup(second.name)
    assert (ran.code, ran.counts) == (0, {"new": len(second)})

    ran = await outside.backup(first.name[:-1])
    assert ran.code == 2
    assert first.name in ran.err

    ran = await outside.backup()
    assert (ran.code, ran.counts) == (0, {"new": len(first), "unchanged": len(second)})


async def test_a_star_that_cannot_be_resolved_is_8(sim: Simulator, make: Make):
    """Without the list of workspaces there is nothing that could be called complete."""
    sim.faults.on("workspaces", faults.status(500))

    ran = await make(["*"]).backup()

    assert ran.code == 8
    assert not ran.summary["complete"]


async def test_a_star_over_no_workspace_is_not_complete(sim: Simulator, make: Make):
    """Credentials that reach nothing have backed up nothing."""
    for workspace in sim.workspaces.values():
        workspace.accessible = False

    ran = await make(["*"]).backup()

    assert ran.code != 0
    assert ran.err.strip()
    assert ran.summary["why"]


async def test_an_image_that_is_listed_but_never_found_is_owed(sim: Simulator, shelf: str, outside: Outside):
    """Listed by every run, 404 for its content and its document (a gateway that spoils its id): never complete."""
    image = sim.workspaces[shelf].ids[3]
    sim.faults.on("content", faults.status(404), image=image)
    sim.faults.on("image", faults.status(404), image=image)

    await outside.backup()
    ran = await outside.backup()

    assert ran.code == 3
    assert ran.counts == {"unchanged": len(sim.workspaces[shelf]) - 1, "failed": 1}


async def test_an_empty_workspace_is_complete(sim: Simulator, shelf: str, outside: Outside):
    """Nothing there and nothing held: that is the whole of it."""
    for image in list(sim.workspaces[shelf].ids):
        sim.workspaces[shelf].delete(image)

    ran = await outside.backup()

    assert (ran.code, ran.summary["listed"]) == (0, 0)


@pytest.mark.slow
async def test_quick_and_dry_runs_do_no_more_than_they_say(sim: Simulator, shelf: str, outside: Outside):
    """A dry run leaves no folder; a quick one after a full one asks for one page and copies what is new."""
    dry = await outside.backup("--dry-run")
    assert (dry.code, dry.counts) == (0, {"new": len(sim.workspaces[shelf])})
    assert dry.summary["dry_run"]
    assert not outside.archive.exists()
    assert sim.counts["content"] == 0

    assert (await outside.backup()).code == 0
    sim.counts.clear()
    sim.workspaces[shelf].add()
    quick = await outside.backup("--quick")
    assert (quick.code, quick.counts["new"]) == (0, 1)
    assert (sim.counts["listing"], sim.counts["content"]) == (1, 1)

    sim.workspaces[shelf].delete(sim.workspaces[shelf].ids[0])
    before = whole(outside)
    dry = await outside.backup("--dry-run")
    assert dry.counts["gone"] == 1
    assert whole(outside) == before
    assert rows(outside.archive, "runs", "mode = 'dry'") == []
    assert (await outside("backup", "--quick", "--full")).code == 2


async def test_a_burst_of_images_while_listing_is_copied_or_reported(sim: Simulator, shelf: str, outside: Outside):
    """Uploads and deletions between the pages: whoever stays must be there when the run calls itself complete."""
    sim.workspaces[shelf].add_many(400)
    stays = set(sim.workspaces[shelf].ids[:-40]) - set(sim.workspaces[shelf].ids[:20])

    def move(_: web.Request) -> None:
        for image in sim.workspaces[shelf].ids[:20]:
            if image not in stays:
                sim.workspaces[shelf].delete(image)

    sim.faults.on("listing", faults.before(move), page=2, times=1)

    ran = await outside.backup()

    assert ran.code == 0
    assert stays <= set(outside.images())
