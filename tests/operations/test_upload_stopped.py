"""Stopped anywhere: whatever an upload was doing when it was cancelled or killed, the next run makes it one image."""

from __future__ import annotations

import asyncio
import itertools
import multiprocessing
import signal
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support import at_once, configure, settings_of
from upload_fuse import Fuse, die_at, fused
from uploading import Waiting, carried_out, opened, parcel, picture, run, sha256

from syncer.operations.parcels import Kind, Uploads
from syncer.operations.upload import upload
from syncer.settings import Settings
from syncer.simulator import faults, uploads
from syncer.simulator.server import Simulator
from syncer.simulator.state import Shelf

FAULTS = [
    (None, None),
    (faults.unanswered(), None),
    (faults.status(502), None),
    (None, uploads.as_jpeg),
    (faults.unanswered(), uploads.as_jpeg),
]


def shelve(sim: Simulator, name: str, recode: Callable[[bytes], bytes] | None = None) -> str:
    """Open another workspace, empty."""
    shelf = Shelf(name, name, datetime(2026, 1, 1, tzinfo=UTC), datetime.now(UTC).timestamp)
    shelf.recode = recode
    sim.workspaces[name] = shelf
    return name


@pytest.mark.slow
@pytest.mark.parametrize(("action", "recode"), FAULTS)
async def test_cancelled_at_every_step(
    sim: Simulator,
    settings: Settings,
    tmp_path: Path,
    action: faults.Action | None,
    recode: Callable[[bytes], bytes] | None,
):
    """The next run finds what arrived and sends what did not: exactly one image, whichever step it was."""
    async with opened(settings, sleep=Waiting()) as rooms:
        for step in itertools.count(1):
            workspace = shelve(sim, f"stopped-{step}", recode)
            if action is not None:
                sim.faults.on("upload", action, workspace=workspace, times=1)
            given = parcel(tmp_path, f"{step}.png", picture(step), workspace)
            fuse = Fuse(step)
            stopped = asyncio.create_task(upload(fused(rooms, fuse), [given], lambda _: None, Uploads()))
            fuse.burnt = stopped.cancel
            await asyncio.wait([stopped])
            result = Uploads()

            await upload(rooms, [given], lambda _: None, result)

            (delivered,) = result.delivered
            assert delivered.kind in {Kind.UPLOADED, Kind.ALREADY}, f"at step {step}: {delivered}"
            assert carried_out(sim)[sha256(picture(step))] == 1, f"at step {step}"
            if not stopped.cancelled():
                stopped.result()
                break
    assert step > 15, "it was never stopped in the middle"


@pytest.mark.slow
@pytest.mark.parametrize(("action", "stride"), [(None, 1), (faults.unanswered(), 3)])
async def test_killed_at_every_step(sim: Simulator, tmp_path: Path, action: faults.Action | None, stride: int):
    """The same for a process that is gone at once: what was durable is all that the next one knows."""
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["syncer.app", "syncer.operations.upload"])
    configuration = configure(sim, tmp_path, ["killed"], archive={"path": str(tmp_path / "archive")})
    settings = settings_of(configuration)
    for step in itertools.count(1, stride):
        workspace = shelve(sim, f"killed-{step}")
        if action is not None:
            sim.faults.on("upload", action, workspace=workspace, times=1)
        content = picture(step)
        given = parcel(tmp_path, f"{step}.png", content, workspace)
        process = processes.Process(target=die_at, args=(step, configuration, tmp_path, f"{step}.png", workspace))
        process.start()
        await asyncio.to_thread(process.join)

        ran = await run(settings, given, sleep=at_once)

        assert ran.only.kind in {Kind.UPLOADED, Kind.ALREADY}, f"at step {step}: {ran.only}"
        assert carried_out(sim)[sha256(content)] == 1, f"at step {step}"
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
    assert step > 15, "it was never killed in the middle"
