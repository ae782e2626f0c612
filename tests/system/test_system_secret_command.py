"""A password manager that waits for its user does not take Ctrl-C away from ours."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from support import configure, environment

from syncer.simulator.server import Simulator


async def test_a_waiting_secret_command_can_be_interrupted(sim: Simulator, shelf: str, tmp_path: Path):
    """The second Ctrl-C ends the process at once."""
    started = tmp_path / "started"
    command = f"sh -c 'touch {started}; exec sleep 15'"
    service = {"client_secret_file": None, "client_secret_command": command}
    config = configure(sim, tmp_path, [shelf], service=service)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "syncer", "--config", str(config), "backup"),
        stderr=asyncio.subprocess.PIPE,
        env=environment(),
    )
    assert process.stderr is not None
    async with asyncio.timeout(30):
        while not started.exists():  # noqa: ASYNC110  a file of another process cannot be awaited
            await asyncio.sleep(0.05)
        process.send_signal(signal.SIGINT)
        while "Stopping" not in (await process.stderr.readline()).decode():
            pass
        process.send_signal(signal.SIGINT)

        assert await process.wait() == 130
