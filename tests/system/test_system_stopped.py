"""Stopped in the middle, by a person, a service manager or the power: nothing finished is lost, nothing half is kept."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from outside import Outside, whole
from support import rows

from syncer.simulator import faults
from syncer.simulator.server import Simulator

Make = Callable[..., Outside]

STRACE = shutil.which("strace")


class Moment:
    """A moment in a run: after so many pictures were asked for, every further one has to wait until `go_on`."""

    def __init__(self, sim: Simulator, after: int) -> None:
        self.come, self.go_on = asyncio.Event(), asyncio.Event()
        self._left = after
        sim.faults.on("content", faults.before(self._count))

    async def _count(self, _: web.Request) -> None:
        self._left -= 1
        if self._left < 0:
            self.come.set()
            await self.go_on.wait()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
async def test_a_signal_keeps_what_was_finished(
    sim: Simulator, shelf: str, make: Make, number: signal.Signals, code: int
):
    """The run ends promptly with the signal's code; the summary still balances, and the next run does the rest."""
    outside = make(limits={"downloads": 4})
    moment = Moment(sim, after=6)

    async with outside.started("backup", "--json") as process:
        await asyncio.wait_for(moment.come.wait(), 30)
        process.send_signal(number)
        stopped = await asyncio.wait_for(outside.end(process), 10)
    moment.go_on.set()

    assert stopped.code == code
    summary = stopped.summary
    assert not summary["complete"]
    assert summary["exit_code"] == code
    assert summary["listed"] == summary["new"] + summary["failed"] == 6
    assert len(outside.images()) == 6
    assert (await outside("status")).code == 0
    sim.faults.clear()
    sim.counts.clear()

    rest = await outside.backup()

    assert rest.code == 0
    assert rest.counts == {"new": len(sim.workspaces[shelf]) - 6, "unchanged": 6}
    assert sim.counts["content"] == rest.counts["new"]
    whole(outside)


async def test_two_signals_end_at_once_and_harm_nothing(sim: Simulator, make: Make):
    """A person who presses Ctrl-C twice is obeyed; what is on the disk stays good."""
    outside = make(limits={"downloads": 2})
    moment = Moment(sim, after=4)

    async with outside.started("backup") as process:
        await asyncio.wait_for(moment.come.wait(), 30)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        stopped = await asyncio.wait_for(outside.end(process), 10)
    moment.go_on.set()

    assert stopped.code == 130
    sim.faults.clear()
    assert (await outside.backup()).code == 0
    whole(outside)


async def test_a_signal_while_nothing_answers_is_obeyed(sim: Simulator, outside: Outside):
    """Stopped while the token endpoint is silent: 143 within moments."""
    silent, asked = asyncio.Event(), asyncio.Event()

    async def say_nothing(_: web.Request) -> None:
        asked.set()
        await silent.wait()

    sim.faults.on("token", faults.before(say_nothing))
    async with outside.started("backup", "--json") as process:
        await asyncio.wait_for(asked.wait(), 30)
        process.terminate()
        stopped = await asyncio.wait_for(outside.end(process), 5)
    silent.set()

    assert stopped.code == 143


async def changed(sim: Simulator, shelf: str, outside: Outside) -> dict[str, Any]:
    """Back up, change a good part of the workspace, and say how an undisturbed second run would leave the archive."""
    sim.workspaces[shelf].add_many(40)
    assert (await outside.backup()).code == 0
    backup = outside.archive.with_name("before")
    shutil.copytree(outside.archive, backup)
    ids = sim.workspaces[shelf].ids
    for image in ids[5:12]:
        sim.workspaces[shelf].repaint(image)
    for image in ids[12:16]:
        sim.workspaces[shelf].change(image, prompt="reworded")
    for image in ids[20:22]:
        sim.workspaces[shelf].delete(image)
    sim.workspaces[shelf].add_many(15)
    assert (await outside.backup()).code == 0
    expected = whole(outside)
    shutil.rmtree(outside.archive)
    backup.rename(outside.archive)
    return expected


@pytest.mark.slow
async def test_killed_at_random_again_and_again_it_ends_as_if_undisturbed(sim: Simulator, shelf: str, make: Make):
    """SIGKILL at five moments of five runs, then one to the end: the same files, rows and revisions."""
    outside = make(limits={"downloads": 4})
    expected = await changed(sim, shelf, outside)
    chance = random.Random(2026)

    for _ in range(5):
        moment = Moment(sim, after=chance.randrange(1, 12))
        async with outside.started("backup", "--json") as process:
            ended = asyncio.create_task(process.wait())
            come = asyncio.create_task(moment.come.wait())
            await asyncio.wait([ended, come], return_when=asyncio.FIRST_COMPLETED, timeout=30)
            await asyncio.sleep(chance.random() * 0.1)  # wherever it is by then
            if process.returncode is None:
                process.kill()
            await outside.end(process, killed=True)
            come.cancel()
        moment.go_on.set()
        sim.faults.clear()
        for row in outside.images().values():  # promise 1 holds at every moment: bytes before rows
            assert (outside.archive / row["path"]).stat().st_size == row["bytes"]
            assert json.loads((outside.archive / row["sidecar"]).read_text())["sha256"] == row["sha256"]

    ran = await outside.backup()

    assert ran.code == 0
    assert whole(outside) == expected
    assert rows(outside.archive, "failures") == []


def under_strace(call: str, what: str) -> tuple[str, ...]:
    """Run a command so that something happens at some of its system calls."""
    return (STRACE or "", "-f", "-qq", "-o", "/dev/null", f"--trace={call}", f"--inject={call}:{what}")


SYNC = "syncfs,fsync,fdatasync"


@pytest.mark.slow
@pytest.mark.skipif(STRACE is None, reason="strace is not installed")
@pytest.mark.parametrize(
    ("points", "code"),
    [
        ([("rename", f"signal=SIGKILL:when={n}") for n in (1, 6, 23)], -signal.SIGKILL),
        ([(SYNC, f"signal=SIGKILL:when={n}") for n in (2, 4)], -signal.SIGKILL),
        ([(SYNC, "error=EIO:when=1+"), (SYNC, "error=EIO:when=4"), ("pwrite64", "error=EIO:when=6+")], 9),
        ([("rename", "error=EIO:when=5"), ("rename", "error=EROFS:when=1+")], 9),
    ],
    ids=["killed at a rename", "killed at a sync", "EIO", "failing renames"],
)
async def test_stopped_or_failing_at_a_system_call_it_ends_as_if_undisturbed(
    sim: Simulator, shelf: str, make: Make, points: list[tuple[str, str]], code: int
):
    """Killed between two steps, or told by the disk that it failed (9): nothing is believed that is not durable, and
    the next run on a good disk ends with the same files, rows and revisions.
    """
    outside = make()
    expected = await changed(sim, shelf, outside)
    before = outside.archive.with_name("before")
    shutil.copytree(outside.archive, before)

    for point in points:
        shutil.rmtree(outside.archive)
        shutil.copytree(before, outside.archive)
        async with outside.started("backup", "--json", under=under_strace(*point)) as process:
            failed = await outside.end(process, killed=code < 0)
        assert failed.code == code, f"{point}: {failed.err}"
        assert code < 0 or not failed.summary["complete"]

        assert (await outside.backup()).code == 0
        assert whole(outside) == expected, point
