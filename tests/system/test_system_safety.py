"""Absence is not deletion, and an archive that is not what we left is not touched."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from pathlib import Path

import pytest
from aiohttp import web
from outside import Make, Outside, whole
from support import CANARY, pictures, syncer

from syncer.simulator import faults
from syncer.simulator.server import Simulator

# --- deletions ----------------------------------------------------------------------------------------


async def test_many_deletions_need_a_persons_word(sim: Simulator, shelf: str, make: Make):
    """More than both limits: 5, nothing marked, what is new is copied all the same; --accept-deletions marks them."""
    outside = make(safety={"max_gone_items": 2, "max_gone_percent": 10})
    assert (await outside.backup()).code == 0
    lost = sim.workspaces[shelf].ids[:5]
    for image in lost:
        sim.workspaces[shelf].delete(image)
    fresh = sim.workspaces[shelf].add()
    kept = pictures(outside.archive)

    braked = await outside.backup()

    assert braked.code == 5
    assert braked.counts["new"] == 1
    assert "--accept-deletions" in braked.err
    assert outside.images("state = 'gone'") == {}
    assert fresh in outside.images()

    accepted = await outside.backup("--accept-deletions")

    assert (accepted.code, accepted.counts["gone"]) == (0, len(lost))
    assert set(outside.images("state = 'gone'")) == set(lost)
    assert kept.items() <= pictures(outside.archive).items()


async def test_an_emptied_workspace_is_5_however_small_it_was(sim: Simulator, shelf: str, outside: Outside):
    """One image held, none listed: the brake holds."""
    for image in sim.workspaces[shelf].ids[1:]:
        sim.workspaces[shelf].delete(image)
    assert (await outside.backup()).code == 0
    sim.workspaces[shelf].delete(sim.workspaces[shelf].ids[0])

    ran = await outside.backup()

    assert (ran.code, ran.counts) == (5, {})
    assert outside.images("state = 'gone'") == {}


@pytest.mark.slow
async def test_lost_permission_is_5_in_each_of_its_forms(sim: Simulator, shelf: str, make: Make):
    """403 for the workspace, 404 for it, a star that does not show it any more: never an emptied workspace."""
    outside = make()
    assert (await outside.backup()).code == 0
    for action in (faults.status(403), faults.status(404)):
        sim.faults.on("listing", action)
        ran = await outside.backup()
        assert (ran.code, outside.images("state = 'gone'")) == (5, {})
        sim.faults.clear()
    sim.workspaces[shelf].accessible = False
    outside.config.write_text(outside.config.read_text().replace(f'"{shelf}"', '"*"'))

    ran = await outside.backup()

    assert ran.code == 5
    assert outside.images("state = 'gone'") == {}


async def test_a_listing_that_leaves_out_and_a_service_that_fails_mark_nothing(
    sim: Simulator, shelf: str, outside: Outside
):
    """Absent from the listing, but 500 for the id: neither gone nor complete."""
    assert (await outside.backup()).code == 0
    hidden = sim.workspaces[shelf].ids[4]
    sim.workspaces[shelf].delete(hidden)
    sim.faults.on("image", faults.status(500), image=hidden)

    ran = await outside.backup()

    assert ran.code == 3
    assert outside.images("state = 'gone'") == {}


# --- the archive is not what we left ------------------------------------------------------------------


@pytest.mark.slow
async def test_a_missing_marker_is_5_for_every_command_and_changes_nothing(sim: Simulator, outside: Outside):
    """A manifest without its marker: an unmounted or exchanged disk; nothing is asked, nothing written."""
    assert (await outside.backup()).code == 0
    (outside.archive / "syncer-archive.json").unlink()
    before = pictures(outside.archive)
    sim.counts.clear()

    ran = await outside.backup()

    assert ran.code == 5
    assert "syncer-archive.json" in ran.err
    assert [(await outside(command)).code for command in ("status", "list")] == [5, 5]
    assert (await outside("check")).code == 5
    assert sim.counts["content"] == 0
    assert pictures(outside.archive) == before
    assert not (outside.archive / "syncer-archive.json").exists()


@pytest.mark.slow
async def test_a_manifest_that_is_damaged_newer_or_missing_is_not_replaced(sim: Simulator, outside: Outside):
    """9 with what to do, 2 for a newer syncer's, 5 where it is gone: never a fresh, empty one."""
    assert (await outside.backup()).code == 0
    manifest = outside.archive / "manifest.db"
    good = manifest.read_bytes()
    damaged = good[:100] + bytes(len(good) - 100)
    manifest.write_bytes(damaged)
    for command in ("backup", "status", "list"):
        ran = await outside(command)
        assert (ran.code, "rebuild" in ran.err) == (9, True), (command, ran.err)
    assert manifest.read_bytes() == damaged

    manifest.write_bytes(good)
    with sqlite3.connect(manifest) as db:
        db.execute("pragma user_version = 999")
    db.close()
    ran = await outside.backup()
    assert (ran.code, "newer" in ran.err) == (2, True)

    for file in outside.archive.glob("manifest.db*"):
        file.unlink()
    for command in ("backup", "status"):
        ran = await outside(command)
        assert (ran.code, "rebuild" in ran.err) == (5, True), (command, ran.err)
    assert not manifest.exists()


async def test_looking_at_a_newer_manifest_is_2(sim: Simulator, outside: Outside):
    """What a newer syncer wrote is refused by those who only look as well, rather than misread."""
    assert (await outside.backup()).code == 0
    with sqlite3.connect(outside.archive / "manifest.db") as db:
        db.execute("pragma user_version = 999")
    db.close()

    assert (await outside("status")).code == 2


async def test_a_manifest_of_another_archive_is_5(sim: Simulator, outside: Outside, tmp_path: Path):
    """Marker and manifest name different archives: two disks have been mixed up."""
    assert (await outside.backup()).code == 0
    shutil.move(outside.archive, tmp_path / "first")
    assert (await outside.backup()).code == 0
    for name in ("manifest.db",):
        shutil.copy(tmp_path / "first" / name, outside.archive / name)

    ran = await outside.backup()

    assert ran.code == 5


async def test_a_file_that_vanished_from_the_archive_is_not_called_deleted_at_the_service(
    sim: Simulator, outside: Outside
):
    """A backup trusts its rows; but nothing it does makes the loss worse, and no row is marked gone."""
    assert (await outside.backup()).code == 0
    row = next(iter(outside.images().values()))
    (outside.archive / row["path"]).unlink()

    ran = await outside.backup()

    assert ran.counts.get("gone", 0) == 0
    assert outside.images("state = 'gone'") == {}


# --- one at a time ------------------------------------------------------------------------------------


async def test_a_second_process_is_6_and_names_the_holder(sim: Simulator, shelf: str, outside: Outside):
    """While one backs up, another one refuses and says whose process it is; looking is still possible."""
    held, go_on = asyncio.Event(), asyncio.Event()

    async def hold(_: web.Request) -> None:
        held.set()
        await go_on.wait()

    outside.change("limits.stall_seconds", 120)  # on a slow machine the others take their time
    sim.faults.on("listing", faults.before(hold), times=1)
    async with outside.started("backup", "--json") as first:
        await asyncio.wait_for(held.wait(), 30)
        second = await outside.backup()
        looked = [(await outside(command)).code for command in ("status", "list")]
        go_on.set()
        done = await outside.end(first)

    assert second.code == 6
    assert str(first.pid) in second.err
    assert looked == [0, 0]
    assert done.code == 0
    assert not second.summary["complete"]


async def test_three_that_start_together_do_not_meet_in_one_archive(sim: Simulator, outside: Outside):
    """On a folder that does not exist yet: each ends with 0 or 6, one at least with 0, and the archive is one."""
    ran = await asyncio.gather(*(outside.backup() for _ in range(3)))

    assert {one.code for one in ran} <= {0, 6}
    assert 0 in {one.code for one in ran}
    whole(outside)


async def test_a_workspace_that_gets_a_name_keeps_its_folder(sim: Simulator, shelf: str, outside: Outside):
    """Naming or renaming a workspace in the configuration copies nothing twice."""
    assert (await outside.backup()).code == 0
    before = whole(outside)
    text = outside.config.read_text()
    for name in ("brand", "other"):
        outside.config.write_text(f'{text}\nname = "{name}"\n')
        ran = await outside.backup(name)
        assert (ran.code, ran.counts) == (0, {"unchanged": len(sim.workspaces[shelf])})
    assert whole(outside) == before


async def test_without_sidecars_the_manifest_alone_remembers(sim: Simulator, shelf: str, make: Make):
    """`sidecars = false`: pictures only, changes are revisions all the same, and a second run has nothing to do."""
    outside = make(archive={"sidecars": False})
    assert (await outside.backup()).code == 0
    image, other = sim.workspaces[shelf].ids[:2]
    sim.workspaces[shelf].change(image, prompt="another one")
    sim.workspaces[shelf].repaint(other)

    changed = await outside.backup()
    again = await outside.backup()

    assert (changed.code, changed.counts["changed"]) == (0, 2)
    assert (again.code, again.counts) == (0, {"unchanged": len(sim.workspaces[shelf])})
    assert [path.name for path in outside.archive.rglob("*.json")] == ["syncer-archive.json"]


# --- configuration ------------------------------------------------------------------------------------


def test_all_mistakes_are_told_at_once_and_no_value_of_a_secret(tmp_path: Path):
    """Unknown keys with a suggestion, wrong types, a missing table: one run, exit 2, each with its path."""
    config = tmp_path / "syncer.toml"
    config.write_text(
        f"""
        [service]
        url = "not a url"
        client_secret = "{CANARY}"
        tokenurl = "{CANARY}"
        [archive]
        reserve = "many"
        [limits]
        dowloads = 3
        retries = -1
        stall_seconds = "soon"
        [safety]
        max_gone_percent = 1000
        [schedule]
        full = "whenever"
        [nonsense]
        [[workspaces]]
        id = 5
        """
    )
    try:
        ran = syncer("--config", config, "backup", "--json")
    finally:
        config.unlink()

    assert ran.returncode == 2
    for told in (
        "service.url",
        "service.client_secret",
        "service.tokenurl",
        "archive.path",
        "archive.reserve",
        "limits.dowloads",
        "limits.downloads",
        "limits.retries",
        "limits.stall_seconds",
        "safety.max_gone_percent",
        "schedule.full",
        "nonsense",
        "workspaces[0].id",
    ):
        assert told in ran.stderr, told
    assert CANARY not in ran.stderr + ran.stdout


@pytest.mark.slow
async def test_a_bad_secret_file_or_no_configuration_is_2(outside: Outside, tmp_path: Path):
    """Readable by others, missing, empty; a configuration that is not there, is not TOML or not UTF-8."""
    secret = tmp_path / "client_secret"
    secret.chmod(0o644)
    ran = await outside.backup()
    assert ran.code == 2
    assert "chmod" in ran.err
    secret.chmod(0o600)
    secret.write_text("\n")
    assert (await outside.backup()).code == 2
    secret.unlink()
    assert (await outside.backup()).code == 2
    assert not outside.archive.exists()
    outside.config.write_bytes(b'[service]\nurl = "\xff"')
    assert (await outside.backup()).code == 2
    outside.config.write_text("[service\n")
    assert (await outside.backup()).code == 2
    outside.config.unlink()
    ran = await outside.backup()
    assert ran.code == 2
    assert "syncer init" in ran.err or str(outside.config) in ran.err


@pytest.mark.slow
async def test_the_command_line_is_stronger_than_the_environment_than_the_file(
    sim: Simulator, shelf: str, outside: Outside, tmp_path: Path
):
    """`--set` over `SYNCER_…` over the file; an unknown variable and an unknown option are told."""
    env = {"SYNCER_ARCHIVE__PATH": str(tmp_path / "from-environment")}
    assert (await outside.backup(env=env)).code == 0
    assert (tmp_path / "from-environment" / "manifest.db").exists()

    ran = await outside("--set", f"archive.path={tmp_path / 'from-command'}", "status", env=env)
    assert ran.code == 0
    assert not (tmp_path / "from-command").exists()

    ran = await outside("status", env={"SYNCER_LIMITS__DOWLOADS": "3"})
    assert "DOWLOADS" in ran.err
    for arguments in (("backup", "--colour"), ("bakcup",), ("--set", "limits.downloads", "status")):
        assert (await outside(*arguments)).code == 2


async def test_a_workspace_on_the_command_line_has_to_be_known(sim: Simulator, shelf: str, outside: Outside):
    """An unknown one is 2, with a suggestion and before anything is copied; one given twice is one pass."""
    ran = await outside.backup(shelf[:-2])
    assert (ran.code, shelf in ran.err) == (2, True)
    assert sim.counts["content"] == 0

    ran = await outside.backup(shelf, shelf)
    assert (ran.code, len(ran.summary["workspaces"])) == (0, 1)
