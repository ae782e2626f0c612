"""`syncer run` and signals: ended in the middle it keeps what is finished, and it reads its configuration again."""

from __future__ import annotations

import asyncio
import io
import signal

import pytest
from daemon_outside import LISTEN, ONCE, Daemon, daemon
from outside import Make, Outside
from PIL import Image
from soundness import unsound

from syncer.simulator import faults
from syncer.simulator.server import Simulator

pytestmark = pytest.mark.slow  # a process is started for each: over a second


@pytest.fixture
def once(make: Make) -> Outside:
    """A configuration for one full pass at the start, and nothing more by itself."""
    return make(schedule=ONCE, daemon=LISTEN)


def large() -> bytes:
    """A picture of twelve megabytes."""
    buffer = io.BytesIO()
    Image.effect_noise((3000, 4000), 64).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


async def received(outside: Outside, size: int) -> None:
    """Wait until so much of an unfinished picture is on the disk."""
    async with asyncio.timeout(30):
        while not any(path.stat().st_size >= size for path in (outside.archive / ".staging").glob("*")):  # noqa: ASYNC110  a file grows in silence
            await asyncio.sleep(0.05)


async def test_stopped_during_a_large_download_it_keeps_the_finished_ones(sim: Simulator, shelf: str, make: Make):
    """SIGTERM: gone in time with 143, nothing half under a final name; the next start does the rest."""
    outside = make(schedule=ONCE, daemon=LISTEN, limits={"downloads": 1, "stall_seconds": 60})
    picture, go_on = large(), asyncio.Event()
    oldest = sim.workspaces[shelf].add(picture, createdAt="2020-01-01T00:00:00Z")  # so it is asked for at last
    sim.faults.on("content", faults.stall(go_on), image=oldest)

    async with daemon(outside) as running:
        await received(outside, len(picture) // 3)
        stopped = await running.stop()
    go_on.set()

    assert stopped.code == 143
    assert [said for said in running.notices if "STOPPING" in said]
    assert unsound(outside.archive) == []
    assert set(outside.images()) == set(sim.workspaces[shelf].ids) - {oldest}
    sim.faults.clear()
    sim.counts.clear()

    async with daemon(outside) as running:
        assert (await running.passed())["complete"]

    assert sim.counts["content"] == 1
    assert (outside.archive / outside.images()[oldest]["path"]).read_bytes() == picture
    assert unsound(outside.archive) == []


async def test_sigint_is_130(once: Outside):
    """Ctrl-C in a terminal."""
    async with daemon(once) as running:
        await running.passed()
        assert (await running.stop(signal.SIGINT)).code == 130


async def test_stopped_while_nothing_answers_it_goes_in_time(sim: Simulator, once: Outside):
    """The service accepts and is silent; that is no reason to be killed by the service manager."""
    asked, silent = asyncio.Event(), asyncio.Event()

    async def say_nothing(_: object) -> None:
        asked.set()
        await silent.wait()

    sim.faults.on("*", faults.before(say_nothing))
    async with daemon(once) as running:
        await asked.wait()
        assert (await running.stop()).code == 143
    silent.set()


async def test_sigusr1_begins_a_full_pass(once: Outside):
    """Without a socket at hand: `kill -USR1`, `systemctl kill -s USR1`."""
    async with daemon(once) as running:
        await running.passed()
        assert (await running.again())["complete"]


async def reloaded(running: Daemon, event: str) -> int:
    """Have it read its configuration again and wait for this outcome; returns how many notices there were before."""
    heard, since = len(running.notices), len(running.log)
    running.process.send_signal(signal.SIGHUP)
    await running.notices.first(lambda said: "READY" in said, heard)
    await running.logged(event, since)
    reloading, *_, ready = [said for said in running.notices[heard:] if said.keys() & {"RELOADING", "READY"}]
    assert "RELOADING" in reloading
    assert int(reloading["MONOTONIC_USEC"]) > 0
    assert "READY" in ready
    return heard


async def test_sighup_applies_a_good_configuration(sim: Simulator, once: Outside):
    """A new workspace is backed up at once, a new schedule counts, and nothing is restarted for it."""
    other = [id_ for id_, shelf in sim.workspaces.items() if shelf.accessible][1]
    async with daemon(once) as running:
        await running.passed()
        once.config.write_text(f'{once.config.read_text()}\n[[workspaces]]\nid = "{other}"\n')
        once.change("schedule.quick", "1s")
        await reloaded(running, "configuration.reloaded")
        await running.passed(workspace=other)
        await running.passed("quick")

    assert set(once.images(f"workspace_id = '{other}'")) == set(sim.workspaces[other].ids)
    assert len(running.lines("pass.began", mode="full")) == 2  # none anew for the workspace that was there


async def test_sighup_with_a_broken_configuration_changes_nothing(sim: Simulator, once: Outside):
    """It is refused as a whole, where people look; what was configured before goes on; good again, all is well."""
    good = once.config.read_text()
    async with daemon(once) as running:
        await running.passed()
        once.change("schedule.full", "now and then")
        heard = await reloaded(running, "configuration.refused")
        line = await running.status("refused", heard)
        (refused,) = running.lines("configuration.refused")
        assert (await running.again())["complete"]
        once.config.write_text(good)
        heard = await reloaded(running, "configuration.reloaded")
        said = await running.notices.first(lambda said: "READY" in said, heard)

    assert "refused" not in said["STATUS"]
    assert "schedule.full" in line
    assert "schedule.full" in refused["reason"]


async def test_sighup_during_a_run_lets_it_end(sim: Simulator, once: Outside):
    """The run under way ends with the settings that it began with."""
    go_on = asyncio.Event()
    sim.faults.on("listing", faults.before(lambda _: go_on.wait()))
    async with daemon(once) as running:
        await running.logged("pass.began")
        await reloaded(running, "configuration.reloaded")
        go_on.set()
        assert (await running.logged("pass.ended"))["complete"]

    assert len(running.lines("pass.began")) == 1
