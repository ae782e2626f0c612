"""The daemon does what is due, one run at a time, and what people ask for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from daemon_parts import HOURLY, QUIET, looked_after
from support import rows

from syncer.daemon import work
from syncer.daemon.schedule import Job, Work
from syncer.errors import AlreadyRunning, ConfigError, SafetyStop
from syncer.settings import Settings
from syncer.simulator import faults
from syncer.simulator.server import Simulator


@pytest.fixture
def settings(configured: Callable[..., Settings]) -> Settings:
    """A full pass an hour, and nothing else."""
    return configured(schedule=HOURLY, daemon=QUIET)


def hold(sim: Simulator, operation: str = "listing", *, times: int = 1) -> tuple[asyncio.Event, asyncio.Event]:
    """Keep the next request waiting: an event that says that it has come, and one that lets it go."""
    came, go = asyncio.Event(), asyncio.Event()

    async def wait(_request: object) -> None:
        came.set()
        await go.wait()

    sim.faults.on(operation, faults.before(wait), times=times)
    return came, go


# --- by the schedule ----------------------------------------------------------------------------------


async def test_the_first_pass_begins_at_once(sim: Simulator, shelf: str, settings: Settings, tmp_path: Path):
    """Who has just installed it sees it work: ready, a full pass, and a line that says how it stands."""
    async with looked_after(settings, tmp_path / "run") as watched:
        (ended,) = await watched.logs("pass.ended")
        await watched.rests()

    assert ended["complete"]
    assert ended["new"] == len(sim.workspaces[shelf]) > 0
    assert watched.told[0].startswith("READY=1\n")
    assert watched.told[-1].startswith("STOPPING=1\n")
    assert any(text.startswith("STATUS=Full pass") for text in watched.told)
    assert any(text.startswith("STATUS=Idle; last good run") for text in watched.told)
    assert not watched.logged("daemon.degraded")


async def test_after_a_restart_only_what_was_missed_is_done_and_once(settings: Settings, tmp_path: Path):
    """A daemon that comes back early waits for the next time; one that comes back late catches up with one run."""
    async with looked_after(settings, tmp_path / "run") as watched:
        await watched.logs("pass.ended")
        await watched.rests()
        later = watched.time.now()

    async with looked_after(settings, tmp_path / "run", start=later) as watched:
        await watched.rests()
        assert not watched.logged("pass.began")
        await watched.pass_by(hours=7)
        await watched.logs("pass.ended")
        await watched.rests()
        assert len(watched.logged("pass.began")) == 1
        late = watched.time.now()

    async with looked_after(settings, tmp_path / "run", start=late.replace(year=late.year + 1)) as watched:
        await watched.logs("pass.ended")
        await watched.rests()
        assert len(watched.logged("pass.began")) == 1


async def test_at_once_begins_with_a_full_pass_whatever_the_schedule_says(settings: Settings, tmp_path: Path):
    """`--once-now`: although the last one has just been made."""
    async with looked_after(settings, tmp_path / "run") as watched:
        await watched.logs("pass.ended")
        await watched.rests()

    async with looked_after(settings, tmp_path / "run", at_once=True) as watched:
        assert (await watched.logs("pass.ended"))[0]["complete"]


async def test_a_second_daemon_is_refused_and_the_first_goes_on(settings: Settings, tmp_path: Path):
    """Also where it would listen elsewhere."""
    async with looked_after(settings, tmp_path / "run") as watched:
        with pytest.raises(AlreadyRunning):
            async with looked_after(settings, tmp_path / "other"):
                pass
        assert not watched.task.done()


async def test_an_archive_without_its_marker_keeps_it_from_beginning(settings: Settings, tmp_path: Path):
    """Not one word of being ready."""
    async with looked_after(settings, tmp_path / "run") as watched:
        await watched.logs("pass.ended")
        await watched.rests()
    (settings.archive.path / "syncer-archive.json").unlink()

    with pytest.raises(SafetyStop):
        async with looked_after(settings, tmp_path / "run"):
            pass


# --- asked by people ----------------------------------------------------------------------------------


async def test_what_is_asked_during_a_run_is_done_after_it(
    sim: Simulator, shelf: str, settings: Settings, tmp_path: Path
):
    """And who waits for it gets the answer of that run, not of the one that was under way."""
    came, go = hold(sim)
    async with looked_after(settings, tmp_path / "run") as watched:
        await came.wait()
        waiting = asyncio.create_task(watched.daemon.ended([Job(Work.FULL, shelf)]))
        queued = await watched.ask(ask="trigger")
        assert queued["message"] == "queued, behind the run under way"
        seen = await watched.daemon.snapshot()
        assert (seen.state, seen.running and seen.running.work, seen.queue) == ("running", "full", 1)
        assert len(watched.logged("pass.began")) == 1
        go.set()
        (ended,) = await waiting
        first, second = watched.logged("pass.ended")
        await watched.rests()

    assert ended.code == 0
    assert ended.run == second["run"] != first["run"]
    assert len(watched.logged("pass.began")) == 2


async def test_who_waits_for_a_quick_pass_is_answered_by_the_full_one_that_does_it(
    sim: Simulator, shelf: str, settings: Settings, tmp_path: Path
):
    """Both were due; the full pass finds all that the quick one would have."""
    came, go = hold(sim)
    async with looked_after(settings, tmp_path / "run") as watched:
        await came.wait()
        await watched.ask(ask="trigger", work="full")
        waiting = asyncio.create_task(watched.ask(ask="trigger", work="quick", wait=True))
        await watched.until(lambda: len(watched.daemon._queue) == 2)
        go.set()
        answer = await waiting

    assert answer["exit_code"] == 0
    assert [line["mode"] for line in watched.logged("pass.began")] == ["full", "full"]


async def test_two_who_ask_for_the_same_share_a_run(sim: Simulator, settings: Settings, tmp_path: Path):
    """One that left does no harm to the other."""
    came, go = hold(sim)
    async with looked_after(settings, tmp_path / "run") as watched:
        await came.wait()
        asked = [asyncio.create_task(watched.ask(ask="trigger", wait=True)) for _ in range(3)]
        await watched.until(lambda: sum(map(len, watched.daemon._waiting.values())) == 3)
        asked[0].cancel()
        go.set()
        runs = {(await one)["run"] for one in asked[1:]}

    assert len(runs) == 1
    assert len(watched.logged("pass.began")) == 2


async def test_paused_it_does_what_people_ask_for_and_nothing_else(settings: Settings, tmp_path: Path):
    """Afterwards what was missed is done once."""
    async with looked_after(settings, tmp_path / "run") as watched:
        await watched.logs("pass.ended")
        await watched.rests()
        await watched.ask(ask="pause")
        await watched.pass_by(hours=5)
        await watched.rests()
        assert len(watched.logged("pass.began")) == 1
        assert "`syncer resume`" in watched.status

        assert (await watched.ask(ask="trigger", wait=True))["exit_code"] == 0
        assert len(watched.logged("pass.began")) == 2

        await watched.ask(ask="resume")
        await watched.logs("pass.ended", 3)
        await watched.rests()
        assert (await watched.ask(ask="status"))["state"] == "idle"
        assert len(watched.logged("pass.began")) == 3


async def test_each_verification_takes_the_next_part(sim: Simulator, settings: Settings, tmp_path: Path):
    """The archive itself remembers which one was the last, so a restart begins none anew."""
    async with looked_after(settings, tmp_path / "run") as watched:
        await watched.logs("pass.ended")
        for part in (1, 2):
            answer = await watched.ask(ask="trigger", work="verify", wait=True)
            assert answer["message"].startswith(f"no damage in part {part} ")
    async with looked_after(settings, tmp_path / "run", start=watched.time.now()) as watched:
        answer = await watched.ask(ask="trigger", work="verify", wait=True)
        assert answer["message"].startswith("no damage in part 3 ")

    assert [row["part"] for row in rows(settings.archive.path, "verifications")] == [1, 2, 3]


@pytest.mark.parametrize(
    "request_",
    [
        {},
        {"ask": "dance"},
        {"ask": ["trigger"]},
        {"ask": "trigger", "work": "nothing"},
        {"ask": "trigger", "work": []},
        {"ask": "trigger", "workspaces": "abc"},
        {"ask": "trigger", "workspaces": 7},
        {"ask": "trigger", "workspaces": ["nobody's"]},
        {"ask": "trigger", "work": "verify", "workspaces": ["brand"]},
    ],
)
async def test_what_cannot_be_meant_is_refused(request_: dict[str, object], settings: Settings, tmp_path: Path):
    """With a word about it; the daemon does not mind."""
    async with looked_after(settings, tmp_path / "run") as watched:
        answer = await watched.ask(**request_)

    assert (answer["ok"], answer["exit_code"]) == (False, 2)
    assert not watched.logged("daemon.bug")


# --- the end ------------------------------------------------------------------------------------------


async def test_stopped_during_a_download_it_keeps_what_is_finished(
    sim: Simulator, shelf: str, settings: Settings, tmp_path: Path
):
    """It is gone at once, says so before, and the next start fetches the rest alone."""
    slow, go = sim.workspaces[shelf].ids[-1], asyncio.Event()
    rule = sim.faults.on("content", faults.stall(go), image=slow)
    async with looked_after(settings, tmp_path / "run") as watched:
        received = len(sim.workspaces[shelf]) - 1
        seen = 2 + (received + 1) + received  # began, a page, a decision for each, each but one received
        await watched.until(lambda: rule.hits and watched.daemon._events >= seen)
        async with asyncio.timeout(20):
            watched.task.cancel()
            await asyncio.wait([watched.task])
    go.set()
    kept = {row["image_id"] for row in rows(settings.archive.path, "images")}
    assert kept == set(sim.workspaces[shelf].ids) - {slow}
    assert not list((settings.archive.path / ".staging").glob("*.part"))

    sim.faults.clear()
    async with looked_after(settings, tmp_path / "run") as watched:
        (ended,) = await watched.logs("pass.ended")
    assert (ended["complete"], ended["new"], ended["unchanged"]) == (True, 1, len(kept))


async def test_who_waits_when_it_stops_is_told(sim: Simulator, settings: Settings, tmp_path: Path):
    """Not with silence."""
    came, go = hold(sim)
    async with looked_after(settings, tmp_path / "run") as watched:
        await came.wait()
        waiting = asyncio.create_task(watched.ask(ask="trigger", wait=True))
        await watched.until(lambda: watched.daemon._waiting)
    with pytest.raises(ConfigError, match="ended before it answered"):
        await waiting
    go.set()
    assert not watched.socket.exists()


async def test_a_bug_in_a_run_does_not_end_it(
    settings: Settings, shelf: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """It is told as one, and the work is tried again."""
    carry_out = work.backup

    async def broken(*_: object) -> None:
        raise KeyError(shelf)

    monkeypatch.setattr(work, "backup", broken)
    async with looked_after(settings, tmp_path / "run") as watched:
        (degraded,) = await watched.logs("daemon.degraded")
        await watched.rests()
        assert watched.logged("daemon.bug")
        assert (degraded["cause"], degraded["reason"]) == ("bug", "a bug: KeyError")

        monkeypatch.setattr(work, "backup", carry_out)
        await watched.pass_by(seconds=3)
        await watched.logs("daemon.recovered")


async def test_the_watchdog_hears_nothing_of_a_run_that_hangs(
    sim: Simulator, configured: Callable[..., Settings], tmp_path: Path
):
    """Signs of life go on while something moves, end when nothing has for longer than patience, and begin again."""
    limits = {"retry_seconds": 40, "stall_seconds": 50}  # real time, which does not pass here
    settings = configured(schedule=HOURLY, daemon=QUIET, limits=limits)

    async with looked_after(settings, tmp_path / "run") as watched:

        async def ticks() -> None:
            seen = watched.looks
            await watched.until(lambda: watched.looks > seen + 20)

        came, go = hold(sim)
        await watched.logs("pass.began")
        await came.wait()
        before = watched.alive
        await watched.until(lambda: watched.alive > before)

        await watched.pass_by(seconds=40 + 2 * 50 + 61)
        await ticks()  # the one that was under way may still be heard
        before = watched.alive
        await ticks()
        assert watched.alive == before

        go.set()
        await watched.logs("pass.ended")
        await watched.until(lambda: watched.alive > before)
