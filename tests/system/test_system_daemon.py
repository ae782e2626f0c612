"""`syncer run` from its first moment on: when it is ready, and what it does by itself."""

from __future__ import annotations

import asyncio
import io
import socket
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from daemon_outside import LISTEN, ONCE, STEADY, daemon, mounted, sockets_open_to_all
from outside import Make, Outside
from PIL import Image
from soundness import unsound
from stranger import SECRET, Piece, Stranger

from syncer.simulator import faults
from syncer.simulator.server import Simulator

pytestmark = pytest.mark.slow  # a process is started for each: over a second


@pytest.fixture
def once(make: Make) -> Outside:
    """A configuration for one full pass at the start, and nothing more by itself."""
    return make(schedule=ONCE, daemon=LISTEN)


def picture(number: int) -> bytes:
    """A real picture, another one for each number."""
    buffer = io.BytesIO()
    Image.new("RGB", (16 + number, 9), (number * 5, 60, 120)).save(buffer, "PNG")
    return buffer.getvalue()


# --- before it is ready -----------------------------------------------------------------------------------


async def test_ready_is_said_before_the_first_pass_and_that_begins_by_itself(sim: Simulator, shelf: str, once: Outside):
    """The service manager hears READY with a line for people; all images are kept soon after, unasked."""
    async with daemon(once) as running:
        ready = await running.ready()
        assert ready["STATUS"]
        assert (await running.passed())["complete"]
        line = await running.status("last good run")

    assert "Idle" in line
    assert "next full pass" in line
    assert set(once.images()) == set(sim.workspaces[shelf].ids)
    assert running.log.index(running.lines("daemon.ready")[0]) < running.log.index(running.lines("pass.began")[0])
    assert unsound(once.archive) == []


async def test_all_mistakes_of_the_configuration_are_told_at_once_and_are_2(once: Outside):
    """Two mistakes, two complaints, exit 2; the service manager never hears READY."""
    once.change("limits.downloads", "many")
    once.change("schedule.full", "now and then")

    async with daemon(once) as running:
        ended = await running.end()

    assert ended.code == 2
    assert "limits.downloads" in ended.err
    assert "schedule.full" in ended.err
    assert not [said for said in running.notices if "READY" in said]


async def test_a_missing_marker_is_5_before_it_is_ready(once: Outside):
    """An archive without its marker may be a disk that is not mounted: nothing is begun, and nothing made there."""
    assert (await once.backup()).code == 0
    (once.archive / "syncer-archive.json").unlink()

    async with daemon(once) as running:
        ended = await running.end()

    assert ended.code == 5
    assert not (once.archive / "syncer-archive.json").exists()
    assert not [said for said in running.notices if "READY" in said]


async def test_a_second_daemon_for_an_archive_is_6(once: Outside):
    """It names who is there already, and does not disturb them."""
    async with daemon(once) as first:
        await first.ready()
        async with daemon(once) as second:
            ended = await second.end()
        assert (await first.again())["complete"]

    assert ended.code == 6
    assert f"pid: {first.process.pid}" in ended.err
    assert not [said for said in second.notices if "READY" in said]


async def test_an_archive_that_cannot_be_written_is_9_before_it_is_ready(once: Outside):
    """A read-only disk is told at the start, where somebody is looking."""
    with mounted(once.archive, "ro,size=1m"):
        async with daemon(once) as running:
            ended = await running.end()

    assert ended.code == 9
    assert not [said for said in running.notices if "READY" in said]


async def test_a_used_port_is_2_and_says_what_to_change(once: Outside):
    """Two daemons with the default port: the second one's operator is told which setting it is."""
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        once.change("daemon.listen", f"127.0.0.1:{taken.getsockname()[1]}")
        async with daemon(once) as running:
            ended = await running.end()

    assert ended.code == 2
    assert "daemon.listen" in ended.err


async def test_without_a_service_manager_it_works_as_well(sim: Simulator, shelf: str, once: Outside):
    """In a terminal or a container there is no NOTIFY_SOCKET."""
    async with daemon(once, managed=False) as running:
        await running.passed()

    assert running.notices == []
    assert len(once.images()) == len(sim.workspaces[shelf])


async def test_it_listens_nowhere_if_told_so(once: Outside):
    """With `listen = ""` the process has no TCP port open, while it is ready; with a port it has that one."""
    async with daemon(once) as running:
        await running.ready()
        port = (await running.logged("health.listening"))["port"]
        assert sockets_open_to_all(running.process.pid) == {f"0100007F:{port:04X}"}
    once.change("daemon.listen", "")
    async with daemon(once) as running:
        await running.ready()
        assert sockets_open_to_all(running.process.pid) == set()
    assert not running.lines("health.listening")


async def test_the_watchdog_hears_of_it_in_time(sim: Simulator, once: Outside):
    """A sign of life twice as often as it is demanded, while a run that is slow goes on."""
    go_on = asyncio.Event()
    sim.faults.on("listing", faults.before(lambda _: go_on.wait()))
    async with daemon(once, env={"WATCHDOG_USEC": "1000000"}) as running:
        await running.notices.many(4, lambda said: "WATCHDOG" in said)
        go_on.set()


# --- what it does by itself -------------------------------------------------------------------------------


async def test_quick_passes_find_what_is_new_one_after_the_other(sim: Simulator, shelf: str, make: Make):
    """By a schedule of seconds, a new image is here without anybody's doing; no run begins before another has ended."""
    outside = make(schedule=STEADY, daemon=LISTEN)
    async with daemon(outside) as running:
        await running.passed()
        new = sim.workspaces[shelf].add()
        await running.logged("image.stored", image=new)
        await running.log.many(3, lambda line: line.get("event") == "pass.ended")

    turns = [line["event"] for line in running.log if line.get("event") in {"pass.began", "pass.ended"}]
    assert set(turns[::2]) == {"pass.began"}
    assert set(turns[1::2]) <= {"pass.ended"}
    assert new in outside.images()


async def test_what_falls_due_again_and_again_meanwhile_waits_as_one_run(sim: Simulator, make: Make):
    """While a run takes seconds, a schedule of one second piles up a single further run."""
    outside = make(schedule=STEADY, daemon=LISTEN)
    come, go_on = asyncio.Event(), asyncio.Event()

    async def hold(_: object) -> None:
        come.set()
        await go_on.wait()

    async with daemon(outside) as running:
        await running.passed()
        sim.faults.on("listing", faults.before(hold))
        await come.wait()
        waiting = [await running.metric("syncer_queue_length")]
        while len(waiting) < 12:  # three seconds: three times it has fallen due
            await asyncio.sleep(0.25)
            waiting.append(await running.metric("syncer_queue_length"))
        go_on.set()

    assert max(waiting) == 1


async def test_a_restart_the_same_day_makes_no_new_full_pass(once: Outside):
    """When the last full pass was complete, a daily one waits for its time, over restarts too."""
    async with daemon(once) as running:
        await running.passed()

    async with daemon(once) as running:
        assert "next full pass" in (await running.ready())["STATUS"]
        assert (await running.triggered("--quick", "--wait")).code == 0  # a full pass that was due would be first

    assert [line["mode"] for line in running.lines("pass.began")] == ["quick"]


async def test_a_restart_after_days_makes_the_missed_passes_once(once: Outside):
    """Five daily full passes were missed while it was off: one is made, at once."""
    async with daemon(once) as running:
        await running.passed()
    long_ago = f"{datetime.now(UTC) - timedelta(days=5, hours=1):%Y-%m-%dT%H:%M:%SZ}"
    with closing(sqlite3.connect(once.archive / "manifest.db")) as db, db:
        db.execute("update runs set started = ?, ended = ?", (long_ago, long_ago))

    async with daemon(once) as running:
        await running.passed()
        assert (await running.triggered("--quick", "--wait")).code == 0

    assert [line["mode"] for line in running.lines("pass.began")] == ["full", "quick"]


async def test_once_now_makes_a_full_pass_whatever_the_schedule_says(once: Outside):
    """For somebody who has just changed something and wants to see it work."""
    assert (await once.backup()).code == 0

    async with daemon(once, "--once-now") as running:
        await running.passed()


async def test_the_next_daemon_goes_on_where_one_was_killed(once: Outside):
    """SIGKILL leaves a socket and lock files behind; nobody has to clean up after it."""
    async with daemon(once) as running:
        await running.passed()
        running.process.kill()
        await running.end(killed=True)

    async with daemon(once) as running:
        await running.ready()
        assert (await running.triggered()).code == 0


async def test_a_service_of_other_habits_is_backed_up_as_well(tmp_path: Path):
    """Against the second imitation: every image is kept, and a token that ends early is no trouble."""
    async with Stranger.start() as stranger:
        pieces = {f"image {n}": Piece(picture(n), {"updatedAt": f"{n}"}) for n in range(20)}
        stranger.shelves, stranger.good_for = {"team/eins ü": pieces}, 15
        config = stranger.configure(tmp_path)
        config.write_text(f'{config.read_text()}\n[schedule]\nquick = ""\njitter = 0\n[daemon]\nlisten = ""\n')
        outside = Outside(config, lambda: [SECRET, stranger.token])
        outside.change("limits.downloads", 1)  # many at once would wear tokens out faster than they can be had
        async with daemon(outside) as running:
            assert (await running.passed())["complete"]

    assert stranger.tokens > 1
    assert set(outside.images()) == set(pieces)
    assert unsound(outside.archive) == []
