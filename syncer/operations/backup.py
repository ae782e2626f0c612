"""Back up workspaces: one pass over each, one after the other, and what it all came to.

A workspace that fails does not stop the others; what ends the run (a full disk, refused credentials) does.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field

from structlog.contextvars import bound_contextvars

from syncer.archive.journal import GENESIS
from syncer.archive.layout import MANIFEST, MARKER, workspace_folder
from syncer.errors import ConfigError, Refused, SafetyStop, SyncerError, Unavailable, UnexpectedAnswer
from syncer.model import Introduced, Report, Workspace
from syncer.operations.backup_pass import BackupPass
from syncer.operations.chronicle import Made, digest, tell_made
from syncer.operations.copying import copied, keep_copy
from syncer.operations.events import Watch
from syncer.operations.ledger import Ledger
from syncer.operations.passes import Options, Pass
from syncer.operations.rooms import Looking, Rooms

COUNTS = (
    "listed",
    "new",
    "changed",
    "unchanged",
    "filtered",
    "failed",
    "gone",
    "restored",
    "vanished",
    "owed",
    "bytes",
)


@dataclass(slots=True)
class Backup:
    """What a backup came to, filled while it runs, so that one that is stopped can still be told."""

    run: str = ""
    reports: list[Report] = field(default_factory=list)
    errors: list[SyncerError] = field(default_factory=list)
    of_workspaces: dict[str, SyncerError] = field(default_factory=dict)  # those of them that are one workspace's own
    requests: int = 0
    seconds: float = 0.0
    down: bool = False

    @property
    def complete(self) -> bool:
        """True only when every workspace is."""
        return bool(self.reports) and not self.errors and all(report.complete for report in self.reports)

    @property
    def totals(self) -> dict[str, int]:
        """The counts over all workspaces."""
        return {name: sum(getattr(report, name) for report in self.reports) for name in COUNTS}

    @property
    def exit_code(self) -> int:
        """What the shell is told: the worst of what happened, a safety stop first."""
        if any(isinstance(error, SafetyStop) for error in self.errors):
            return SafetyStop.exit_code
        if self.complete:
            return 0
        silent = [error for error in self.errors if isinstance(error, Unavailable | UnexpectedAnswer)]
        if self.down or (silent and len(silent) == len(self.reports)):
            return Unavailable.exit_code
        return 3


async def backup(rooms: Rooms, wanted: Sequence[str], options: Options, watch: Watch, result: Backup) -> None:
    """Copy what is new and changed, and mark what is gone. Raises what ends the run; `result` holds what was done."""
    result.run, asked = rooms.run, rooms.service.requests
    given = {workspace.id: workspace.name for workspace in rooms.settings.workspaces}
    try:
        with bound_contextvars(run=rooms.run):
            for workspace in await _chosen(rooms, wanted, result):
                proposed = workspace_folder(workspace.id, given.get(workspace.id))
                folder = await introduced(rooms, workspace, proposed)
                await _go(BackupPass(rooms, workspace, folder, options, watch), result)
            await _copy_manifest(rooms, result)
            result.down = await _silent(rooms, result)
    finally:
        result.requests = rooms.service.requests - asked


async def _silent(rooms: Rooms, result: Backup) -> bool:
    """Say whether the service itself has stopped answering; what keeps failing may be pictures alone."""
    if not rooms.service.down:
        return False
    for report in result.reports:
        for image_id in (await rooms.manifest.owed(report.workspace_id))[-1:]:
            try:
                await rooms.service.image(report.workspace_id, image_id)
            except Refused:
                return False
            except SyncerError:
                return True
            return False
    return True


async def _copy_manifest(rooms: Rooms, result: Backup) -> None:
    """Keep a copy of the manifest beside it, after a run that changed it, or where a copy was not finished."""
    changed = any(result.totals[count] for count in ("new", "changed", "failed", "gone", "vanished"))
    if changed or not copied(rooms.archive.root):
        await keep_copy(rooms.archive, rooms.manifest, rooms.archive.root / MANIFEST)


async def introduced(rooms: Rooms, workspace: Workspace, proposed: str) -> str:
    """Return the workspace's folder; a workspace that is new, or has another name, is told to journal and manifest."""
    known = await rooms.manifest.known(workspace.id)
    if known is not None and workspace.name in {None, "", known.name}:
        return known.folder
    if rooms.journal.seal == GENESIS:
        bound = await rooms.manifest.bound()
        marker = (rooms.archive.root / MARKER).read_bytes()
        tell_made(rooms.journal, Made(str(bound["archive_id"]), str(bound["created"]), digest(marker)))
    folder = known.folder if known is not None else proposed
    async with Ledger(rooms.archive, rooms.journal, rooms.manifest, lambda _: None) as ledger:
        await ledger.note(Introduced(workspace.id, workspace.name, folder))
    return folder


async def dry_run(rooms: Looking, wanted: Sequence[str], options: Options, watch: Watch, result: Backup) -> None:
    """Tell what `backup` would do, and write nothing."""
    try:
        for workspace in await _chosen(rooms, wanted, result):
            await _go(Pass(rooms, workspace, options, watch), result)
    finally:
        result.requests = rooms.service.requests


async def _go(one: Pass, result: Backup) -> None:
    result.reports.append(one.report)
    try:
        with bound_contextvars(workspace=one.workspace.id):
            await one.run()
    finally:
        if one.error is not None:
            result.errors.append(one.error)
            result.of_workspaces[one.workspace.id] = one.error


async def _chosen(rooms: Looking, wanted: Sequence[str], result: Backup) -> list[Workspace]:
    workspaces = await chosen(rooms, wanted)
    if not workspaces:  # only "*" can come to this
        hint = "have a workspace shared with these credentials, then look with `syncer check`"
        result.errors.append(Refused("the credentials reach no workspace", hint=hint))
    return workspaces


async def chosen(rooms: Looking, wanted: Sequence[str]) -> list[Workspace]:
    """Return the configured workspaces, `*` resolved, or those of them that are `wanted` by id or by name.

    A `*` that is wanted stands for those without an entry of their own.
    """
    configured = rooms.settings.workspaces
    found = {w.id: Workspace(w.id, w.name) for w in configured if w.id != "*"}
    own = frozenset(found)  # that have an entry of their own
    named = {name for workspace in found.values() for name in (workspace.id, workspace.name)}
    if len(found) < len(configured) and not (wanted and named.issuperset(wanted)):
        for workspace in await rooms.service.workspaces():
            found.setdefault(workspace.id, workspace)
        for workspace in await rooms.manifest.workspaces():  # one that became invisible is looked at, not forgotten
            found.setdefault(workspace.id, workspace)
    if not wanted:
        return list(found.values())
    every, matching = list(found.values()), dict[str, Workspace]()
    for name in wanted:
        star = name == "*" and len(own) < len(configured)
        those = [workspace for workspace in every if workspace.id not in own] if star else [_match(name, every)]
        matching |= {workspace.id: workspace for workspace in those}
    return list(matching.values())


def _match(name: str, among: Sequence[Workspace]) -> Workspace:
    for workspace in among:
        if name in {workspace.id, workspace.name}:
            return workspace
    known = [w.name or w.id for w in among]
    near = difflib.get_close_matches(name, known + [w.id for w in among], n=1)
    raise ConfigError(
        f"no workspace {name!r} in the configuration",
        hint=f"did you mean {near[0]!r}?" if near else f"configured: {', '.join(known) or 'none'}",
    )
