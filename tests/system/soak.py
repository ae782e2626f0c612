"""Years in minutes: the daemon on a clock that jumps from one scheduled pass to the next, and what it holds on to.

Run as `python tests/system/soak.py CONFIG PASSES`, it makes so many scheduled passes against the service of the
configuration and writes JSON lines with what the process holds: open files, threads, memory, and the manifest's log.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "daemon")]  # for the clock that tests steer

from steered_time import SteeredTime  # noqa: E402

from syncer import log  # noqa: E402
from syncer.daemon.daemon import Daemon  # noqa: E402
from syncer.daemon.memory import one_arena  # noqa: E402
from syncer.daemon.queue import Batch  # noqa: E402
from syncer.daemon.service_manager import ServiceManager  # noqa: E402
from syncer.daemon.snapshot import State  # noqa: E402
from syncer.daemon.world import World  # noqa: E402
from syncer.settings import load  # noqa: E402

SAMPLES = 8
QUARTER = timedelta(minutes=15)


class Steered(Daemon):
    """A daemon that says when it has nothing more to do at this time."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.carried_out = asyncio.Event()

    async def _carry_out(self, batch: Batch) -> None:
        await super()._carry_out(batch)
        self.carried_out.set()

    async def done(self) -> None:
        """Wait until nothing is under way and nothing may begin before the clock moves on."""
        while self.busy or self._queue.wait(self._world.clock(), paused=False) == 0:
            await self.carried_out.wait()
            self.carried_out.clear()


def held(archive: Path) -> dict[str, int]:
    """Say what this process holds at the moment."""
    gc.collect()
    status = Path("/proc/self/status").read_text()
    memory = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    wal = archive / "manifest.db-wal"
    pooled = sum(thread.name.startswith("asyncio_") for thread in threading.enumerate())
    open_ = [str(place.readlink()) for place in Path("/proc/self/fd").iterdir() if place.is_symlink()]
    sockets = sum(name.startswith("socket:") for name in open_)
    return {
        "files": len(open_) - sockets,
        "sockets": sockets,  # a connection is kept for some seconds, and there are as many as pictures came at once
        "threads": threading.active_count() - pooled,
        "pooled": pooled,  # threads of the loop's own pool: it starts one whenever all are busy, and keeps it
        "memory": int(memory.split()[1]) * 1024,
        "wal": wal.stat().st_size if wal.exists() else 0,
        "tasks": len(asyncio.all_tasks()),
    }


async def soak(config: Path, passes: int) -> None:
    """Let the clock go from pass to pass, and tell now and then what is held."""
    time = SteeredTime(datetime.now(UTC))
    settings, _ = load(config, {})
    world = World(
        {"RUNTIME_DIRECTORY": str(config.parent)},
        ServiceManager(None),
        clock=lambda: time.time.timestamp(),
        now=time.now,
        call_later=time.call_later,
        chance=lambda: 0.0,
    )
    daemon = Steered(settings, lambda: settings, world)
    degraded = 0
    async with asyncio.TaskGroup() as group:
        running = group.create_task(daemon.run())
        await daemon.carried_out.wait()  # the first copy
        for number in range(passes + 1):
            await daemon.done()
            degraded += daemon.state is State.DEGRADED
            if number % max(passes // SAMPLES, 1) == 0:
                sample = {"type": "sample", "passes": number, "degraded": degraded, **held(settings.archive.path)}
                sys.stdout.write(json.dumps(sample) + "\n")
                sys.stdout.flush()
            await time.move_to(time.time + QUARTER)
        running.cancel()


if __name__ == "__main__":
    one_arena()
    log.configure(level="error")
    asyncio.run(soak(Path(sys.argv[1]), int(sys.argv[2])))
