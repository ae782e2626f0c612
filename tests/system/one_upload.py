"""Upload what lies in the configured watch folder, once, in a process of its own that is to be killed on its way.

    python one_upload.py CONFIG

All of it happens in one thread, so that the n-th call of a kind is the same one in every run; nothing waits for the
clock. The exit code is the one that `syncer upload` would give.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from one_backup import Alone
from support import at_once, settings_of

from syncer import app
from syncer.errors import SyncerError
from syncer.inbox.disposal import After
from syncer.inbox.inbox import Inbox
from syncer.model import Workspace
from syncer.operations.upload import Parcel, Uploads, upload


async def perform(config: Path) -> Uploads:
    """Upload what is there, and settle what is open. Raises what would end it."""
    settings, result, complete = settings_of(config), Uploads(), asyncio.Event()
    (configured,) = settings.workspaces
    assert configured.watch is not None
    workspace = Workspace(configured.id, configured.name)
    there = any(path.is_file() for path in configured.watch.iterdir())
    opened = Inbox.open(
        configured.watch,
        settle=0.01,
        after=After.MOVE,
        most=settings.limits.upload_bytes,
        ready=complete.set,
        events=False,
    )
    async with opened as inbox, app.opened(settings, {}, "upload", make=True) as rooms:
        if there:
            await complete.wait()
        parcels = [Parcel(workspace, drop.name, drop=drop, inbox=inbox) for drop in inbox.take()]
        rooms = replace(rooms, sleep=at_once)
        await upload(rooms, parcels, lambda _: None, result, workspaces=[workspace])
    return result


async def run(config: Path) -> int:
    """Do it in one thread; a fatal error becomes its exit code, as on the command line."""
    asyncio.get_running_loop().set_default_executor(Alone())
    for name, module in sys.modules.items():
        if name.startswith("syncer.") and "ThreadPoolExecutor" in vars(module):
            vars(module)["ThreadPoolExecutor"] = Alone
    try:
        return (await perform(config)).exit_code
    except SyncerError as error:
        sys.stderr.write(f"{error} | {error.hint}\n")
        return error.exit_code


if __name__ == "__main__":
    sys.exit(asyncio.run(run(Path(sys.argv[1]))))
