"""`syncer run`: look after the archive by a schedule, until told to stop."""

from __future__ import annotations

import os
from typing import Annotated

from cyclopts import Parameter

GRACE = 9.0  # seconds to stop in, of the ten that a service manager is promised


def run_(*, once_now: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Keep the archive up to date by the schedule of the configuration, until stopped: the daemon.

    SIGTERM and SIGINT stop it within 10 seconds, SIGHUP reads the configuration again, SIGUSR1 begins a full pass.

    Parameters
    ----------
    once_now
        Begin with a full pass at once, whatever the schedule says, and go on by the schedule.
    """
    from syncer.cli.invocation import configure_log, settings
    from syncer.cli.running import run
    from syncer.daemon.daemon import Daemon
    from syncer.daemon.memory import one_arena
    from syncer.daemon.service_manager import ServiceManager
    from syncer.daemon.world import World

    one_arena()
    configure_log()
    loaded = settings()
    manager = ServiceManager.of(os.environ)

    async def work() -> int:
        await Daemon(loaded, settings, World(os.environ, manager)).run(at_once=once_now)
        return 0

    return run(work(), stopping="", grace=GRACE)
