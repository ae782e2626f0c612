"""Nothing piles up in a daemon that runs for years: thousands of scheduled passes, in the time of a long test."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from support import CANARY, configure

from syncer.simulator.changes import mutate
from syncer.simulator.server import Options, Simulator

SOAK = Path(__file__).with_name("soak.py")
PASSES = 2000  # three weeks of a quick pass every quarter of an hour, a full one and a verification every day
DOWNLOADS = 8  # at once
MEGABYTE = 2**20


@pytest.mark.slow
async def test_a_daemon_holds_no_more_after_thousands_of_passes_than_after_some(tmp_path: Path) -> None:
    """Open files, threads, tasks, memory and the manifest's log stay flat, with 1 % faults and changes meanwhile."""
    async with Simulator.start(Options(images=24, fault_rate=0.01, client_secret=CANARY)) as sim:
        schedule = {"quick": "15m", "full": "1d", "verify": "1d", "verify_parts": 4, "jitter": 0}
        config = configure(
            sim,
            tmp_path,
            schedule=schedule,
            daemon={"listen": ""},
            limits={"retry_seconds": 60, "downloads": DOWNLOADS},
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, SOAK, config, str(PASSES), stdout=asyncio.subprocess.PIPE
        )
        assert process.stdout is not None
        samples = []
        async for line in process.stdout:
            samples.append(json.loads(line))
            for shelf in sim.workspaces.values():
                mutate(shelf, added=2, repainted=1, renamed=1, deleted=1)
        assert await process.wait() == 0

    settled, *_, last = samples[1:]
    assert last["passes"] == PASSES
    assert last["files"] <= settled["files"]
    assert last["sockets"] <= DOWNLOADS + 8  # those that are kept, for pictures, pages and tokens, and the loop's own
    assert last["threads"] <= settled["threads"]
    assert last["pooled"] <= min(32, (os.cpu_count() or 1) + 4)  # the bound of the loop's pool, as Python documents it
    assert last["tasks"] <= settled["tasks"]
    assert last["wal"] <= 4 * MEGABYTE
    halfway = samples[len(samples) // 2]
    assert last["memory"] - halfway["memory"] <= 6 * MEGABYTE, samples
