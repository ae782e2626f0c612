"""`syncer backup`: one pass over the chosen workspaces, then exit."""

from __future__ import annotations

import os
import shlex
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from syncer.cli.output import clean, data, interactive, plural, say, size
from syncer.errors import AlreadyRunning, ConfigError, SyncerError
from syncer.redaction import redact

if TYPE_CHECKING:
    from syncer.model import Report
    from syncer.operations.adopt import LocalCopies
    from syncer.operations.backup import Backup
    from syncer.settings import Settings


def backup_(
    *workspace: str,
    quick: Annotated[bool, Parameter(negative=())] = False,
    full: Annotated[bool, Parameter(negative=())] = False,
    dry_run: Annotated[bool, Parameter(name=["--dry-run", "-n"], negative=())] = False,
    accept_deletions: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Copy what is new and changed, and mark what the service has deleted. Nothing kept is ever removed.

    Parameters
    ----------
    workspace
        Ids or names of configured workspaces; all of them when none is given.
    quick
        Read only the newest pages, down to what is known; blind to changes and deletions further down.
    full
        Read the whole listing. The default.
    dry_run
        Say what would be done, and write nothing.
    accept_deletions
        Mark images gone even where the deletion brake would hold: after a look at the service.
    json
        Write JSON lines to stdout, the last one with the type "summary".
    """
    from syncer.cli.invocation import configure_log, settings

    if quick and full:
        raise ConfigError("--quick and --full exclude each other", hint="leave both out for a full pass")
    configure_log("warning" if interactive() else "info")
    loaded = settings()
    if not dry_run:
        _leave_to_daemon(loaded, workspace, quick=quick, accept_deletions=accept_deletions)
    return carry_out(loaded, workspace, quick=quick, dry=dry_run, accept_deletions=accept_deletions, json=json)


def _leave_to_daemon(settings: Settings, workspaces: tuple[str, ...], *, quick: bool, accept_deletions: bool) -> None:
    """Raise `AlreadyRunning` where a daemon looks after the archive, and say how to have it do this."""
    from syncer.archive.lock import daemon_of
    from syncer.cli.invocation import current

    if (daemon := daemon_of(settings.archive.path)) is not None:
        config = current.get().config
        words = ["syncer", "trigger", "--wait", *workspaces, *(["--quick"] if quick else [])]
        words += ["--accept-deletions"] if accept_deletions else []
        words += ["--config", str(config)] if config else []
        raise AlreadyRunning(
            "a daemon looks after this archive",
            hint=f"have it make the pass now: {shlex.join(words)}",
            pid=daemon.get("pid"),
            since=daemon.get("since"),
        )


def carry_out(
    settings: Settings,
    wanted: tuple[str, ...] = (),
    *,
    quick: bool = False,
    dry: bool = False,
    accept_deletions: bool = False,
    json: bool = False,
    copies: LocalCopies | None = None,
) -> int:
    """Run one backup to its exit code and tell how it went. Raises what ends the run before anything could begin."""
    from syncer import app
    from syncer.cli.running import run
    from syncer.cli.watching import watching
    from syncer.operations.backup import Backup, backup, dry_run
    from syncer.operations.passes import Mode, Options

    options = Options(Mode.QUICK if quick else Mode.FULL, accept_deletions)
    result = Backup()

    async def work() -> int:
        with watching(json=json, dry=dry) as watch:
            if dry:
                async with app.looking(settings, os.environ) as rooms:
                    await dry_run(rooms, wanted, options, watch, result)
            else:
                async with app.opened(settings, os.environ, "backup", make=True) as rooms:
                    await backup(replace(rooms, copies=copies), wanted, options, watch, result)
        return result.exit_code

    started = time.monotonic()
    code, error = 1, None
    try:
        code = run(work())
    except SyncerError as raised:
        code, error = raised.exit_code, raised
    result.seconds = round(time.monotonic() - started, 3)
    _tell(settings, result, code, error, dry=dry)
    if json:
        data(summary(result, code, error, dry=dry))
    return code


def summary(result: Backup, code: int, error: SyncerError | None, *, dry: bool) -> dict[str, object]:
    """Make the summary line: totals, the workspaces' own, and why it is not complete."""
    why = [text for report in result.reports for text in report.why]
    why += [text for one in _all(result, error) if (text := redact(str(one))) not in why]
    return {
        "type": "summary",
        "command": "backup",
        "run": result.run,
        "dry_run": dry,
        **result.totals,
        "requests": result.requests,
        "seconds": result.seconds,
        "complete": result.complete and code == 0,
        "why": why,
        "exit_code": code,
        "workspaces": [asdict(report) for report in result.reports],
    }


def _all(result: Backup, error: SyncerError | None) -> list[SyncerError]:
    """Everything that went wrong, what ended the run included."""
    return result.errors if error is None or error in result.errors else [*result.errors, error]


def _tell(settings: Settings, result: Backup, code: int, error: SyncerError | None, *, dry: bool) -> None:
    from syncer.cli.output import clean, complain

    errors = _all(result, error)
    told = {redact(str(one)) for one in errors}
    for report in result.reports:
        say(_counts(report))
        for why in report.why:
            if why not in told:
                say(f"  [yellow]{clean(why)}[/]")
    for one in errors:
        complain(one)
    totals = result.totals
    if code in {130, 143}:
        say("[bold yellow]Stopped.[/] All that was finished is kept; run the same command again to go on.")
    elif dry and not errors:
        say("[bold]Dry run:[/] nothing was written.")
    elif code == 0:
        kept = plural(totals["new"] + totals["changed"], "image")
        where = clean(str(settings.archive.path))
        say(f"[bold green]Complete.[/] {kept} added ({size(totals['bytes'])}) in {result.seconds:.1f} s to {where}")
    elif result.reports:
        owed = totals["owed"]
        debt = f" {plural(owed, 'image')} owed, tried first next time: see `syncer status`." if owed else ""
        say(f"[bold yellow]Not complete.[/]{debt} Exit code {code}.")


def _counts(report: Report) -> str:
    """Write one workspace's balance in a line."""
    parts = " + ".join(
        f"{getattr(report, name):,} {name}" for name in ("new", "changed", "unchanged", "filtered", "failed")
    )
    aside = [f"{getattr(report, name):,} {name}" for name in ("gone", "restored", "vanished") if getattr(report, name)]
    cost = [size(report.bytes), plural(report.requests, "request"), f"{report.seconds:.1f} s"]
    mark = "[green]✓[/]" if report.complete else "[yellow]![/]"
    return f"{mark} [bold]{clean(report.name)}[/]: {report.listed:,} listed = {parts}; {', '.join(aside + cost)}"
