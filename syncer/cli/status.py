"""`syncer status`: what is held, when the last good run was, what is owed, and when all of it was last verified.

Uploads that are not settled are told as well; they make no backup incomplete.

A quick pass does not look for what a full one may have stopped at, so while the last full pass was not complete, quick
ones prove nothing: the age is that of the last full pass that was, and no summary says "complete".
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from json import loads
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from syncer.cli.output import clean, data, out, plural, say, size
from syncer.cli.unsettled import counted, unsettled
from syncer.errors import ConfigError, SyncerError
from syncer.redaction import redact

if TYPE_CHECKING:
    from syncer.manifest.reader import Reader, Row, Verifications
    from syncer.settings import Settings

SHOWN_FAILURES = 20
DAEMON_SECONDS = 3.0  # for the daemon to answer
CLOCK_SECONDS = 300  # by which two machines' clocks may well differ


@dataclass(frozen=True, slots=True)
class _Known:
    """What the manifest knows besides the workspaces; nothing where there is none yet."""

    failures: list[Row] = field(default_factory=list)
    losses: list[Row] = field(default_factory=list)
    uploads: list[Row] = field(default_factory=list)  # that are not settled
    verified: Verifications | None = None

    @classmethod
    def read(cls, reader: Reader) -> _Known:
        return cls(reader.failures(), reader.losses(), reader.uploads(), reader.verifications())


def status_(
    *,
    max_age: str | None = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Say per workspace what is held, when it was last complete, and what is owed. Reads the archive only.

    Quick passes count as complete runs only while the last full pass was complete.

    Parameters
    ----------
    max_age
        Exit with 3 when a configured workspace has had no complete run for longer than this, like 26h or 2d.
    json
        Write JSON lines to stdout, the last one with the type "summary".
    """
    from syncer.cli.invocation import settings
    from syncer.cli.looking import reading
    from syncer.settings import parse_duration

    limit = None
    if max_age is not None:
        try:
            limit = parse_duration(max_age)
        except ValueError as error:
            raise ConfigError(f"--max-age: {error}", hint="for example: --max-age 26h") from None
    loaded = settings()
    with reading(loaded) as reader:
        rows = reader.workspaces() if reader else []
        incomplete = reader.incomplete() if reader else frozenset()
        counts = reader.upload_counts() if reader else {}
        known = _Known.read(reader) if reader else _Known()
    names = {**dict.fromkeys(counts), **{w.id: w.name for w in loaded.workspaces if w.id != "*"}}
    rows += [_never(id_, name) for id_, name in names.items() if id_ not in {row["workspace_id"] for row in rows}]
    now = datetime.now(UTC)
    configured = {w.id for w in loaded.workspaces}
    for row in rows:
        row["uploads"] = counts.get(row["workspace_id"], {})
        row["configured"] = not configured.isdisjoint({row["workspace_id"], "*"})
        row["full_incomplete"] = row["workspace_id"] in incomplete
        row["age_seconds"] = _age(row["last_full" if row["full_incomplete"] else "last_good"], now)
        too_old = limit is not None and (row["age_seconds"] is None or row["age_seconds"] > limit)
        row["stale"] = row["configured"] and too_old
    stale = [row for row in rows if row["stale"]] or (limit is not None and not rows)
    daemon = _daemon(loaded)
    for row in rows:
        due = (daemon or {}).get("next", {}).get(row["workspace_id"]) or {}
        row["next_run"] = _time(min(due.values())) if due else None
    if json:
        _as_json(rows, known, daemon, stale=bool(stale))
    else:
        _as_text(rows, known.failures, now)
        for line in unsettled(known.uploads, {row["workspace_id"]: row["name"] for row in rows}):
            out.print(line)
        _daemon_as_text(daemon)
        if known.verified:
            _verified_as_text(known.verified, now)
        _losses_as_text(known.losses)
    return 3 if stale else 0


def _daemon(settings: Settings) -> dict[str, Any] | None:
    """Ask the daemon that looks after the archive, or only uploads, how it stands; None if there is none."""
    from syncer.archive.lock import daemon_of, watcher_of

    known = daemon_of(settings.archive.path) or watcher_of(settings.archive.path)
    if known is None and settings.archive.path.exists():
        return None  # else the disk is away, and its lock with it
    known = known or {}
    facts = {"pid": known.get("pid"), "command": known.get("command")}
    import asyncio

    from syncer.cli.ordering import sockets
    from syncer.daemon.control import ask

    async def asked() -> dict[str, Any]:
        async with asyncio.timeout(DAEMON_SECONDS):
            return await ask(sockets(settings), {"ask": "status", "archive": str(settings.archive.path)})

    try:
        return {**facts, **asyncio.run(asked())}
    except (SyncerError, TimeoutError) as error:
        return {**facts, "message": f"does not answer: {error or 'in time'}"} if known else None


def _time(epoch: float) -> str:
    return f"{datetime.fromtimestamp(epoch, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _never(workspace_id: str, name: str | None) -> Row:
    row: Row = {"workspace_id": workspace_id, "name": name, "live": 0, "gone": 0, "bytes": 0, "revisions": 0, "owed": 0}
    return row | dict.fromkeys(
        ("last_mode", "last_started", "last_ended", "last_complete", "last_why", "last_good", "last_full")
    )


def _age(time: str | None, now: datetime) -> float | None:
    """Return the seconds since a time; None for never, and for what a wrong clock wrote down as yet to come."""
    seconds = None if time is None else (now - datetime.fromisoformat(time)).total_seconds()
    return None if seconds is None or seconds < -CLOCK_SECONDS else round(max(seconds, 0.0), 3)


def _as_json(rows: list[Row], known: _Known, daemon: dict[str, Any] | None, *, stale: bool) -> None:
    for row in rows:
        data({"type": "workspace", **row})
    for kind, those in (("failure", known.failures), ("loss", known.losses), ("upload", known.uploads)):
        for row in those:
            data({"type": kind, **row})
    totals = {name: sum(row[name] for row in rows) for name in ("live", "gone", "bytes", "revisions", "owed")}
    uploads = sum((Counter(row["uploads"]) for row in rows), Counter[str]())
    good = (row["last_complete"] and not row["full_incomplete"] for row in rows)
    complete = bool(rows) and all(good) and not known.failures
    verified = known.verified
    looked = {"whole": verified and verified.whole, "last": verified and _parsed(verified.last)}
    told = {"lost": len(known.losses), "uploads": uploads, "verified": looked, "daemon": daemon}
    data({"type": "summary", "command": "status", **totals, **told, "complete": complete, "stale": stale})


def _parsed(last: Row | None) -> Row | None:
    """Make a verification's row fit for JSON: its findings by their kind, and what is true or false as that."""
    if last is None:
        return None
    return last | {"quick": bool(last["quick"]), "resumed": bool(last["resumed"]), "findings": loads(last["findings"])}


def _as_text(rows: list[Row], failures: list[Row], now: datetime) -> None:
    if not rows:
        say("Nothing is held yet. Run [bold]syncer backup[/].")
        return
    for row in rows:
        held = f"{plural(row['live'], 'image')}, {plural(row['revisions'], 'revision')}, {size(row['bytes'])}"
        gone = f"; {row['gone']:,} of the images deleted at the service, kept here" if row["gone"] else ""
        aside = "" if row["configured"] else "  [dim](not configured any more)[/]"
        out.print(f"[bold]{clean(row['name'] or row['workspace_id'])}[/]{aside}")
        out.print(f"  held           {held}{gone}")
        good, full = (_ago(_age(row[name], now)) for name in ("last_good", "last_full"))
        stale = "  [bold red]stale[/]" if row["stale"] else ""
        veto = "; [yellow]the latest full pass was not complete[/]" if row["full_incomplete"] else ""
        out.print(f"  last good run  {good}, last full pass {full}{veto}{stale}")
        out.print(f"  last run       {_last(row)}")
        if row["uploads"]:
            out.print(f"  uploads        {counted(row['uploads'])}")
        if row["next_run"]:
            out.print(f"  next run       {row['next_run']}")
    if failures:
        out.print(f"\n[bold yellow]{plural(len(failures), 'image')} owed[/], tried first on the next run:")
    for row in failures[:SHOWN_FAILURES]:
        tries = plural(row["attempts"], "try").replace("trys", "tries")
        out.print(
            f"  {clean(row['image_id'])}  {clean(redact(row['reason']))} [dim]({tries}, last {row['last_tried']})[/]"
        )
    if len(failures) > SHOWN_FAILURES:
        out.print(f"  … and {len(failures) - SHOWN_FAILURES} more: `syncer status --json`")


def _daemon_as_text(daemon: dict[str, Any] | None) -> None:
    if daemon is None:
        out.print("[bold]daemon[/]           none is running: `syncer run`")
    else:
        only = "only uploads: " if daemon["command"] == "watch" else ""
        told = clean(daemon.get("message", "?"))
        out.print(f"[bold]daemon[/]           {only}{told} [dim](pid {daemon['pid'] or '?'})[/]")


def _verified_as_text(verified: Verifications, now: datetime) -> None:
    whole, last = verified.whole, verified.last
    told = [f"whole {_found(whole, now)}" if whole else "never as a whole: `syncer verify`"]
    if last and not (whole and whole["verified_at"] == last["verified_at"]):
        part = f"part {last['part']}/{last['parts']}" if last["parts"] > 1 else "look"
        told.append(f"last {'quick ' * last['quick']}{'resumed ' * last['resumed']}{part} {_found(last, now)}")
    out.print(f"[bold]verified[/]         {'; '.join(told)}")


def _found(row: Row, now: datetime) -> str:
    damage = f"[bold red]damage found ({row['damage']:,})[/]" if row["damage"] else "[green]no damage[/]"
    return f"{_ago(_age(row['verified_at'], now))}, {damage}"


def _losses_as_text(losses: list[Row]) -> None:
    if losses:
        out.print(f"\n[bold red]{plural(len(losses), 'file')} lost[/], which the service does not have any more:")
    for row in losses:
        out.print(f"  {clean(row['path'])}  {clean(row['reason'])} [dim](found {row['found_at']})[/]")


def _last(row: dict[str, Any]) -> str:
    if row["last_started"] is None:
        return "never"
    if row["last_ended"] is None:
        return f"[yellow]began {row['last_started']}, did not end[/]"
    if row["last_complete"]:
        return f"[green]complete[/] ({row['last_mode']})"
    return f"[yellow]not complete[/]: {clean(redact(row['last_why'] or '?'))}"


def _ago(seconds: float | None) -> str:
    if seconds is None:
        return "never"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit} ago"
    return f"{max(0, seconds):.0f} s ago"
