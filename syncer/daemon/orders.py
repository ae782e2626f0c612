"""What may be ordered from outside while the daemon runs: by signals, and through the control socket."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from syncer.daemon.schedule import Job, Work
from syncer.errors import ConfigError

if TYPE_CHECKING:
    from syncer.daemon.daemon import Daemon

Message = dict[str, Any]
SIGNALS = (signal.SIGHUP, signal.SIGUSR1)


class Orders:
    """Understands orders and has the daemon follow them."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._signals: asyncio.Queue[signal.Signals] = asyncio.Queue()

    async def carry_out(self, message: Message) -> Message:
        """Answer one message of the control socket. Raises `ConfigError` for what cannot be meant."""
        ours = self._daemon.settings.archive.path
        if message.get("archive") not in (None, str(ours)):
            raise ConfigError("the daemon that listens there looks after another archive", archive=ours)
        match message.get("ask"):
            case "trigger":
                return await self._trigger(message)
            case "pause":
                self._daemon.pause()
                return {"message": "paused: nothing begins by the schedule until `syncer resume`, or a restart"}
            case "resume":
                self._daemon.resume()
                return {"message": "resumed"}
            case "status":
                return await self._status()
            case _:
                raise ConfigError("this daemon does not know what is asked", hint="is it of the same version?")

    @contextmanager
    def hearing_signals(self) -> Iterator[None]:
        """Keep SIGHUP and SIGUSR1, which would end the process, for `follow_signals`."""
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._signals.put_nowait, number)
        try:
            yield
        finally:
            for number in SIGNALS:
                loop.remove_signal_handler(number)

    async def follow_signals(self) -> None:
        """Follow SIGHUP (read the configuration again) and SIGUSR1 (a full pass now) until cancelled."""
        while True:
            if await self._signals.get() is signal.SIGHUP:
                await self._daemon.reload()
            else:
                self._daemon.ask(self._jobs(Work.FULL, []))

    async def _trigger(self, message: Message) -> Message:
        try:
            work = Work(message.get("work", Work.FULL))
        except ValueError:
            raise ConfigError("this daemon does not know such work", hint="is it of the same version?") from None
        names = message.get("workspaces", [])
        if not isinstance(names, list):
            raise ConfigError("this daemon does not understand which workspaces are meant")
        jobs = self._jobs(work, [str(name) for name in names])
        if work is Work.FULL:  # a person has looked: uploads that wait for another day are tried again as well
            jobs += [job for job in self._daemon.uploads if not names or Job(work, job.workspace_id) in jobs]
        behind = ", behind the run under way" if self._daemon.busy else ""
        accept = bool(message.get("accept_deletions"))
        if not message.get("wait"):
            self._daemon.ask(jobs, accept=accept)
            return {"message": f"{'queued' if behind else 'begun'}{behind}", "exit_code": 0}
        ended = await self._daemon.ended(jobs, accept=accept)
        worst = max(ended, key=lambda one: one.code)
        answer = {"message": worst.text, "hint": worst.hint, "exit_code": worst.code, "run": worst.run}
        return {"ok": worst.code == 0, **answer}

    def _jobs(self, work: Work, names: list[str]) -> list[Job]:
        if work is Work.VERIFY:
            if names:
                raise ConfigError("a verification is of the whole archive", hint="leave the workspaces out")
            return [Job(Work.VERIFY)]
        if not names and work is Work.UPLOAD and self._daemon.uploads:
            return list(self._daemon.uploads)
        if not names:
            return [Job(work, workspace.id) for workspace in self._daemon.settings.workspaces]
        return [Job(work, self._meant(name)) for name in dict.fromkeys(names)]

    def _meant(self, name: str) -> str:
        account = self._daemon.account
        found = account.resolve(name)
        if found is None:
            known = [one for workspace in account.settings.workspaces for one in (workspace.name, workspace.id) if one]
            near = get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"configured: {', '.join(known)}"
            raise ConfigError(f"no workspace {name!r} in the daemon's configuration", hint=hint)
        return found

    async def _status(self) -> Message:
        snapshot = await self._daemon.snapshot()
        return {
            "message": self._daemon.standing(),
            "state": snapshot.state,
            "reason": snapshot.reason,
            "causes": sorted(snapshot.causes),
            "paused": snapshot.paused,
            "queue": snapshot.queue,
            "running": snapshot.running.work if snapshot.running else None,
            "next": {workspace.workspace_id: dict(workspace.next_run) for workspace in snapshot.workspaces},
            "next_verification": snapshot.next_verification,
        }
