"""Stopped in the middle, by a person, a service manager or the power: what was finished is kept, and nothing half."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import signal
from typing import Any

import pytest
from aiohttp import web
from outside import Make, Outside, whole
from support import rows

from syncer.simulator import faults
from syncer.simulator.server import Simulator


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
    kept = summary["new"]
    assert 3 <= kept <= 6  # what was on its way, of four at once, may not have been finished
    assert summary["listed"] == kept + summary["failed"] == kept
    assert len(outside.images()) == kept
    assert (await outside("status")).code == 0
    sim.faults.clear()
    sim.counts.clear()

    rest = await outside.backup()

    assert rest.code == 0
    assert rest.counts == {"new": len(sim.workspaces[shelf]) - kept, "unchanged": kept}
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
