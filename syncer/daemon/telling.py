"""Tell how runs and states change: a line of the log, and those who asked to be notified.

What changed, and that each change is told once, is known to `troubles`; how a notice is delivered, to `notifier`.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import datetime
from pathlib import Path

import structlog

from syncer.daemon import notifier
from syncer.daemon.notifier import Facts, Notifier
from syncer.daemon.schedule import Work
from syncer.daemon.snapshot import Cause, WorkspaceState
from syncer.daemon.troubles import Changed, Trouble
from syncer.service.notices import Notices
from syncer.settings import Settings

log = structlog.get_logger()


class Telling:
    """Tells everybody; the addresses may be exchanged."""

    def __init__(self, environ: Mapping[str, str], memory: Path) -> None:
        self._environ = environ
        self._memory = memory
        self._notifier: Notifier
        self._open = AsyncExitStack()

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, environ: Mapping[str, str], memory: Path) -> AsyncIterator[Telling]:
        """Notify by these settings until the end of the block, and deliver then for some seconds what still waits.

        `environ` is what a command that is notified inherits, `memory` the file that outlasts us with what was told
        last: what began before a restart is to end once, after it. Raises `ConfigError` for a broken `service.ca_file`.
        """
        telling = cls(environ, memory)
        try:
            await telling.use(settings)
            yield telling
        finally:
            await telling._open.aclose()

    async def use(self, settings: Settings) -> None:
        """Notify by these settings from now on. Raises as `open`; then all stays as it was."""
        async with AsyncExitStack() as stack:
            ca_file = str(settings.service.ca_file) if settings.service.ca_file else None
            notices = await stack.enter_async_context(Notices.open(ca_file=ca_file))
            opened = Notifier.open(settings.notify, notices, self._environ)
            self._notifier = await stack.enter_async_context(opened)
            old, self._open = self._open, stack.pop_all()
        await old.aclose()  # last: it takes its time for what still waits, and a run may end meanwhile

    def began(self, run: str, what: str) -> None:
        """Say that a run began; `what` is for people."""
        self._notifier.began(run, what)

    def ended(self, run: str, text: str, *, ok: bool) -> None:
        """Say how a run ended; `text` is for people."""
        self._notifier.ended(run, ok, text)

    def changed(self, change: Changed | None, run: str | None, workspaces: Iterable[WorkspaceState]) -> None:
        """Say that the daemon is in another state, brought by this run; None is no change."""
        if change is None:
            return
        after = change.after
        if after is None:
            began = change.before.since if change.before else change.at
            log.info("daemon.recovered", seconds=round((change.at - began).total_seconds()))
        else:
            _log("daemon.degraded", after)
        text = "\n".join(filter(None, (after.text, after.hint))) if after else "all is well again"
        facts = Facts(text, run, tuple(workspaces))
        self._notifier.changed(_standing(change.before, change.at), _standing(after, change.at), facts)
        self._remember(after)

    def recalled(self) -> Trouble | None:
        """Read what an earlier life told last; None for that all is well, or for what cannot be read."""
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            told = json.loads(self._memory.read_bytes())
            work = Work(told["work"]) if told["work"] else None
            since = datetime.fromisoformat(told["since"])
            return Trouble((work, told["about"]), Cause(told["cause"]), told["text"], told["hint"], since)
        return None

    def _remember(self, trouble: Trouble | None) -> None:
        with suppress(OSError):  # the disk may be what is wrong
            if trouble is None:
                self._memory.unlink(missing_ok=True)
                return
            work, about = trouble.key
            told = {"work": work, "about": about, "cause": trouble.cause, "text": trouble.text, "hint": trouble.hint}
            fresh = self._memory.with_name(f"{self._memory.name}.new")
            fresh.write_text(json.dumps({**told, "since": trouble.since.isoformat()}))
            fresh.replace(self._memory)

    def reminded(self, trouble: Trouble | None) -> None:
        """Say of what lasts that it still does; None is nothing to say."""
        if trouble is not None:
            _log("daemon.still_degraded", trouble)


def _log(event: str, trouble: Trouble) -> None:
    told = log.warning if trouble.cause.passing else log.error
    since = trouble.since.isoformat()
    told(event, cause=str(trouble.cause), reason=trouble.text, hint=trouble.hint or None, since=since)


def _standing(trouble: Trouble | None, at: datetime) -> notifier.State:
    return notifier.State(at) if trouble is None else notifier.State(trouble.since, trouble.cause)
