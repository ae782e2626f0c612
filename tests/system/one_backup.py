"""One command in a process of its own, to be stopped or disturbed at a chosen system call; run by `kill_sweep`.

    python one_backup.py CONFIG threads|alone COMMAND

`alone`: all of it happens in one thread, so that the n-th call of a kind is the same one in every run (strace counts
by thread). `threads`: as it is. Either way batches are small, so that several are settled while others are received,
and nothing waits for the clock. The exit code is the one that `syncer COMMAND` would give; `repair` stands for
`verify --repair`.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from support import at_once, back_up, settings_of

from syncer import app
from syncer.archive.layout import stamp
from syncer.errors import SyncerError
from syncer.operations import backup, ledger, passes, rebuild, recording, repair, verification, verify
from syncer.operations.adopt import LocalCopies
from syncer.operations.rooms import utc_now
from syncer.settings import Settings

DAMAGED = 4
COPIES = "copies"  # the folder beside the configuration's own from which pictures are adopted


class Alone(ThreadPoolExecutor):
    """A pool that does what it is given at once, in the thread that gives it."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Do it, and answer with what has already come of it."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:
            future.set_exception(error)
        return future


async def _backed_up(settings: Settings, config: Path) -> int:
    return (await back_up(settings)).result.exit_code


async def _adopted(settings: Settings, config: Path) -> int:
    copies, result = LocalCopies.below(config.parent.parent / COPIES), backup.Backup()
    async with app.opened(settings, {}, "adopt", make=True) as rooms:
        rooms = replace(rooms, copies=copies, sleep=at_once)
        await backup.backup(rooms, (), passes.Options(), _unwatched, result)
    return result.exit_code


async def _repaired(settings: Settings, config: Path) -> int:
    looked, mended = verification.Verification(), repair.Repair()
    async with app.opened(settings, {}, "verify") as rooms:
        await repair.repair(rooms, verification.Options(), _unwatched, _unwatched, looked, mended)
    return DAMAGED if mended.damage else 0


async def _rebuilt(settings: Settings, config: Path) -> int:
    result = rebuild.Rebuilt()
    async with app.held(settings, "rebuild") as (archive, journal, run):
        await rebuild.rebuild(archive, journal, run, _unwatched, result)
    return DAMAGED if result.problems else 0


def _unwatched(event: object) -> None:
    pass


async def _verified(settings: Settings, config: Path) -> int:
    root, options, result = settings.archive.path, verification.Options(), verification.Verification()
    await verify.verify(root, options, _unwatched, result)
    if recording.against(root, result) is None:
        told = recording.verified(options, result, stamp(utc_now()))
        with suppress(SyncerError):  # that it could not be written down makes it no worse
            async with app.held(settings, "verify") as (archive, journal, _):
                await recording.write_down(archive, journal, told, result)
    return DAMAGED if result.damage else 0


COMMANDS: dict[str, Callable[[Settings, Path], Awaitable[int]]] = {
    "backup": _backed_up,
    "adopt": _adopted,
    "repair": _repaired,
    "rebuild": _rebuilt,
    "verify": _verified,
}


async def perform(command: str, config: Path) -> int:
    """Carry a command out in this process. Raises what would end it."""
    return await COMMANDS[command](settings_of(config), config)


async def run(command: str, config: Path, *, alone: bool) -> int:
    """Carry a command out, in small batches; a fatal error becomes its exit code, as on the command line."""
    ledger.BATCH, ledger.BATCH_SECONDS = 4, math.inf
    if alone:
        asyncio.get_running_loop().set_default_executor(Alone())
        for name, module in sys.modules.items():
            if name.startswith("syncer.") and "ThreadPoolExecutor" in vars(module):
                vars(module)["ThreadPoolExecutor"] = Alone
    try:
        return await perform(command, config)
    except SyncerError as error:
        sys.stderr.write(f"{error} | {error.hint}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(asyncio.run(run(sys.argv[3], Path(sys.argv[1]), alone=sys.argv[2] == "alone")))
