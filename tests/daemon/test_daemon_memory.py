"""What the daemon does not forget over a restart, and what it does not mix up between workspaces."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from daemon_parts import HOURLY, QUIET, looked_after
from support import configure, rows, settings_of

from syncer.archive.lock import held
from syncer.errors import ConfigError
from syncer.settings import Settings
from syncer.simulator import faults
from syncer.simulator.server import Simulator

IMPATIENT = {"retries": 0, "retry_seconds": 20, "stall_seconds": 5}


@pytest.fixture
def settings(configured: Callable[..., Settings]) -> Settings:
    """A full pass an hour, nothing else, and each request tried once."""
    return configured(schedule=HOURLY, daemon=QUIET, limits=IMPATIENT)


@pytest.fixture
def braked(sim: Simulator, shelf: str, configured: Callable[..., Settings]) -> Settings:
    """A configuration whose deletion brake holds at the first deletion."""
    safety = {"max_gone_items": 0, "max_gone_percent": 0}
    return configured(schedule=HOURLY, daemon=QUIET, limits=IMPATIENT, safety=safety)


async def test_trouble_that_ends_over_a_restart_is_told_to_be_over(sim: Simulator, settings: Settings, tmp_path: Path):
    """Whoever opened an incident hears of its end; and of its beginning only once, while it lasts."""
    async with looked_after(settings, tmp_path / "run") as watched:
        await watched.logs("pass.ended")
        await watched.rests()
        sim.expire_tokens()
        sim.faults.on("token", faults.status(401))
        await watched.pass_by(hours=1)
        await watched.logs("daemon.degraded")

    async with looked_after(settings, tmp_path / "run", start=watched.time.now() + timedelta(hours=1)) as again:
        await again.until(lambda: again.status.startswith("Degraded"))
        await again.rests()
        assert not again.logged("daemon.degraded")

    sim.faults.clear()
    async with looked_after(settings, tmp_path / "run", start=again.time.now() + timedelta(hours=1)) as well:
        (recovered,) = await well.logs("daemon.recovered")
        await well.rests()
    assert recovered["seconds"] >= 3600

    async with looked_after(settings, tmp_path / "run", start=well.time.now() + timedelta(hours=2)) as later:
        await later.logs("pass.ended")
        await later.rests()
        assert not later.logged("daemon.recovered")


async def test_damage_is_not_forgotten_by_a_restart(configured: Callable[..., Settings], tmp_path: Path):
    """Known damage keeps it unhealthy until a verification finds it mended."""
    schedule = {"quick": "", "full": "1d", "verify": "1d", "verify_parts": 1, "jitter": 0}
    settings = configured(schedule=schedule, daemon=QUIET)
    async with looked_after(settings, tmp_path / "run") as watched:
        await watched.logs("pass.ended")
        await watched.rests()
        picture = settings.archive.path / rows(settings.archive.path, "images")[0]["path"]
        whole = picture.read_bytes()
        picture.write_bytes(b"x" * len(whole))
        assert (await watched.ask(ask="trigger", work="verify", wait=True))["exit_code"] == 4

    async with looked_after(settings, tmp_path / "run") as again:
        await again.rests()
        snapshot = await again.daemon.snapshot()
        assert (snapshot.causes, snapshot.healthy) == ({"damage"}, False)
        assert not again.logged("daemon.degraded")  # it has been told
        picture.write_bytes(whole)
        assert (await again.ask(ask="trigger", work="verify", wait=True))["exit_code"] == 0
        await again.logs("daemon.recovered")
        assert (await again.daemon.snapshot()).healthy


async def test_every_part_is_verified_in_turn_whatever_can_be_recorded(
    configured: Callable[..., Settings], tmp_path: Path
):
    """An archive that cannot be told of its verifications is no reason to hash its first part for ever."""
    schedule = {"quick": "", "full": "1d", "verify": "1d", "verify_parts": 3, "jitter": 0}
    async with looked_after(configured(schedule=schedule, daemon=QUIET), tmp_path / "run") as watched:
        await watched.logs("pass.ended")
        await watched.rests()
        (tmp_path / "archive" / ".staging" / "home").write_text("elsewhere")  # as in a copy
        for _ in range(4):
            await watched.ask(ask="trigger", work="verify", wait=True)
            (tmp_path / "archive" / ".staging" / "home").write_text("elsewhere")
        assert [line["part"] for line in watched.logged("verification.ended")] == [1, 2, 3, 1]
        assert len(watched.logged("verification.unrecorded")) == 4
        assert (await watched.daemon.snapshot()).verified is not None


async def test_one_workspace_that_fails_for_ever_is_told_once_and_holds_up_no_other(sim: Simulator, tmp_path: Path):
    """It is tried later and later; the others are copied when they are due, and the state does not flap."""
    broken, other, *_ = sim.workspaces
    path = configure(sim, tmp_path, [broken, other], schedule=HOURLY, daemon=QUIET, limits=IMPATIENT)
    async with looked_after(settings_of(path), tmp_path / "run") as watched:
        await watched.logs("pass.ended", 2)
        await watched.rests()
        sim.faults.on("listing", faults.status(500), workspace=broken)
        for hour in range(1, 5):
            new = sim.workspaces[other].add()
            await watched.pass_by(hours=1)
            await watched.until(
                lambda new=new: new in {row["image_id"] for row in rows(tmp_path / "archive", "images")}
            )
            await watched.rests()
            assert (await watched.daemon.snapshot()).causes == {"service"}, hour
        assert len(watched.logged("daemon.degraded")) == 1
        since = watched.status.partition("since ")[2][:19]
        assert since == f"{watched.time.now() - timedelta(hours=3):%Y-%m-%d %H:%M:%S}"


async def test_an_archive_that_stays_locked_is_told_with_its_holder(settings: Settings, tmp_path: Path):
    """Waited for without a word twice; then it is trouble, which ends when the lock does."""
    async with looked_after(settings, tmp_path / "run") as watched:
        await watched.logs("pass.ended")
        await watched.rests()
        with held(settings.archive.path / ".staging" / "lock", command="adopt", since="2026-01-01T00:00:00Z"):
            await watched.pass_by(hours=1)
            for postponed in (1, 2):
                await watched.logs("run.postponed", postponed)
                await watched.rests()
                assert not watched.logged("daemon.degraded")
                await watched.pass_by(seconds=2**postponed)
            (degraded,) = await watched.logs("daemon.degraded")
            await watched.rests()
        assert degraded["cause"] == "locked"
        assert "adopt" in degraded["reason"]
        await watched.pass_by(seconds=20)
        await watched.logs("daemon.recovered")


async def test_the_brake_is_lifted_by_whoever_has_looked(sim: Simulator, shelf: str, braked: Settings, tmp_path: Path):
    """The hint names what to ask for; what is asked for so is for that pass alone."""
    async with looked_after(braked, tmp_path / "run") as watched:
        await watched.logs("pass.ended")
        await watched.rests()
        sim.workspaces[shelf].delete(sim.workspaces[shelf].ids[0])
        stopped = await watched.ask(ask="trigger", wait=True)
        assert (stopped["ok"], stopped["exit_code"]) == (False, 5)
        assert "syncer trigger --accept-deletions" in stopped["hint"]
        accepted = await watched.ask(ask="trigger", wait=True, accept_deletions=True)
        assert (accepted["ok"], accepted["exit_code"]) == (True, 0)

        sim.workspaces[shelf].delete(sim.workspaces[shelf].ids[0])
        assert (await watched.ask(ask="trigger", wait=True))["exit_code"] == 5


BROKEN = (
    FileNotFoundError(2, "the folder that it was started in is gone"),
    RuntimeError("a bug"),
    ConfigError("the configuration cannot be used", problems=("limits.downloads: want a whole number",)),
)


@pytest.mark.parametrize("error", BROKEN, ids=lambda error: type(error).__name__)
async def test_a_refused_configuration_is_trouble_until_a_good_one_comes(
    error: Exception, settings: Settings, tmp_path: Path
):
    """Whatever is wrong with it: the next start would fail, and nobody looks at the log until then."""
    files: list[Exception | None] = [error, None]

    def load() -> Settings:
        if (wrong := files.pop(0)) is not None:
            raise wrong
        return settings

    async with looked_after(settings, tmp_path / "run", load=load) as watched:
        await watched.logs("pass.ended")
        await watched.rests()
        await watched.daemon.reload()
        snapshot = await watched.daemon.snapshot()
        assert (snapshot.causes, snapshot.healthy) == ({"configuration"}, False)
        assert watched.status.startswith("The changed configuration was refused: ")

        await watched.daemon.reload()
        assert (await watched.daemon.snapshot()).healthy
        assert len(watched.logged("daemon.recovered")) == 1


async def test_a_daemon_that_began_under_a_wrong_clock_becomes_stale_all_the_same(
    sim: Simulator, settings: Settings, tmp_path: Path
):
    """The years until then are not waited for."""
    sim.faults.on("listing", faults.status(500))
    async with looked_after(settings, tmp_path / "run") as watched:
        await watched.logs("daemon.degraded")
        await watched.rests()
        now = watched.time.now()
        watched.daemon.account.started = (now + timedelta(days=3650)).timestamp()
        assert not (await watched.daemon.snapshot()).stale
        await watched.pass_by(hours=3)
        await watched.rests()
        assert (await watched.daemon.snapshot()).stale
