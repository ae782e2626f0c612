"""The main job against the simulated service, over real HTTP, into a real archive."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from support import back_up, configure, pictures, rows, settings_of

from syncer.errors import ConfigError, SafetyStop, StorageFull, Unauthorized
from syncer.operations.events import PictureReceived
from syncer.settings import Settings
from syncer.simulator import faults
from syncer.simulator.server import Simulator


async def test_everything_is_copied_byte_for_byte(sim: Simulator, shelf: str, settings: Settings):
    """After one backup each image's bytes are in the archive, with a row and a sidecar that hold its document."""
    ran = await back_up(settings)

    held = sim.workspaces[shelf]
    assert ran.result.complete
    assert ran.report.new == len(held) > 0
    archive = settings.archive.path
    files = pictures(archive)
    for row in rows(archive, "images"):
        assert files.pop(row["path"]) == held[row["image_id"]].body
        sidecar = json.loads((archive / row["sidecar"]).read_bytes())
        document = sidecar["document"]
        assert document.pop("_links")
        assert document == held[row["image_id"]].row
        assert sidecar["sha256"] == row["sha256"]
        assert sidecar["file"] == Path(row["path"]).name
    assert not files, "files that no row knows"


async def test_unchanged_costs_no_request_beyond_the_listing(sim: Simulator, settings: Settings):
    """A second backup asks for a token and for the one page."""
    await back_up(settings)
    sim.counts.clear()

    ran = await back_up(settings)

    assert ran.report.unchanged == ran.report.listed > 0
    assert dict(sim.counts) == {"token": 1, "listing": 1}


async def test_changes_are_kept_as_revisions(sim: Simulator, shelf: str, settings: Settings):
    """Other bytes are a second file, another prompt is a second sidecar, and nothing that was there is touched."""
    await back_up(settings)
    before = pictures(settings.archive.path)
    repainted, reworded = sim.workspaces[shelf].ids[:2]
    sim.workspaces[shelf].repaint(repainted)
    sim.workspaces[shelf].change(reworded, prompt="another one")

    ran = await back_up(settings)

    assert ran.report.changed == 2
    after = pictures(settings.archive.path)
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1
    images = {row["image_id"]: row for row in rows(settings.archive.path, "images")}
    assert images[repainted]["path"].rsplit(".", 2)[1] == "r2"
    assert images[reworded]["path"].count(".r2") == 0
    assert images[reworded]["sidecar"].endswith(".r2.json")
    assert images[reworded]["prompt"] == "another one"
    assert len(rows(settings.archive.path, "revisions")) == len(images) + 2


async def test_deleted_images_are_marked_and_their_files_stay(sim: Simulator, shelf: str, settings: Settings):
    """Gone is a mark; the bytes stay. One that comes back is live again, with its history."""
    await back_up(settings)
    before = pictures(settings.archive.path)
    lost = sim.workspaces[shelf].ids[0]
    sim.workspaces[shelf].delete(lost)

    ran = await back_up(settings)

    assert ran.report.gone == 1
    assert ran.result.complete
    assert pictures(settings.archive.path) == before
    (row,) = rows(settings.archive.path, "images", f"image_id = '{lost}'")
    assert row["state"] == "gone"
    assert row["gone_since"]

    sim.workspaces[shelf].restore(lost)
    ran = await back_up(settings)

    assert ran.report.restored == 1
    (row,) = rows(settings.archive.path, "images", f"image_id = '{lost}'")
    assert (row["state"], row["gone_since"]) == ("live", None)
    assert row["revision"] == 2


async def test_the_brake_holds_many_deletions_until_a_person_accepts_them(
    sim: Simulator, shelf: str, configured: Callable[..., Settings]
):
    """More than the limits: every image stays live, exit code 5; with the flag they are marked."""
    settings = configured(safety={"max_gone_items": 2, "max_gone_percent": 10})
    await back_up(settings)
    for image in sim.workspaces[shelf].ids[:3]:
        sim.workspaces[shelf].delete(image)

    ran = await back_up(settings)

    assert ran.result.exit_code == SafetyStop.exit_code
    assert not ran.report.complete
    assert rows(settings.archive.path, "images", "state = 'gone'") == []

    ran = await back_up(settings, accept=True)

    assert ran.result.exit_code == 0
    assert ran.report.gone == 3


async def test_an_emptied_workspace_is_never_taken_for_a_deletion(sim: Simulator, shelf: str, settings: Settings):
    """An empty listing trips the brake however few images there were."""
    await back_up(settings)
    for image in list(sim.workspaces[shelf].ids):
        sim.workspaces[shelf].delete(image)

    ran = await back_up(settings)

    assert ran.result.exit_code == SafetyStop.exit_code
    assert rows(settings.archive.path, "images", "state = 'gone'") == []


async def test_an_absent_image_that_answers_by_its_id_stays_live(sim: Simulator, shelf: str, settings: Settings):
    """Absence from the listing is not deletion."""
    await back_up(settings)
    hidden = sim.workspaces[shelf].ids[3]

    def leave_out(document: dict) -> dict:
        document["data"] = [row for row in document["data"] if row["id"] != hidden]
        document["page"]["totalElements"] -= 1
        return document

    sim.faults.on("listing", faults.edit(leave_out))
    ran = await back_up(settings)

    assert ran.report.gone == 0
    assert ran.report.unchanged == len(sim.workspaces[shelf])
    assert ran.result.complete


async def test_a_workspace_that_became_invisible_is_a_safety_stop(sim: Simulator, shelf: str, settings: Settings):
    """403 for a workspace of which we hold images is lost access, not an empty workspace."""
    await back_up(settings)
    sim.workspaces[shelf].accessible = False

    ran = await back_up(settings)

    assert ran.result.exit_code == SafetyStop.exit_code
    assert rows(settings.archive.path, "images", "state = 'gone'") == []


async def test_one_workspace_without_access_does_not_stop_the_others(sim: Simulator, tmp_path: Path):
    """It is named and counted against completeness; the others are complete."""
    shelves = list(sim.workspaces)
    settings = settings_of(configure(sim, tmp_path, ["nobody-knows", *shelves[:2]]))

    ran = await back_up(settings)

    assert ran.result.exit_code == 3
    assert [report.complete for report in ran.result.reports] == [False, True, True]


async def test_a_star_is_every_workspace_that_can_be_reached(sim: Simulator, tmp_path: Path):
    """`id = "*"` asks the workspace service."""
    ran = await back_up(settings_of(configure(sim, tmp_path, ["*"])))

    assert {report.workspace_id for report in ran.result.reports} == {
        shelf.id for shelf in sim.workspaces.values() if shelf.accessible
    }
    assert ran.result.complete


async def test_an_unknown_workspace_is_a_mistake_with_a_suggestion(sim: Simulator, shelf: str, settings: Settings):
    """A typing error names what was probably meant."""
    with pytest.raises(ConfigError) as raised:
        await back_up(settings, shelf[:-1])

    assert shelf in raised.value.hint


async def test_a_failed_image_is_owed_tried_first_and_made_good(sim: Simulator, shelf: str, settings: Settings):
    """A picture that keeps failing is one failure, named; the next run tries it before anything else."""
    bad = sim.workspaces[shelf].ids[5]
    sim.faults.on("content", faults.status(404), image=bad)

    ran = await back_up(settings)

    assert ran.result.exit_code == 3
    assert (ran.report.failed, ran.report.new) == (1, len(sim.workspaces[shelf]) - 1)
    (owed,) = rows(settings.archive.path, "failures")
    assert (owed["image_id"], owed["attempts"]) == (bad, 1)
    assert "404" in owed["reason"]

    sim.faults.clear()
    sim.requests.clear()
    ran = await back_up(settings)

    assert ran.result.complete
    assert ran.report.new == 1
    assert rows(settings.archive.path, "failures") == []
    assert [served.operation for served in sim.requests][:3] == ["token", "image", "content"]


async def test_an_image_deleted_while_it_is_copied_is_nobodys_failure(sim: Simulator, shelf: str, settings: Settings):
    """Listed, then gone before its bytes were asked for: nothing is missing."""
    fleeting = sim.workspaces[shelf].ids[0]
    sim.faults.on("content", faults.before(lambda _: sim.workspaces[shelf].delete(fleeting)), image=fleeting, times=1)

    ran = await back_up(settings)

    assert ran.report.vanished == 1
    assert ran.report.failed == 0
    assert rows(settings.archive.path, "images", f"image_id = '{fleeting}'") == []


async def test_rows_that_cannot_be_read_are_failures_with_names(sim: Simulator, shelf: str, settings: Settings):
    """One bad row is one failure, not the end of the run."""

    def spoil(document: dict) -> dict:
        document["data"][0] = "not an image"
        document["data"][1].pop("id")
        return document

    sim.faults.on("listing", faults.edit(spoil))
    ran = await back_up(settings)

    assert ran.report.failed == 2
    assert ran.report.new == len(sim.workspaces[shelf]) - 2
    assert ran.result.exit_code == 3


async def test_quick_stops_at_known_ground(sim: Simulator, shelf: str, settings: Settings):
    """Nothing new: one page. Something new: it is fetched, and deletions are not looked for."""
    await back_up(settings)
    sim.workspaces[shelf].delete(sim.workspaces[shelf].ids[-1])
    (fresh,) = sim.workspaces[shelf].add_many(1)

    ran = await back_up(settings, quick=True)

    assert (ran.report.new, ran.report.gone) == (1, 0)
    assert rows(settings.archive.path, "images", f"image_id = '{fresh}'")


async def test_a_dry_run_writes_nothing(sim: Simulator, shelf: str, settings: Settings):
    """It counts what a backup would do, on an archive that does not exist and on one that does."""
    ran = await back_up(settings, dry=True)

    assert ran.report.new == len(sim.workspaces[shelf])
    assert not settings.archive.path.exists()

    await back_up(settings)
    sim.workspaces[shelf].delete(sim.workspaces[shelf].ids[0])
    before = {p: p.read_bytes() for p in settings.archive.path.rglob("*") if p.is_file()}
    ran = await back_up(settings, dry=True)

    assert (ran.report.gone, ran.report.unchanged) == (1, len(sim.workspaces[shelf]))
    assert {p: p.read_bytes() for p in settings.archive.path.rglob("*") if p.is_file()} == before


async def test_wrong_credentials_end_the_run(sim: Simulator, shelf: str, settings: Settings):
    """The token endpoint refuses: exit code 7, and nothing is marked."""
    Path(settings.service.client_secret_file).write_text("another secret")

    with pytest.raises(Unauthorized):
        await back_up(settings)


async def test_a_disk_below_its_reserve_stops_the_run_and_keeps_what_is_there(
    sim: Simulator, configured: Callable[..., Settings]
):
    """Exit code 9; the next run with room goes on."""
    with pytest.raises(StorageFull):
        await back_up(configured(archive={"reserve": "1000TiB"}))

    assert (await back_up(configured(archive={"reserve": 0}))).result.complete


async def stopped_before(sim: Simulator, shelf: str, settings: Settings, last: str) -> None:
    """Back up, and cancel when every image but the `last` one has arrived, which hangs."""
    hanging, others_arrived = asyncio.Event(), asyncio.Event()
    sim.faults.on("content", faults.stall(hanging), image=last)
    arrived = 0

    def see(event: object) -> None:
        nonlocal arrived
        arrived += isinstance(event, PictureReceived)
        if arrived == len(sim.workspaces[shelf]) - 1:
            others_arrived.set()

    task = asyncio.create_task(back_up(settings, watch=see))
    await others_arrived.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    hanging.set()
    sim.faults.clear()


async def test_a_stopped_backup_keeps_what_was_finished(sim: Simulator, shelf: str, settings: Settings):
    """Cancelled in the middle: what had arrived is durable, and the next run goes on from there."""
    await stopped_before(sim, shelf, settings, sim.workspaces[shelf].ids[-1])

    assert len(rows(settings.archive.path, "images")) == len(sim.workspaces[shelf]) - 1
    (run,) = rows(settings.archive.path, "runs")
    assert not run["complete"]
    ran = await back_up(settings)
    assert (ran.report.new, ran.result.complete) == (1, True)


async def test_a_quick_pass_closes_the_hole_that_a_stopped_one_left(sim: Simulator, shelf: str, settings: Settings):
    """Known ground above a hole does not end a quick pass."""
    sim.workspaces[shelf].add_many(450)
    await stopped_before(sim, shelf, settings, sim.workspaces[shelf].ids[300])  # on the second page
    assert len(rows(settings.archive.path, "images")) == len(sim.workspaces[shelf]) - 1

    ran = await back_up(settings, quick=True)

    assert ran.result.complete
    assert len(rows(settings.archive.path, "images")) == len(sim.workspaces[shelf])


async def test_a_quick_pass_over_an_emptied_workspace_is_a_safety_stop(sim: Simulator, shelf: str, settings: Settings):
    """A quick pass judges no absence, but an empty answer is never "complete"."""
    await back_up(settings)
    for image in list(sim.workspaces[shelf].ids):
        sim.workspaces[shelf].delete(image)

    ran = await back_up(settings, quick=True)

    assert ran.result.exit_code == SafetyStop.exit_code
    assert rows(settings.archive.path, "images", "state = 'gone'") == []


@pytest.mark.parametrize("status", [400, 404, 422])
async def test_a_service_may_refuse_the_page_beyond_the_last(
    sim: Simulator, shelf: str, settings: Settings, status: int
):
    """With a full last page one more is asked for; that it is refused means neither lost access nor a failure."""
    sim.workspaces[shelf].add_many(200 - len(sim.workspaces[shelf]))
    sim.faults.on("listing", faults.status(status), page=2)

    for _ in range(2):
        ran = await back_up(settings)

        assert ran.result.complete, ran.report.why
        assert ran.report.listed == 200


async def test_pictures_that_keep_failing_are_owed_and_the_run_has_finished(
    sim: Simulator, shelf: str, configured: Callable[..., Settings]
):
    """Pictures that answer 500 for ever: exit code 3. When their documents fail as well, the service is down: 8."""
    settings = configured(limits={"retries": 0, "downloads": 1})
    for image in sim.workspaces[shelf].ids[-9:]:  # the last ones asked for, one after the other
        sim.faults.on("content", faults.status(500), image=image)

    ran = await back_up(settings)

    assert (ran.report.failed, ran.result.exit_code) == (9, 3)

    sim.faults.clear()
    sim.faults.on("content", faults.status(500))
    sim.faults.on("image", faults.reset())
    ran = await back_up(configured(limits={"retries": 0}, archive={"path": str(settings.archive.path) + "-2"}))

    assert (ran.report.failed, ran.result.exit_code) == (len(sim.workspaces[shelf]), 8)
