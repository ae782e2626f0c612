"""The daemon stays up through whatever goes wrong around it, says so once, and recovers by itself."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from daemon_parts import HOURLY, QUIET, Watched, looked_after
from support import CANARY, back_up, configure, settings_of

from syncer.archive.lock import held
from syncer.daemon.schedule import Job, Work
from syncer.errors import StorageFull
from syncer.operations import backup
from syncer.settings import Settings
from syncer.simulator import faults
from syncer.simulator.server import Options, Simulator

IMPATIENT = {"retries": 0, "retry_seconds": 20, "stall_seconds": 5}


@pytest.fixture
def settings(configured: Callable[..., Settings]) -> Settings:
    """A full pass an hour, nothing else, and each request tried once."""
    return configured(schedule=HOURLY, daemon=QUIET, limits=IMPATIENT)


@asynccontextmanager
async def well(settings: Settings, folder: Path, **options: Any) -> AsyncIterator[Watched]:
    """A daemon that has made its first pass."""
    async with looked_after(settings, folder / "run", **options) as watched:
        await watched.logs("pass.ended")
        await watched.rests()
        assert not watched.logged("daemon.degraded")
        yield watched


async def retried(watched: Watched, seconds: float) -> None:
    """Let a pause of so many seconds go by, and wait for what is tried then, and not before."""

    def tries() -> int:
        return sum(" pass begins" in text for text in watched.told)

    before = tries()
    await watched.pass_by(seconds=seconds - 1)
    await watched.rests()
    assert tries() == before
    await watched.pass_by(seconds=1)
    await watched.until(lambda: tries() > before)
    await watched.rests()


async def test_an_outage_of_the_service_is_told_once_and_ends_by_itself(tmp_path: Path):
    """Tried again after growing pauses; when the service is back, so are we, and one line says so."""
    async with AsyncExitStack() as stack:
        up = await stack.enter_async_context(AsyncExitStack())
        sim = await up.enter_async_context(Simulator.start(Options(images=6, client_secret=CANARY)))
        port = int(sim.url.split(":")[2].split("/")[0])
        path = configure(sim, tmp_path, schedule=HOURLY, daemon=QUIET, limits=IMPATIENT)
        async with well(settings_of(path), tmp_path) as watched:
            await up.aclose()
            await watched.pass_by(hours=1)
            (degraded,) = await watched.logs("daemon.degraded")
            await watched.rests()
            for seconds in (2, 4, 8):
                await retried(watched, seconds)
            assert watched.status.startswith("Degraded since ")
            assert (await watched.ask(ask="status"))["causes"] == ["service"]

            options = Options(port=port, images=6, client_secret=CANARY)
            sim = await up.enter_async_context(Simulator.start(options))
            await watched.pass_by(seconds=17)
            await watched.logs("daemon.recovered")
            await watched.rests()

            assert (degraded["cause"], degraded["level"]) == ("service", "warning")
            assert len(watched.logged("daemon.degraded")) == len(watched.logged("daemon.recovered")) == 1
            assert sim.counts["token"] == 1


async def test_refused_credentials_heal_without_a_reload(sim: Simulator, settings: Settings, tmp_path: Path):
    """The secret is fetched anew for the next try: whoever puts the right one into its file is done."""
    secret = tmp_path / "client_secret"
    async with well(settings, tmp_path) as watched:
        sim.expire_tokens()
        sim.faults.on("token", faults.status(401))
        await watched.pass_by(hours=1)
        (degraded,) = await watched.logs("daemon.degraded")
        await watched.rests()
        assert (degraded["cause"], degraded["level"]) == ("credentials", "error")

        secret.write_text("a new one")
        sim.faults.clear()
        sim.options.__dict__["client_secret"] = "a new one"  # it is frozen, and the service's mind has changed
        await watched.pass_by(seconds=3)
        await watched.logs("daemon.recovered")
    assert len(watched.logged("daemon.degraded")) == 1


@pytest.mark.parametrize("lost", ["marker", "everything"])
async def test_an_unmounted_disk_is_a_safety_stop_until_it_is_back(lost: str, settings: Settings, tmp_path: Path):
    """Nothing is made in its place, and no time is lost when it is back."""
    archive = settings.archive.path
    there = archive / "syncer-archive.json" if lost == "marker" else archive
    async with well(settings, tmp_path) as watched:
        there.rename(tmp_path / "elsewhere")
        await watched.pass_by(hours=1)
        (degraded,) = await watched.logs("daemon.degraded")
        await watched.rests()
        assert degraded["cause"] == "safety_stop"
        await retried(watched, 2)
        assert not there.exists()
        assert not (await watched.daemon.snapshot()).healthy

        (tmp_path / "elsewhere").rename(there)
        await watched.pass_by(seconds=5)
        await watched.logs("daemon.recovered")
    assert len(watched.logged("daemon.degraded")) == 1


async def test_another_archive_in_its_place_is_left_alone(
    sim: Simulator, settings: Settings, shelf: str, tmp_path: Path
):
    """Another disk was mounted there: nothing is copied into it, good as it may be."""
    archive, other = settings.archive.path, tmp_path / "other"
    await back_up(settings_of(configure(sim, other, [shelf])))
    async with well(settings, tmp_path) as watched:
        archive.rename(tmp_path / "elsewhere")
        (other / "archive").rename(archive)
        new = sim.workspaces[shelf].add()
        await watched.pass_by(hours=1)
        (degraded,) = await watched.logs("daemon.degraded")
        await watched.rests()

    assert degraded["reason"].startswith("another archive lies where ours was")
    assert not list(archive.rglob(f"{new}*"))


async def test_an_archive_that_somebody_else_writes_to_is_waited_for(settings: Settings, tmp_path: Path):
    """That is no trouble: the run is put off, and made when the other has ended."""
    async with well(settings, tmp_path) as watched:
        with held(settings.archive.path / ".staging" / "lock", command="verify", since="now"):
            await watched.pass_by(hours=1)
            await watched.logs("run.postponed")
            await watched.rests()
        await watched.pass_by(seconds=3)
        await watched.logs("pass.ended", 2)
        await watched.rests()
    assert not watched.logged("daemon.degraded")


async def test_an_incomplete_pass_is_made_again_three_times_before_its_time(
    sim: Simulator, shelf: str, settings: Settings, tmp_path: Path
):
    """After pauses that grow; then it waits for the schedule, like everybody who has been told."""
    sim.faults.on("content", faults.status(404), image=sim.workspaces[shelf].ids[0])
    async with looked_after(settings, tmp_path / "run") as watched:
        (degraded,) = await watched.logs("daemon.degraded")
        await watched.rests()
        assert (degraded["cause"], degraded["level"]) == ("incomplete", "warning")
        for seconds in (32, 64, 128):
            await retried(watched, seconds)
        assert len(watched.logged("pass.ended")) == 4
        await watched.pass_by(minutes=30)
        await watched.rests()
        assert len(watched.logged("pass.ended")) == 4

        sim.faults.clear()
        await watched.pass_by(hours=1)
        await watched.logs("daemon.recovered")
    assert len(watched.logged("daemon.degraded")) == 1
    assert len([line for line in watched.logged("image.failed") if line["level"] == "warning"]) == 1


async def test_a_good_run_of_one_workspace_does_not_heal_another(sim: Simulator, tmp_path: Path):
    """Where deletions wait for a person's word in one workspace, no pass over another may say that all is well."""
    one, two, *_ = sim.workspaces.values()
    safety = {"max_gone_items": 0, "max_gone_percent": 0}
    path = configure(sim, tmp_path, [one.id, two.id], schedule=HOURLY, daemon=QUIET, limits=IMPATIENT, safety=safety)
    async with well(settings_of(path), tmp_path) as watched:
        await watched.rests()
        one.delete(one.ids[0])
        (ended,) = await watched.daemon.ended([Job(Work.FULL, one.id)])
        assert ended.code == 5
        (ended,) = await watched.daemon.ended([Job(Work.FULL, two.id)])
        assert ended.code == 0

        assert not watched.logged("daemon.recovered")
        assert (await watched.ask(ask="status"))["causes"] == ["safety_stop"]

        one.restore(min(one._deleted))
        (ended,) = await watched.daemon.ended([Job(Work.FULL, one.id)])
        assert ended.code == 0
        assert len(watched.logged("daemon.recovered")) == 1


async def test_a_manifest_that_cannot_be_read_is_trouble_and_no_end(settings: Settings, tmp_path: Path):
    """What was known before is what is told meanwhile."""
    manifest = settings.archive.path / "manifest.db"
    async with well(settings, tmp_path) as watched:
        known = watched.daemon.account.known
        kept = manifest.read_bytes()
        manifest.write_bytes(os.urandom(4096))
        await watched.pass_by(hours=1)
        (degraded,) = await watched.logs("daemon.degraded")
        await watched.rests()
        assert degraded["cause"] == "archive"
        assert watched.daemon.account.known == known

        manifest.write_bytes(kept)
        await watched.pass_by(seconds=3)
        await watched.logs("daemon.recovered")


async def test_a_run_that_fails_after_its_passes_is_trouble(
    sim: Simulator, shelf: str, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Every workspace is complete, and yet it did not end well: nobody may take that for a good run."""
    keep_copy = backup.keep_copy

    async def full(*_: object) -> None:
        raise StorageFull("the disk is full")

    async with well(settings, tmp_path) as watched:
        sim.workspaces[shelf].add()
        monkeypatch.setattr(backup, "keep_copy", full)
        await watched.pass_by(hours=1)
        (degraded,) = await watched.logs("daemon.degraded")
        await watched.rests()
        assert (degraded["cause"], degraded["reason"]) == ("archive", "the disk is full")
        assert watched.logged("pass.ended")[-1]["complete"]

        monkeypatch.setattr(backup, "keep_copy", keep_copy)
        sim.workspaces[shelf].add()
        await watched.pass_by(seconds=3)
        await watched.logs("daemon.recovered")


async def test_the_clock_of_the_machine_may_jump(settings: Settings, tmp_path: Path):
    """A year forward, and back: it goes on making its passes, and says nothing that is not so."""
    async with well(settings, tmp_path) as watched:
        start = watched.time.now()
        await watched.time.move_to(start.replace(year=start.year + 1))
        await watched.logs("pass.ended", 2)
        await watched.rests()
        await watched.time.move_to(start)
        await watched.rests()
        await watched.pass_by(hours=2)
        await watched.logs("pass.ended", 3)
        await watched.rests()
    assert not watched.logged("daemon.degraded")


async def test_damage_found_does_not_hide_what_goes_wrong_later(
    sim: Simulator, configured: Callable[..., Settings], tmp_path: Path
):
    """Trouble that lasts may last for weeks: another kind of it is told all the same."""
    settings = configured(schedule=HOURLY | {"verify_parts": 1}, daemon=QUIET, limits=IMPATIENT)
    async with well(settings, tmp_path) as watched:
        with sqlite3.connect(settings.archive.path / "manifest.db") as db:
            (path,) = db.execute("select path from images limit 1").fetchone()
        db.close()
        (settings.archive.path / path).write_bytes(b"rot")
        assert (await watched.ask(ask="trigger", work="verify", wait=True))["exit_code"] == 4
        await watched.rests()

        sim.expire_tokens()
        sim.faults.on("token", faults.status(401))
        await watched.pass_by(hours=1)
        await watched.logs("daemon.degraded", 2)
        await watched.rests()

    assert [line["cause"] for line in watched.logged("daemon.degraded")] == ["damage", "credentials"]
