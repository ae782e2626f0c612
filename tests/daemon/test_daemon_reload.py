"""A changed configuration is taken on as a whole or not at all, and never in the middle of a run."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from daemon_parts import HOURLY, QUIET, Watched, looked_after
from notifier_parts import receiving
from support import configure, settings_of

from syncer.daemon.schedule import Job, Work
from syncer.simulator import faults
from syncer.simulator.server import Simulator

IMPATIENT = {"retries": 0, "retry_seconds": 20, "stall_seconds": 5}

Write = Callable[..., Path]


@pytest.fixture
def write(sim: Simulator, shelf: str, tmp_path: Path) -> Write:
    """Write the configuration anew: the first workspace alone, if not told otherwise."""

    def write(workspaces: tuple[str, ...] = (shelf,), **tables: dict[str, Any]) -> Path:
        common: dict[str, Any] = {"schedule": HOURLY, "daemon": QUIET, "limits": IMPATIENT}
        return configure(sim, tmp_path, workspaces, **common | tables)

    return write


@asynccontextmanager
async def well(path: Path) -> AsyncIterator[Watched]:
    """A daemon that has made its first pass, and reads this file again when told to."""
    runtime = path.parent / "run"
    async with looked_after(settings_of(path), runtime, load=lambda: settings_of(path)) as watched:
        await watched.logs("pass.ended")
        await watched.until(lambda: watched.told[-1].startswith("STATUS=Idle; last good run "))
        watched.told.clear()
        yield watched


async def test_a_workspace_that_is_added_is_copied_at_once(sim: Simulator, shelf: str, write: Write):
    """By SIGHUP; the service manager is told when it began and when it was done."""
    _, other, *_ = sim.workspaces
    async with well(write()) as watched:
        write((shelf, other))
        os.kill(os.getpid(), signal.SIGHUP)
        await watched.logs("pass.ended", 2)
        await watched.rests()

    assert watched.logged("pass.ended")[1]["workspace"] == other
    assert watched.told[0].startswith("RELOADING=1\n")
    assert watched.told[1].startswith("READY=1\n")


async def test_a_signal_that_comes_too_early_is_followed_later(write: Write):
    """By default it would end the process, and service managers are quick."""

    def send() -> None:
        for number in (signal.SIGHUP, signal.SIGUSR1):
            assert signal.getsignal(number) is not signal.SIG_DFL
            os.kill(os.getpid(), number)

    async with looked_after(settings_of(write()), write().parent / "run", begun=send) as watched:
        await watched.logs("configuration.reloaded")
        await watched.logs("pass.ended")
        assert watched.told[0].startswith("READY=1\n")


async def test_a_full_pass_can_be_asked_for_by_a_signal(write: Write):
    """SIGUSR1, for those who have no other way."""
    async with well(write()):
        pass
    async with looked_after(settings_of(write()), write().parent / "run") as watched:
        os.kill(os.getpid(), signal.SIGUSR1)
        await watched.logs("pass.ended")


@pytest.mark.parametrize("mistake", ["syntax", "value", "secret", "ca_file", "archive"])
async def test_a_configuration_that_cannot_be_used_is_refused_as_a_whole(
    mistake: str, sim: Simulator, shelf: str, write: Write, tmp_path: Path
):
    """The old one stays in force, the status says so, and no line of the new one counts."""
    _, other, *_ = sim.workspaces
    service = {"content_origins": [sim.store_url]}
    broken: dict[str, dict[str, Any]] = {
        "syntax": {},
        "value": {"limits": {"downloads": "many"}},
        "secret": {"service": {**service, "client_secret_file": str(tmp_path / "nowhere")}},
        "ca_file": {"service": {**service, "ca_file": str(tmp_path / "nowhere")}},
        "archive": {"archive": {"path": str(tmp_path / "another")}},
    }
    async with well(write()) as watched:
        before = watched.daemon.settings
        path = write((shelf, other), **broken[mistake])
        if mistake == "syntax":
            path.write_text("[[")
        await watched.daemon.reload()
        (refused,) = await watched.logs("configuration.refused")
        assert watched.daemon.settings is before
        await watched.until(lambda: len(watched.told) == 2)
        assert watched.status.startswith("The changed configuration was refused: ")
        assert watched.told[-1].startswith("READY=1\n")
        await watched.pass_by(hours=1)
        await watched.logs("pass.ended", 2)
        await watched.rests()

        write((shelf, other))
        await watched.daemon.reload()
        await watched.logs("pass.ended", 3)
        await watched.rests()
        await watched.until(lambda: "refused" not in watched.status)

    assert refused["level"] == "error"
    assert [line["workspace"] for line in watched.logged("pass.ended")] == [shelf, shelf, other]
    assert not (tmp_path / "another").exists()


async def test_a_changed_schedule_counts_from_then_on(write: Write):
    """What was due in an hour is due in a day."""
    async with well(write()) as watched:
        write(schedule=HOURLY | {"full": "1d"})
        await watched.daemon.reload()
        await watched.pass_by(hours=2)
        await watched.rests()
        assert len(watched.logged("pass.began")) == 1
        await watched.pass_by(days=1)
        await watched.logs("pass.ended", 2)


async def test_what_only_a_restart_can_change_is_said(write: Write):
    """The rest of the file counts all the same."""
    async with well(write()) as watched:
        write(daemon={"listen": "127.0.0.1:0"}, schedule=HOURLY | {"jitter": 7})
        await watched.daemon.reload()
        named = {line["setting"] for line in watched.logged("configuration.needs_restart")}
        assert "daemon" in named


async def test_who_is_notified_changes_without_a_gap(sim: Simulator, write: Write):
    """A run that ends while the old receiver still hangs is told to the new one."""
    came, go = asyncio.Event(), asyncio.Event()

    async def wait(_request: object) -> None:
        came.set()
        await go.wait()

    async with receiving() as old, receiving() as new, well(write(notify={"ping_url": f"{old.url}/old"})) as watched:
        old.hang = "/old"
        sim.faults.on("listing", faults.before(wait), times=1)
        await watched.ask(ask="trigger")
        await came.wait()
        await old.reached.wait()  # that the run began hangs there
        write(notify={"ping_url": f"{new.url}/new"})
        reloading = asyncio.create_task(watched.daemon.reload())
        await watched.until(lambda: watched.daemon._telling._notifier._settings.ping_url.reveal().endswith("/new"))
        go.set()
        await watched.logs("pass.ended", 2)
        await watched.rests()
        old.released.set()
        await reloading
        assert watched.logged("configuration.reloaded")

    assert old.paths() == ["/old/start", "/old", "/old/start"]
    assert new.paths() == ["/new"]


async def test_a_run_under_way_keeps_the_settings_that_it_began_with(sim: Simulator, shelf: str, write: Write):
    """It is finished as it was begun; the next one knows the new ones."""
    _, other, *_ = sim.workspaces
    came, go = asyncio.Event(), asyncio.Event()

    async def wait(_request: object) -> None:
        came.set()
        await go.wait()

    sim.faults.on("listing", faults.before(wait), workspace=shelf, times=1)
    path = write((shelf, other))
    async with looked_after(settings_of(path), path.parent / "run", load=lambda: settings_of(path)) as watched:
        await came.wait()
        write((shelf,), limits=IMPATIENT | {"downloads": 1})
        began_with = watched.daemon._worker.settings
        await watched.daemon.reload()
        assert watched.daemon._worker.settings is began_with
        go.set()
        await watched.logs("pass.ended", 2)
        await watched.rests()
        await watched.pass_by(hours=1)
        await watched.logs("pass.ended", 3)
        await watched.rests()
        assert watched.daemon._worker.settings.limits.downloads == 1

    assert [line["workspace"] for line in watched.logged("pass.ended")] == [*sorted([shelf, other]), shelf]
    assert not watched.logged("daemon.degraded")


async def test_who_waits_for_a_workspace_that_vanishes_from_the_configuration_is_told(
    sim: Simulator, shelf: str, write: Write
):
    """What was queued for it is not done, and keeps nothing else from being done."""
    _, other, *_ = sim.workspaces
    came, go = asyncio.Event(), asyncio.Event()

    async def wait(_request: object) -> None:
        came.set()
        await go.wait()

    async with well(write((shelf, other))) as watched:
        sim.faults.on("listing", faults.before(wait), workspace=shelf, times=1)
        await watched.ask(ask="trigger", workspaces=[shelf])
        await came.wait()
        waiting = asyncio.create_task(watched.ask(ask="trigger", workspaces=[other], wait=True))
        await watched.ask(ask="trigger", workspaces=[other, shelf], work="quick")
        await watched.until(lambda: watched.daemon._waiting)
        write((shelf,))
        await watched.daemon.reload()
        answer = await waiting
        go.set()
        await watched.logs("pass.ended", 4)
        await watched.rests()

    assert answer["exit_code"] == 2
    assert [line["workspace"] for line in watched.logged("pass.ended")[2:]] == [shelf, shelf]
    assert not watched.logged("daemon.degraded")


async def test_trouble_with_a_workspace_ends_with_its_entry(sim: Simulator, shelf: str, write: Write):
    """Also if the run that fails for it ends only after that: nobody is to repair what nobody wants any more."""
    _, other, *_ = sim.workspaces
    came, go = asyncio.Event(), asyncio.Event()

    async def hang(_request: object) -> None:
        came.set()
        await go.wait()

    async with well(write((shelf, other))) as watched:
        sim.workspaces[other].accessible = False
        (ended,) = await watched.daemon.ended([Job(Work.FULL, other)])
        assert ended.code == 5
        await watched.logs("daemon.degraded")
        outage = faults.both(faults.before(hang), faults.status(503))  # which would be tried again
        sim.faults.on("listing", outage, workspace=other)
        await watched.ask(ask="trigger", workspaces=[other])
        await came.wait()
        write((shelf,))
        await watched.daemon.reload()
        await watched.logs("daemon.recovered")
        go.set()
        await watched.rests()
        assert (await watched.ask(ask="status"))["causes"] == []
        await watched.pass_by(hours=1)
        await watched.rests()

    assert len(watched.logged("daemon.degraded")) == 1


async def test_every_workspace_but_one_with_an_entry_of_its_own(sim: Simulator, shelf: str, write: Write):
    """`*` beside an id: both are passed over once, and can be asked for by id, by name, or as `*`."""
    reachable = [one.id for one in sim.workspaces.values() if one.accessible]
    others = [one for one in reachable if one != shelf]
    async with well(write(("*", shelf))) as watched:
        await watched.logs("pass.ended", len(reachable))
        await watched.rests()
        assert sorted(line["workspace"] for line in watched.logged("pass.ended")) == sorted(reachable)
        for meant in ("*", others[0], sim.workspaces[others[0]].name):
            watched.lines.clear()
            answer = await watched.ask(ask="trigger", workspaces=[meant], wait=True)
            assert answer["exit_code"] == 0
            passed = {line["workspace"] for line in watched.logged("pass.ended")}
            assert passed == (set(others) if meant == "*" else {others[0]})

        # What fails for one of many is over when that one is well again.
        sim.faults.on("content", faults.status(404), image=(new := sim.workspaces[others[0]].add()))
        assert (await watched.ask(ask="trigger", workspaces=["*"], wait=True))["exit_code"] == 3
        sim.faults.clear()
        assert (await watched.ask(ask="trigger", workspaces=["*"], wait=True))["exit_code"] == 0
        assert (await watched.ask(ask="status"))["causes"] == []
        assert new
