"""`syncer run` while something that it needs is not there: it stays, says so, tries again, and recovers by itself."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from itertools import pairwise

import pytest
from aiohttp import web
from daemon_outside import LISTEN, ONCE, STEADY, Gate, daemon, mounted
from outside import Make, Outside
from soundness import unsound

from syncer.simulator import faults
from syncer.simulator.server import Simulator

pytestmark = pytest.mark.slow  # a process is started for each: over a second

PAUSES = (1.5, 3.0)  # seconds: the least that the first two may be


@pytest.fixture
def once(make: Make) -> Outside:
    """A configuration for one full pass at the start, and nothing more by itself."""
    return make(schedule=ONCE, daemon=LISTEN)


async def test_a_service_out_of_reach_keeps_it_neither_from_being_ready_nor_from_beginning_later(
    sim: Simulator, shelf: str, make: Make
):
    """Refused connections: ready, degraded, told once; back on the same port, all is copied without a storm."""
    async with Gate.before(sim) as gate:
        outside = make(service=gate.service, schedule=STEADY, daemon=LISTEN)
        await gate.shut()
        async with daemon(outside) as running:
            await running.ready()
            trouble = await running.logged("daemon.degraded", cause="service")
            line = await running.status("trying again")
            told = await running.health(503)
            await gate.open()
            await running.logged("daemon.recovered")
            asked = sim.counts.copy()
            assert (await running.health(200))["causes"] == []

    assert trouble["level"] == "warning"
    assert "Degraded since" in line
    assert told["causes"] == ["service"]
    assert [stale["workspace"] for stale in told["stale"]] == [shelf]
    assert len(running.lines("daemon.degraded")) == len(running.lines("daemon.recovered")) == 1
    assert asked["token"] == 1
    assert asked["listing"] <= 5  # a machine that is slow may have come to the next passes of its schedule
    assert asked["content"] == len(sim.workspaces[shelf])
    assert len(outside.images()) == len(sim.workspaces[shelf])


async def test_refused_credentials_are_tried_with_growing_pauses_whatever_is_due(sim: Simulator, make: Make):
    """With a schedule of one second, the third try comes four seconds after the first; once let in, it copies."""
    outside = make(schedule=STEADY, daemon=LISTEN)
    tries: list[float] = []
    refused = faults.status(401)

    async def third_time_lucky(request: web.Request, proceed: faults.Proceed) -> web.StreamResponse:
        tries.append(asyncio.get_running_loop().time())
        return await refused(request, proceed) if len(tries) < 3 else await proceed(request)

    sim.faults.on("token", third_time_lucky)
    async with daemon(outside) as running:
        trouble = await running.logged("daemon.degraded", cause="credentials")
        assert (await running.health(503))["causes"] == ["credentials"]
        await running.logged("daemon.recovered")

    assert len(running.lines("daemon.degraded")) == 1
    assert len(tries) == 3
    assert trouble["level"] == "error"
    assert trouble["hint"]
    for pause, (earlier, later) in zip(PAUSES, pairwise(tries), strict=True):
        assert later - earlier >= pause - 0.1


async def failing(sim: Simulator) -> Callable[[], Awaitable[None]]:
    """Answer everything but the token with 503."""
    sim.faults.on("listing", faults.status(503))

    async def end() -> None:
        sim.faults.clear()

    return end


async def hanging(sim: Simulator) -> Callable[[], Awaitable[None]]:
    """Take every request and say nothing."""
    go_on = asyncio.Event()
    sim.faults.on("*", faults.before(lambda _: go_on.wait()))

    async def end() -> None:
        sim.faults.clear()
        go_on.set()

    return end


@pytest.mark.parametrize("begin", [failing, hanging])
async def test_an_outage_in_the_middle_of_its_life_passes(
    sim: Simulator, shelf: str, make: Make, begin: Callable[[Simulator], Awaitable[Callable[[], Awaitable[None]]]]
):
    """A service that answers 503, or nothing at all: degraded, and well again when it is; nothing seems deleted."""
    outside = make(schedule=STEADY, daemon=LISTEN, limits={"stall_seconds": 1, "retry_seconds": 2})
    async with daemon(outside) as running:
        await running.passed()
        end = await begin(sim)
        await running.logged("daemon.degraded", cause="service")
        new = sim.workspaces[shelf].add()
        await end()
        await running.logged("daemon.recovered")
        await running.logged("image.stored", image=new)

    assert {row["state"] for row in outside.images().values()} == {"live"}
    assert set(outside.images()) == set(sim.workspaces[shelf].ids)


async def test_health_is_stale_when_nothing_comes_of_it_for_twice_the_schedule(sim: Simulator, shelf: str, make: Make):
    """It names the workspace and its last good run; /readyz stays as it is; one good run, and all is well."""
    outside = make(schedule={"quick": "", "full": "1s", "jitter": 0}, daemon=LISTEN)
    async with daemon(outside) as running:
        await running.passed()
        sim.faults.on("listing", faults.status(503))
        await running.logged("daemon.degraded", cause="service")
        told = await running.health(503)
        assert (await running.get("/readyz"))[0] == 200
        assert await running.metric("syncer_healthy") == 0
        sim.faults.clear()
        running.process.send_signal(signal.SIGUSR1)
        await running.health(200)

    (stale,) = told["stale"]
    assert stale["workspace"] == shelf
    assert stale["last_success"]


async def test_all_is_well_is_200_with_metrics(sim: Simulator, shelf: str, once: Outside):
    """After the first pass: healthy, ready, and the numbers agree with the archive."""
    async with daemon(once) as running:
        await running.passed()
        await running.status("last good run")
        told = await running.health(200)
        assert (await running.get("/readyz"))[0] == 200
        assert (await running.get("/nothing"))[0] == 404
        _, metrics = await running.get("/metrics")

    assert told["ok"]
    assert told["stale"] == []
    assert f'syncer_workspace_images{{state="live",workspace="{shelf}"}} {len(sim.workspaces[shelf])}.0' in metrics


async def test_a_full_disk_is_told_and_filled_again_once_there_is_room(sim: Simulator, shelf: str, make: Make):
    """ENOSPC: degraded as the archive's, health says 503 at once; with room, the rest is copied by itself."""
    outside = make(schedule=ONCE, daemon=LISTEN)
    with mounted(outside.archive, "size=3m"):
        ballast = outside.archive / "ballast"
        ballast.write_bytes(bytes(2_700_000))
        async with daemon(outside) as running:
            trouble = await running.logged("daemon.degraded", cause="archive")
            assert (await running.health(503))["causes"] == ["archive"]
            ballast.unlink()
            await running.logged("daemon.recovered")
            await running.health(200)
        assert set(outside.images()) == set(sim.workspaces[shelf].ids)
        assert unsound(outside.archive) == []

    assert trouble["level"] == "error"


@pytest.mark.parametrize("left", ["nothing", "an empty folder"])
async def test_an_archive_that_is_unmounted_and_comes_back(sim: Simulator, shelf: str, once: Outside, left: str):
    """While it is away nothing is made in its place; put back, the daemon goes on with it, and nothing seems gone."""
    away = once.archive.with_name("away")
    async with daemon(once) as running:
        await running.passed()
        await running.status("last good run")
        once.archive.rename(away)
        if left == "an empty folder":
            once.archive.mkdir()
        new = sim.workspaces[shelf].add()
        running.process.send_signal(signal.SIGUSR1)
        await running.logged("daemon.degraded", cause="safety_stop")
        assert (await running.health(503))["causes"] == ["safety_stop"]
        if left == "an empty folder":
            once.archive.rmdir()  # which only works on an empty one
        away.rename(once.archive)  # and this only where nothing is
        await running.logged("daemon.recovered")

    assert new in once.images()
    assert {row["state"] for row in once.images().values()} == {"live"}
    assert unsound(once.archive) == []


async def test_another_archive_in_the_place_of_ours_is_not_written_to(sim: Simulator, once: Outside):
    """The wrong disk was mounted: a safety stop, not a new beginning in somebody else's archive."""
    assert (await once.backup()).code == 0
    other = once.archive.with_name("other")
    once.archive.rename(other)
    held = sorted(path.name for path in other.iterdir())
    async with daemon(once) as running:
        await running.passed()
        once.archive.rename(once.archive.with_name("ours"))
        other.rename(once.archive)
        running.process.send_signal(signal.SIGUSR1)
        await running.logged("daemon.degraded", cause="safety_stop")

    assert held == sorted(path.name for path in once.archive.iterdir())


async def test_an_image_that_fails_degrades_it_until_it_is_copied(sim: Simulator, shelf: str, once: Outside):
    """One picture that cannot be had: all others are kept; it is no alarm yet, since it may pass, and then it has."""
    failing = sim.workspaces[shelf].ids[3]
    sim.faults.on("content", faults.status(500), image=failing, times=1)
    async with daemon(once) as running:
        ended = await running.logged("pass.ended")
        await running.logged("daemon.degraded", cause="incomplete")
        assert not ended["complete"]
        assert len(once.images()) == len(sim.workspaces[shelf]) - 1
        assert (await running.health(200))["causes"] == ["incomplete"]
        running.process.send_signal(signal.SIGUSR1)
        await running.logged("daemon.recovered")

    assert failing in once.images()


async def test_the_log_is_json_lines_and_knows_no_secret(sim: Simulator, once: Outside):
    """At its most talkative, through trouble and recovery: every line is JSON with an event, a level and a time."""
    sim.faults.on("listing", faults.status(503), times=1)
    sim.faults.on("content", faults.redirect(sim.to_store), times=4)
    async with daemon(once, env={"SYNCER_LOG_LEVEL": "debug"}) as running:
        await running.logged("daemon.recovered")

    assert len(running.log) > 20
    for line in running.log:
        assert line.keys() >= {"event", "level", "timestamp"}, line
