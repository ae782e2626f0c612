"""Hundreds of ways in which all may go wrong at once, each from a seed: in the end one image of each content, proven.

A schedule is a few files, some of them twice, a service that keeps bytes or encodes anew, a team that goes on working,
and runs in which any request may fail in any way that services and networks have; some of the runs are stopped. Then
the service behaves, and the runs go on until all is quiet. Nothing takes longer than the waits allow for, and nothing
is deleted: what is left to be decided by a person then would be a fault of ours.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from aiohttp import web
from test_upload_stopped import shelve
from upload_fuse import Fuse, fused
from uploading import Waiting, carried_out, opened, parcel, picture, sha256

from syncer.operations.parcels import Kind, Parcel, Uploads
from syncer.operations.rooms import Rooms
from syncer.operations.upload import upload
from syncer.settings import Settings
from syncer.simulator import faults, uploads
from syncer.simulator.faults import Action, Proceed
from syncer.simulator.server import Simulator

SCHEDULES = 500
BATCHES = 5
QUIET = {Kind.UPLOADED, Kind.ALREADY}
PATIENCE = 8.0  # seconds that the service may take longer than a client waits for its answer


class Schedule:
    """What goes wrong for one workspace, by a seed."""

    def __init__(self, seed: int, sim: Simulator, folder: Path) -> None:
        self.chance = random.Random(seed)
        self.workspace = shelve(sim, f"schedule-{seed}", self.chance.choice((None, uploads.as_jpeg, uploads.as_png)))
        self.shelf = sim.workspaces[self.workspace]
        self.waiting = Waiting()
        self.trouble = self.chance.choice((0.2, 0.5, 0.8))  # the chance that a request fails
        self.contents = {f"{seed}-{n}.png": picture((seed, n)) for n in range(self.chance.randint(1, 4))}
        self.parcels = [parcel(folder, name, content, self.workspace) for name, content in self.contents.items()]
        for given in self.chance.choices(self.parcels, k=self.chance.randint(0, 2)):
            copy = f"copy of {given.source}"
            self.parcels.append(parcel(folder, copy, self.contents[given.source], self.workspace))
        self._rule = sim.faults.on("*", self._act, workspace=self.workspace)

    def some(self) -> list[Parcel]:
        """What is dropped in one run."""
        return self.chance.sample(self.parcels, self.chance.randint(1, len(self.parcels)))

    def behave(self) -> None:
        self._rule.left = 0
        self.shelf.catch_up()

    async def _act(self, request: web.Request, proceed: Proceed) -> web.StreamResponse:
        if self.chance.random() > self.trouble:
            return await proceed(request)
        return await self._fault(request.match_info.route.name or "")(request, proceed)

    def _fault(self, operation: str) -> Action:
        match operation:
            case "upload":
                return self.chance.choice((self._of_an_upload, self._lagging))()
            case "image":
                return self.chance.choice((faults.status(404), faults.status(503), faults.cut(), faults.reset()))
            case _:
                return self.chance.choice((faults.status(503), faults.cut(), faults.reset(), faults.html()))

    def _of_an_upload(self) -> Action:
        code = self.chance.choice((None, 502, 504))
        return self.chance.choice(
            (
                faults.unanswered(),
                faults.reset(),
                faults.cut(self.chance.random() * 0.9),
                faults.status(502),
                faults.status(503, retry_after=1),
                faults.status(429, retry_after=1),
                faults.status(400),
                uploads.quota(),
                uploads.broken_off(),
                uploads.carried_out_but(faults.html()),
                uploads.carried_out_but(faults.status(504)),
                uploads.later(self._a_while, code=code),
            )
        )

    def _lagging(self) -> Action:
        """The team adds an image, and what is uploaded is listed only later."""
        if self.chance.random() < 0.5:
            self.shelf.add(picture(self.chance.random()))
        self.shelf.lagging = True
        self.waiting.after(self.waiting.slept + self.chance.random() * PATIENCE, self.shelf.catch_up)
        return faults.unanswered()

    async def _a_while(self) -> None:
        over = asyncio.Event()
        self.waiting.after(self.waiting.slept + self.chance.random() * PATIENCE, over.set)
        await over.wait()


async def go_through(schedule: Schedule, rooms: Rooms) -> list[Uploads]:
    """Run with faults, dying now and then, and then without."""
    for _ in range(schedule.chance.randint(1, 3)):
        fuse = Fuse(schedule.chance.choice((0, 1, 2, 3)) * schedule.chance.randint(1, 40))
        task = asyncio.create_task(upload(fused(rooms, fuse), schedule.some(), _unwatched, Uploads()))
        fuse.burnt = task.cancel
        await asyncio.wait([task])
        if not task.cancelled():
            task.result()
    await schedule.waiting(PATIENCE)  # whatever the service is still at
    schedule.behave()
    quiet: list[Uploads] = []
    while not quiet or (quiet[-1].exit_code and len(quiet) < 3):
        quiet.append(Uploads())
        await upload(rooms, schedule.parcels, _unwatched, quiet[-1])
    return quiet


def _unwatched(_: object) -> None:
    pass


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(BATCHES))
async def test_nothing_is_lost_and_nothing_is_there_twice(
    sim: Simulator, configured: Callable[..., Settings], tmp_path: Path, batch: int
):
    """Whatever went wrong on the way."""
    share = SCHEDULES // BATCHES
    async with opened(configured(limits={"retries": 1})) as rooms:
        for seed in range(batch * share, (batch + 1) * share):
            schedule = Schedule(seed, sim, tmp_path)

            quiet = await go_through(schedule, replace(rooms, sleep=schedule.waiting))

            told = f"seed {seed}: {[(one.kind, one.reason) for one in quiet[-1].delivered]}"
            assert {one.kind for one in quiet[-1].delivered} <= QUIET, told
            arrived = carried_out(sim)
            for content in schedule.contents.values():
                assert arrived[sha256(content)] == 1, told
            states = {one.upload.state for one in quiet[-1].delivered if one.upload}
            assert states <= {"done", "reencoded"}, told
            assert len(quiet) == 1, f"seed {seed}: {len(quiet)} runs until all was quiet"
