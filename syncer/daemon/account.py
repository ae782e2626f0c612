"""What the daemon knows of its archive: read from the manifest after each run, and held against the schedule.

A manifest that cannot be read leaves what was known before; why it cannot be read is for the next run to tell.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from syncer import __version__
from syncer.archive.layout import MANIFEST
from syncer.daemon.schedule import Job, Work, longest_gap
from syncer.daemon.snapshot import (
    Expected,
    Remembered,
    Running,
    Snapshot,
    State,
    Verification,
    WorkspaceState,
    judged,
    remembered,
)
from syncer.daemon.troubles import Troubles
from syncer.errors import SyncerError
from syncer.manifest.reader import Reader
from syncer.operations.verification import Part
from syncer.settings import Settings

PATIENCE = 2  # times the longest wait that a schedule has: then a workspace without a good run is stale


@dataclass(slots=True)
class Account:
    """What is known; `settings` say what is expected, and may be exchanged."""

    settings: Settings
    started: float  # epoch seconds
    known: Remembered = field(default_factory=Remembered)
    _part: int | None = None  # that was verified last, as the manifest tells
    _own: Verification | None = None  # the last one of ours, which the archive may not have been told

    async def read(self) -> None:
        """Take in what the manifest says now."""
        path = self.settings.archive.path / MANIFEST

        def look() -> tuple[Remembered, int | None]:
            with Reader.open(path) as reader:
                return remembered(reader), reader.last_part(self.settings.schedule.verify_parts)

        with suppress(SyncerError, OSError):
            self.known, self._part = await asyncio.to_thread(look)

    def workspaces(self, workspace_id: str) -> list[WorkspaceState]:
        """Return what is known under a configured id; `*` stands for all that have no entry of their own."""
        if workspace_id != "*":
            return [known for known in self.known.workspaces.values() if known.workspace_id == workspace_id]
        own = {workspace.id for workspace in self.settings.workspaces}
        return [known for known in self.known.workspaces.values() if known.workspace_id not in own]

    def last(self, jobs: Iterable[Job]) -> dict[Job, datetime]:
        """Say when each job was last done well; one that never was is left out."""
        found = {}
        for job in jobs:
            if job.work is Work.VERIFY:
                times = [self.verified.ended if self.verified else None]
            else:
                full = job.work is Work.FULL
                known = self.workspaces(job.workspace_id or "*")
                times = [one.last_full if full else one.last_success for one in known]
            if times and None not in times:
                found[job] = datetime.fromtimestamp(min(time for time in times if time is not None), UTC)
        return found

    def next_part(self) -> Part:
        """Say which part of the archive to verify next."""
        of = self.settings.schedule.verify_parts
        last = self._own.part if self._own is not None and self._own.parts == of else self._part
        return Part(1 if last is None else last % of + 1, of)

    def looked(self, part: Part, damage: int, at: float) -> None:
        """Remember a verification of ours that came to its end, for the next part to follow whatever is recorded."""
        self._own = Verification(at, damage, part.of, part.number)

    @property
    def last_good(self) -> datetime | None:
        """When the last good run of any workspace ended; None before the first one."""
        good = [known.last_success for known in self.known.workspaces.values() if known.last_success]
        return datetime.fromtimestamp(max(good), UTC) if good else None

    @property
    def verified(self) -> Verification | None:
        """The last verification that is known of, by whomever."""
        known = [one for one in (self.known.verified, self._own) if one is not None]
        return max(known, key=lambda one: one.ended, default=None)

    def resolve(self, name: str) -> str | None:
        """Return the configured or reachable id that somebody means by an id or a name; None if nobody can mean it."""
        for configured in self.settings.workspaces:
            if name in {configured.id, configured.name}:
                return configured.id
        if any(configured.id == "*" for configured in self.settings.workspaces):
            for known in self.workspaces("*"):
                if name in {known.workspace_id, known.name}:
                    return known.workspace_id
        return None

    def expected(self, jobs: Mapping[Job, str], times: Mapping[Job, datetime]) -> dict[str, Expected]:
        """Say of each configured id when it is due next, and how old the last good run may become."""
        names = {workspace.id: workspace.name for workspace in self.settings.workspaces}
        found: dict[str, Expected] = {}
        for workspace_id, name in names.items():
            own = [job for job in jobs if job.workspace_id == workspace_id]
            gaps = [longest_gap(jobs[job]) for job in own]
            found[workspace_id] = Expected(
                name,
                stale_after=PATIENCE * min(gaps) if gaps else None,
                next_run={str(job.work): times[job].timestamp() for job in own if job in times},
            )
        return found

    async def snapshot(
        self,
        at: float,
        state: State,
        troubles: Troubles,
        expected: Mapping[str, Expected],
        *,
        running: Running | None,
        queue: int,
        requests: Mapping[int, int],
        token_age: float | None,
        next_verification: float | None,
    ) -> Snapshot:
        """Put together all that the daemon tells of itself."""
        self.started = min(self.started, at)  # a clock that was wrong must not keep us from being stale
        worst = troubles.worst
        return Snapshot(
            at=at,
            version=__version__,
            started=self.started,
            ready=state is not State.STARTING,
            state=state,
            causes=troubles.causes,
            reason=worst.text if worst else "",
            running=running,
            queue=queue,
            paused=state is State.PAUSED,
            workspaces=judged(self.known.workspaces, expected, since=self.started, at=at, running=running),
            lost=self.known.lost,
            archive_bytes=self.known.bytes,
            archive_free_bytes=await asyncio.to_thread(self._free),
            requests=requests,
            token_age=token_age,
            verified=self.verified,
            verified_whole=self.known.verified_whole,
            next_verification=next_verification,
        )

    def _free(self) -> int | None:
        with suppress(OSError):
            return shutil.disk_usage(self.settings.archive.path).free
        return None
