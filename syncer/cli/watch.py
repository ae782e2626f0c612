"""`syncer watch`: upload what is dropped into the watch folders, and nothing else, until told to stop."""

from __future__ import annotations

import os

from syncer.cli.run import GRACE


def watch_() -> int:
    """Upload what is dropped into the workspaces' watch folders, until stopped; make no backups.

    `syncer run` does this as well. SIGTERM and SIGINT stop it within 10 seconds, SIGHUP reads the configuration again.
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
        await Daemon(loaded, settings, World(os.environ, manager), only_uploads=True).run()
        return 0

    return run(work(), stopping="", grace=GRACE)
