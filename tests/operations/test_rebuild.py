"""`rebuild`: the manifest from sidecars and journal alone, equal row for row to the one it replaces."""

from __future__ import annotations

import fcntl
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from rebuilding import rebuilt, tables
from support import back_up, pictures, rows
from verifying import recorded, verified

from syncer.errors import AlreadyRunning, ArchiveUnwritable, SafetyStop
from syncer.manifest.manifest import Manifest
from syncer.model import Harm
from syncer.operations.verification import Part
from syncer.settings import Settings
from syncer.simulator import faults
from syncer.simulator.server import Simulator


async def test_it_equals_the_manifest_it_replaces(archive: Path):
    """After changes, deletions, returns and failures each row of each table is as it was; the old one is kept."""
    for options in ({}, {"quick": True}, {"part": Part(2, 3)}):
        await recorded(archive, **options)
    before = tables(archive)
    assert [row["parts"] for row in rows(archive, "verifications")] == [1, 1, 3]
    assert {row["state"] for row in before["images"]} == {"live", "gone"}
    assert max(row["revision"] for row in before["images"]) > 1
    assert before["failures"][0]["attempts"] == 2
    old = (archive / "manifest.db").read_bytes()

    result, findings = await rebuilt(archive)

    assert findings == []
    assert tables(archive) == before
    assert (archive / str(result.evidence) / "manifest.db").read_bytes() == old
    assert (await verified(archive)).told == []


async def test_it_needs_no_manifest(archive: Path):
    """Only the statistics of runs stand nowhere else."""
    before = tables(archive, "runs")
    for path in archive.glob("manifest.db*"):
        path.unlink()
    result, _ = await rebuilt(archive)
    assert tables(archive, "runs") == before
    assert result.evidence is None
    assert (await verified(archive)).told == []


async def test_a_log_without_its_manifest_is_not_read_into_the_new_one(archive: Path):
    """It is all that is left of the old one: kept as evidence."""
    database = archive / "manifest.db"
    log = archive / "manifest.db-wal"
    async with Manifest.open(database) as manifest:  # a reader keeps the log from being folded in
        with closing(sqlite3.connect(database)) as reader:
            reader.execute("begin").execute("select count(*) from images").fetchone()
            await manifest.bind(str(await manifest.archive_id()), "1999-01-01T00:00:00Z")
            left = log.read_bytes()
    before = tables(archive, "runs")
    database.unlink()
    log.write_bytes(left)

    result, _ = await rebuilt(archive)

    assert tables(archive, "runs") == before
    assert (archive / str(result.evidence) / log.name).read_bytes() == left
    assert (await verified(archive)).told == []


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
async def test_a_damaged_manifest_is_replaced(archive: Path, damage: bytes | None):
    """Whatever is in its place, it is set aside, and its log is not read into the new one."""
    before = tables(archive, "runs")
    path = archive / "manifest.db"
    path.write_bytes(damage if damage is not None else path.read_bytes()[:8192] + b"\xff" * 50_000)
    (archive / "manifest.db-wal").write_bytes(b"x" * 5000)
    result, _ = await rebuilt(archive)
    assert tables(archive, "runs") == before
    assert (archive / str(result.evidence) / "manifest.db-wal").exists()


async def test_it_goes_on_from_there(archive: Path, settings: Settings, sim: Simulator, shelf: str):
    """A backup after a rebuild finds everything unchanged, and an older manifest learns what it had missed."""
    await back_up(settings)
    older = (settings.archive.path / "manifest.db").read_bytes()
    sim.workspaces[shelf].add()
    sim.faults.on("content", faults.status(404), image=sim.workspaces[shelf].add())
    sim.workspaces[shelf].delete(sim.workspaces[shelf].ids[5])
    await back_up(settings)
    before, files = tables(settings.archive.path, "runs"), pictures(settings.archive.path)
    (settings.archive.path / "manifest.db").write_bytes(older)

    await rebuilt(settings.archive.path)

    assert tables(settings.archive.path, "runs") == before
    sim.counts.clear()
    ran = await back_up(settings)
    assert (ran.report.new, ran.report.changed, ran.report.gone) == (0, 0, 0)
    assert pictures(settings.archive.path).items() >= files.items()


async def test_an_older_manifest_catches_up_by_itself(sim: Simulator, shelf: str, settings: Settings):
    """What the journal tells beyond a manifest that was put back is written before anything is asked."""
    await back_up(settings)
    archive = settings.archive.path
    older = (archive / "manifest.db").read_bytes()
    sim.workspaces[shelf].repaint(sim.workspaces[shelf].ids[0])
    sim.workspaces[shelf].delete(sim.workspaces[shelf].ids[1])
    await back_up(settings)
    before = tables(archive, "runs")
    (archive / "manifest.db").write_bytes(older)
    ran = await back_up(settings)
    assert (ran.report.changed, ran.report.gone) == (0, 0)
    assert tables(archive, "runs") == before


async def test_pairs_of_which_nothing_tells_are_taken_up(archive: Path):
    """Without any journal the sidecars alone make the rows, and a new journal tells of them."""
    before = tables(archive, "runs", "failures", "workspaces")
    shutil.rmtree(archive / "journal")
    (archive / "manifest.db").unlink()

    result, findings = await rebuilt(archive)

    assert findings == []
    after = tables(archive, "runs", "failures", "workspaces")
    assert result.found == len(after["revisions"])
    assert after["revisions"] == before["revisions"]
    for row in (*before["images"], *after["images"]):
        row.pop("state"), row.pop("gone_since")  # who deleted what, only the journal knew
        if row["revision"] > 1:
            row.pop("revision"), row.pop("first_seen")
    assert {row["hole"] for row in rows(archive, "workspaces")} == {1}  # known ground proves nothing now
    assert (await verified(archive)).told == []


async def test_what_it_cannot_believe_it_tells(archive: Path):
    """A damaged sidecar costs its own row; a line of the journal that was changed closes no hole."""
    row = rows(archive, "images", "revision = 1 and state = 'live'")[0]
    (archive / row["sidecar"]).write_bytes(b"{}")
    result, findings = await rebuilt(archive)
    assert [(finding.harm, finding.path) for finding in findings] == [(Harm.SIDECAR, row["sidecar"])]
    assert result.problems == 1
    assert row["image_id"] not in {image["image_id"] for image in rows(archive, "images")}

    last = max((archive / "journal").iterdir())
    last.write_bytes(last.read_bytes().replace(b'"n":0', b'"n":1', 1))
    _, findings = await rebuilt(archive)
    assert Harm.CHAIN in {finding.harm for finding in findings}
    assert {row["hole"] for row in rows(archive, "workspaces")} == {1}


async def test_stopped_halfway_it_leaves_the_old_one(archive: Path, monkeypatch: pytest.MonkeyPatch):
    """Until the new one is whole the old one stays; the next try begins anew."""
    before = tables(archive)

    async def full(*_: object) -> None:
        raise ArchiveUnwritable("full")

    with monkeypatch.context() as patched:
        patched.setattr(Manifest, "check", full)
        with pytest.raises(ArchiveUnwritable):
            await rebuilt(archive)
    assert tables(archive) == before
    assert (archive / "manifest.db.new").exists()
    assert {harm for harm, _ in (await verified(archive)).told} <= {"behind"}
    await rebuilt(archive)
    assert tables(archive) == before
    assert not [*archive.glob("manifest.db.new*")]


async def test_it_refuses_what_would_lose_something(archive: Path, configured, tmp_path: Path):
    """Without a marker, without sidecars, without an archive, or while another process holds it."""
    with (archive / ".staging" / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(AlreadyRunning):
            await rebuilt(archive)
    (archive / "syncer-archive.json").unlink()
    with pytest.raises(SafetyStop):
        await rebuilt(archive)
    with pytest.raises(SafetyStop):
        await rebuilt(tmp_path / "nowhere")
    bare = configured(archive={"sidecars": False, "path": str(tmp_path / "bare")})
    await back_up(bare)
    with pytest.raises(SafetyStop):
        await rebuilt(tmp_path / "bare")
