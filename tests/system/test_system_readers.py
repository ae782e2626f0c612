"""Whoever reads along may leave: the work goes on, and its exit code stays its own."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from support import configure, environment

from syncer.simulator.server import Simulator


async def test_a_reader_of_stderr_that_leaves_does_not_end_a_backup(sim: Simulator, shelf: str, tmp_path: Path):
    """Everything is copied, the last line of stdout is the summary, and the exit code is 0."""
    config = configure(sim, tmp_path, [shelf])
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "syncer", "--config", str(config), "backup", "--json"]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=writing, env=environment()
    )
    os.close(writing)

    printed, _ = await process.communicate()

    assert process.returncode == 0
    last = json.loads(printed.splitlines()[-1])
    assert (last["type"], last["complete"]) == ("summary", True)
    assert last["new"] == len(sim.workspaces[shelf])
