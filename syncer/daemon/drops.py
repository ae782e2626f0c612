"""The watch folders while the daemon runs: an inbox for every workspace that has one.

Says when something has become complete, hands it out, and takes back what was not delivered. What is wrong with a
folder is told as a `problem` for as long as it lasts; a mistake of ours in watching one is logged, and the folder is
watched anew after a while. It sends nothing: that is the upload's.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import structlog

from syncer.daemon.schedule import Job, Work
from syncer.inbox.disposal import After
from syncer.inbox.inbox import Inbox
from syncer.model import Workspace
from syncer.operations.parcels import Parcel
from syncer.settings import Settings

log = structlog.get_logger()

ANEW = 60.0  # seconds before a folder is watched anew after a mistake of ours


@dataclass(frozen=True, slots=True)
class _Watched:
    """A folder as the configuration names it: how long its files are to be still (seconds), and how large at most."""

    workspace: Workspace
    folder: Path
    settle: float
    after: After
    most: int


class Drops:
    """What is dropped into the watch folders."""

    def __init__(self, due: Callable[[Job], object], group: asyncio.TaskGroup) -> None:
        self._due = due
        self._group = group
        self._keepers: dict[_Watched, asyncio.Task[None]] = {}
        self._inboxes: dict[_Watched, Inbox] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, due: Callable[[Job], object]) -> AsyncIterator[Drops]:
        """Watch nothing yet; `due` is told each time that something has become complete in a folder."""
        async with asyncio.TaskGroup() as group:
            drops = cls(due, group)
            try:
                yield drops
            finally:
                drops._watch_only(())

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The uploads that may fall due."""
        return tuple(Job(Work.UPLOAD, watched.workspace.id) for watched in self._keepers)

    @property
    def problems(self) -> dict[str, str | None]:
        """Say of each workspace why its folder cannot be watched at this moment; None where it can."""
        return {watched.workspace.id: inbox.problem for watched, inbox in self._inboxes.items()}

    @property
    def waiting(self) -> dict[str, int]:
        """Count each workspace's files that are complete, or becoming so, and not delivered."""
        return {watched.workspace.id: inbox.waiting for watched, inbox in self._inboxes.items()}

    def arrange(self, settings: Settings) -> None:
        """Watch the folders that the configuration names, and no others."""
        self._watch_only(
            _Watched(Workspace(one.id, one.name), one.watch, one.watch_settle, After(one.watch_after), most)
            for one in settings.workspaces
            for most in [settings.limits.upload_bytes]
            if one.watch is not None
        )

    def take(self, workspace_ids: Collection[str]) -> list[Parcel]:
        """Hand out all that is complete for these workspaces; what is not delivered is to be given back."""
        return [
            Parcel(watched.workspace, drop.name, drop=drop, inbox=inbox)
            for watched, inbox in self._inboxes.items()
            if watched.workspace.id in workspace_ids
            for drop in inbox.take()
        ]

    def give_back(self, parcels: Iterable[Parcel]) -> None:
        """Take back those parcels that have not come to an end; they are handed out again next time."""
        for parcel in parcels:
            if parcel.inbox is not None and parcel.drop is not None:
                parcel.inbox.later(parcel.drop)  # says nothing about those that are out of its hands

    def _watch_only(self, wanted: Iterable[_Watched]) -> None:
        wanted = set(wanted)
        for watched in self._keepers.keys() - wanted:
            self._keepers.pop(watched).cancel()
        for watched in wanted - self._keepers.keys():
            self._keepers[watched] = self._group.create_task(self._keep(watched))

    async def _keep(self, watched: _Watched) -> None:
        ready = partial(self._due, Job(Work.UPLOAD, watched.workspace.id))
        while True:
            try:
                opened = Inbox.open(
                    watched.folder, settle=watched.settle, after=watched.after, most=watched.most, ready=ready
                )
                async with opened as inbox:
                    self._inboxes[watched] = inbox
                    log.info("inbox.watched", workspace=watched.workspace.id, folder=str(watched.folder))
                    await asyncio.Event().wait()
            except Exception:  # a mistake in watching one folder must not end the daemon
                log.exception("daemon.bug")
            finally:
                self._inboxes.pop(watched, None)
            await asyncio.sleep(ANEW)
