"""One backup in a process of its own, to be stopped or disturbed at a chosen system call; run by `kill_sweep`.

    python one_backup.py CONFIG threads|alone

`alone`: all of it happens in one thread, so that the n-th call of a kind is the same one in every run (strace counts
by thread). `threads`: as it is. Either way batches are small, so that several are settled while others are received,
and nothing waits for the clock. The exit code is the one that `syncer backup` would give.
"""

from __future__ import annotations

import asyncio
import math
import sys
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from support import back_up, settings_of

from syncer.errors import SyncerError
from syncer.manifest import manifest
from syncer.operations import ledger


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


async def run(config: Path, *, alone: bool) -> int:
    """Back up once; a fatal error becomes its exit code, as on the command line."""
    ledger.BATCH, ledger.BATCH_SECONDS = 4, math.inf
    if alone:
        asyncio.get_running_loop().set_default_executor(Alone())
        vars(manifest)["ThreadPoolExecutor"] = Alone
    try:
        return (await back_up(settings_of(config))).result.exit_code
    except SyncerError as error:
        sys.stderr.write(f"{error} | {error.hint}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(asyncio.run(run(Path(sys.argv[1]), alone=sys.argv[2] == "alone")))
