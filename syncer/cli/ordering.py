"""What the commands that speak with the daemon share: ask it, and say what it answers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from syncer.cli.output import clean, data, say
from syncer.errors import ConfigError

if TYPE_CHECKING:
    from syncer.settings import Settings

SERVICE = Path("/run/syncer/control.sock")


def order(request: dict[str, Any], *, json: bool) -> int:
    """Ask the daemon that looks after the configured archive; returns the exit code that it answers with."""
    from syncer.cli.invocation import settings
    from syncer.cli.running import run

    loaded = settings()
    answer: dict[str, Any] = {}

    async def work() -> int:
        from syncer.daemon import control

        answer.update(await control.ask(sockets(loaded), {**request, "archive": str(loaded.archive.path)}))
        return int(answer.get("exit_code", 0))

    try:
        code = run(work(), stopping="[bold]Stopping:[/] the daemon goes on.")
    except ConfigError as error:
        if not loaded.archive.path.exists():
            error.hint = f"is the archive's disk mounted? If a daemon runs, it listens elsewhere; else: {error.hint}"
        raise
    if json:
        data({"type": "summary", "command": request["ask"], **answer, "exit_code": code})
    elif answer:
        colour = "green" if answer.get("ok") and not code else "yellow"
        say(f"[{colour}]{clean(answer.get('message', '?'))}[/]")
        if answer.get("hint"):
            say(f"  [bold]→[/] {clean(answer['hint'])}")
    return code


def sockets(settings: Settings) -> tuple[Path, ...]:
    """Say where the daemon may listen: where it says itself, if its lock can be read, else where it would.

    That is where it would from here, or as the service that docs/systemd.md sets up.
    """
    from syncer.archive.lock import daemon_of, watcher_of
    from syncer.daemon.control import address

    told = daemon_of(settings.archive.path) or watcher_of(settings.archive.path) or {}
    here = address(settings.daemon.socket, settings.archive.path, os.environ)
    itself = (Path(str(told["socket"])),) if told.get("socket") else ()
    return (*itself, here, SERVICE)
