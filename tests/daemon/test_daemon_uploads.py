"""What is dropped into a watch folder reaches the service while the daemon runs, and is not forgotten meanwhile."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from daemon_parts import HOURLY, QUIET, Watched, looked_after
from notifier_parts import receiving
from support import back_up, configure, settings_of

from syncer.daemon.schedule import Job, Work
from syncer.errors import AlreadyRunning, ConfigError
from syncer.settings import Settings
from syncer.simulator import faults
from syncer.simulator.pictures import Picture
from syncer.simulator.server import Simulator

IMPATIENT = {"retries": 0, "retry_seconds": 20, "stall_seconds": 5}
USED_UP = faults.status(403, error="The quota of this workspace is used up", machine="QUOTA_EXCEEDED")
DONE, FAILED = Path(".syncer/done"), Path(".syncer/failed")


def picture(number: int = 0) -> bytes:
    return Picture(number, f"dropped {number}").render()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "drop"
    folder.mkdir()
    return folder


@pytest.fixture
def path(sim: Simulator, shelf: str, folder: Path, tmp_path: Path) -> Path:
    """One workspace with a watch folder, and a full pass an hour."""
    return written(sim, shelf, tmp_path, folder)


def written(sim: Simulator, shelf: str, place: Path, folder: Path | None, **tables: dict[str, Any]) -> Path:
    common: dict[str, Any] = {"schedule": HOURLY, "daemon": QUIET, "limits": IMPATIENT}
    path = configure(sim, place, [shelf], **common | tables)
    if folder is not None:
        path.write_text(f"{path.read_text()}\nwatch = {json.dumps(str(folder))}\nwatch_settle = 0.05\n")
    return path


@asynccontextmanager
async def well(path: Path, **options: Any) -> AsyncIterator[Watched]:
    """A daemon that has made its first pass, and watches."""
    settings: Settings = settings_of(path)
    async with looked_after(settings, path.parent / "run", load=lambda: settings_of(path), **options) as watched:
        await watched.logs("inbox.watched")
        if not options.get("only_uploads"):
            await watched.logs("pass.ended")
        await watched.rests()
        yield watched


def done(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / DONE).rglob("*") if path.is_file())


def drop(folder: Path, name: str, content: bytes) -> None:
    """Drop a file as a careful program does: complete under its name at once."""
    part = folder / f"{name}.part"
    part.write_bytes(content)
    part.rename(folder / name)


async def test_a_dropped_file_reaches_its_workspace_and_moves_aside(
    sim: Simulator, shelf: str, folder: Path, path: Path
):
    """Once; then it lies in .syncer/done, and the next pass brings its image down as any other."""
    async with well(path) as watched:
        before = len(sim.workspaces[shelf])
        drop(folder, "one.png", picture())
        await watched.until(lambda: done(folder) == ["one.png"])
        await watched.rests()
        assert len(sim.workspaces[shelf]) == before + 1
        assert [entry.name for entry in folder.iterdir()] == [".syncer"]
    assert not watched.logged("daemon.degraded")


async def test_what_was_dropped_while_nobody_watched_is_uploaded_at_the_start(
    sim: Simulator, shelf: str, folder: Path, path: Path
):
    """And the same content under another name is not sent again."""
    before = len(sim.workspaces[shelf])
    for name in ("one.png", "the same.png"):
        drop(folder, name, picture())

    async with well(path) as watched:
        await watched.until(lambda: done(folder) == ["one.png", "the same.png"])

    assert len(sim.workspaces[shelf]) == before + 1


async def test_what_is_no_picture_is_set_aside_with_the_reason(folder: Path, path: Path):
    """It is that file's failure, and not the daemon's."""
    async with well(path) as watched:
        drop(folder, "notes.png", b"only words")
        await watched.until(lambda: (folder / FAILED / "notes.png").exists())
        await watched.rests()
        assert json.loads((folder / FAILED / "notes.png.json").read_text())["reason"]
        assert not watched.logged("daemon.degraded")


async def test_a_service_that_is_away_is_waited_for(sim: Simulator, folder: Path, path: Path):
    """The file stays; the daemon says that it is degraded, tries again later, and says that all is well."""
    refused = sim.faults.on("upload", faults.status(429), times=1)
    async with well(path) as watched:
        drop(folder, "one.png", picture())
        await watched.logs("daemon.degraded")
        await watched.rests()
        assert (folder / "one.png").exists()
        assert refused.left == 0

        await watched.pass_by(seconds=3)
        await watched.until(lambda: done(folder) == ["one.png"])
        await watched.logs("daemon.recovered")


async def test_uploads_that_get_no_answer_do_not_keep_the_backup_waiting(sim: Simulator, folder: Path, path: Path):
    """Only the way up may be closed: the passes are made at their time, however often an upload was in vain."""
    sim.faults.on("upload", faults.status(429))
    async with well(path) as watched:
        drop(folder, "one.png", picture())
        await watched.logs("daemon.degraded")
        await watched.rests()
        passes = len(watched.logged("pass.ended"))

        for _ in range(8):
            await watched.pass_by(minutes=16)
            await watched.rests()

        assert len(watched.logged("pass.ended")) >= passes + 2


async def test_a_quota_pauses_uploads_until_the_next_day(sim: Simulator, folder: Path, path: Path):
    """One refusal is enough for all of the workspace's files; nothing is sent before midnight, and backups go on."""
    refusing = sim.faults.on("upload", USED_UP)
    async with well(path) as watched:
        for number in range(3):
            drop(folder, f"{number}.png", picture(number))
        await watched.until(lambda: watched.logged("daemon.degraded"))
        await watched.rests()
        (degraded,) = watched.logged("daemon.degraded")
        assert degraded["cause"] == "uploads"
        assert "uploads are paused until" in degraded["reason"]
        sent = refusing.hits
        now = watched.time.now()
        midnight = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)

        await watched.pass_by(seconds=(midnight - now).total_seconds() - 5)
        await watched.rests()
        assert refusing.hits == sent

        refusing.left = 0
        await watched.pass_by(seconds=10)
        await watched.until(lambda: len(done(folder)) == 3)


async def test_an_upload_that_waits_hides_no_backup_that_fails(sim: Simulator, folder: Path, path: Path):
    """Each is told of, whichever came first."""
    sim.faults.on("upload", USED_UP)
    async with well(path) as watched:
        drop(folder, "one.png", picture())
        await watched.logs("daemon.degraded")
        await watched.rests()
        sim.faults.on("content", faults.status(403))
        shelf = sim.workspaces[settings_of(path).workspaces[0].id]
        shelf.add()
        await watched.pass_by(hours=1)
        told = await watched.logs("daemon.degraded", 2)
        assert [one["cause"] for one in told] == ["uploads", "incomplete"]


async def test_a_person_may_try_before_the_next_day(sim: Simulator, folder: Path, path: Path):
    """By `syncer trigger`, or for the uploads alone."""
    refusing = sim.faults.on("upload", USED_UP)
    async with well(path) as watched:
        drop(folder, "one.png", picture())
        await watched.logs("daemon.degraded")
        await watched.rests()

        answer = await watched.ask(ask="trigger", work="upload", wait=True)
        assert answer["exit_code"] == 3
        assert "paused until" in answer["message"]
        refusing.left = 0
        answer = await watched.ask(ask="trigger", wait=True)
        assert (answer["exit_code"], done(folder)) == (0, ["one.png"])


async def test_a_folder_that_is_away_is_told_and_watched_when_it_is_back(folder: Path, path: Path):
    """Nobody finds out months later that nothing was watched."""
    folder.rmdir()
    async with well(path) as watched:
        await watched.logs("daemon.degraded")
        folder.mkdir()
        drop(folder, "one.png", picture())
        await watched.until(lambda: done(folder) == ["one.png"])
        await watched.logs("daemon.recovered")


async def test_a_folder_that_is_added_is_watched_at_once(sim: Simulator, shelf: str, folder: Path, tmp_path: Path):
    """By a reload; and one that is taken out is left alone."""
    path = written(sim, shelf, tmp_path, None)
    async with looked_after(settings_of(path), tmp_path / "run", load=lambda: settings_of(path)) as watched:
        await watched.logs("pass.ended")
        drop(folder, "one.png", picture())
        written(sim, shelf, tmp_path, folder)
        os.kill(os.getpid(), signal.SIGHUP)
        await watched.until(lambda: done(folder) == ["one.png"])
        await watched.rests()

        written(sim, shelf, tmp_path, None)
        os.kill(os.getpid(), signal.SIGHUP)
        await watched.logs("configuration.reloaded", 2)
        drop(folder, "two.png", picture(2))
        assert Job(Work.UPLOAD, shelf) not in watched.daemon.uploads


async def test_nothing_is_uploaded_while_paused(sim: Simulator, shelf: str, folder: Path, path: Path):
    """It waits for `syncer resume`."""
    async with well(path) as watched:
        await watched.ask(ask="pause")
        before = len(sim.workspaces[shelf])
        drop(folder, "one.png", picture())
        await watched.until(lambda: Job(Work.UPLOAD, shelf) in watched.daemon._queue)
        assert len(sim.workspaces[shelf]) == before
        await watched.ask(ask="resume")
        await watched.until(lambda: done(folder) == ["one.png"])


async def test_an_upload_is_no_sign_of_life_of_the_backup(sim: Simulator, shelf: str, folder: Path, tmp_path: Path):
    """Whoever is asked at each run waits for backups."""
    async with receiving() as receiver:
        path = written(sim, shelf, tmp_path, folder, notify={"ping_url": receiver.url})
        async with well(path) as watched:
            drop(folder, "one.png", picture())
            await watched.until(lambda: done(folder) == ["one.png"])
            await watched.rests()
    assert len(receiver.got) == 2  # the start of the pass, and its end


async def test_watching_alone_leaves_the_backup_to_others(sim: Simulator, shelf: str, folder: Path, path: Path):
    """`syncer watch` makes no pass of its own, and a backup may be made beside it; a second watcher may not."""
    async with well(path, only_uploads=True) as watched:
        drop(folder, "one.png", picture())
        await watched.until(lambda: done(folder) == ["one.png"])
        await watched.rests()
        assert not watched.logged("pass.began")

        assert (await back_up(settings_of(path))).result.complete
        for only in (True, False):
            with pytest.raises(AlreadyRunning):
                async with looked_after(settings_of(path), path.parent / "other", only_uploads=only):
                    pass


async def test_watching_without_a_folder_is_a_mistake(sim: Simulator, shelf: str, tmp_path: Path):
    """It would wait for ever for nothing."""
    path = written(sim, shelf, tmp_path, None)
    with pytest.raises(ConfigError, match="no workspace has a folder to watch"):
        async with looked_after(settings_of(path), tmp_path / "run", only_uploads=True):
            pass
