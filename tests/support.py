"""What tests of several rooms share: a configuration for a simulated service, backups in and out of this process."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlite_utils import Database

from syncer import app
from syncer.operations.backup import Backup, backup, dry_run
from syncer.operations.events import Event
from syncer.operations.passes import Mode, Options
from syncer.settings import Settings, load
from syncer.simulator.server import Simulator

CANARY = "canary-b7e1c04d5f2a4968"  # the client secret of every simulated service: it must turn up nowhere

DEFAULTS = {"limits": {"retries": 2, "retry_seconds": 20, "stall_seconds": 5}}


def configure(sim: Simulator, folder: Path, workspaces: Iterable[str] | None = None, **tables: dict[str, Any]) -> Path:
    """Write a configuration for this service into the folder; `tables` adds to its tables."""
    folder.mkdir(parents=True, exist_ok=True)
    secret = folder / "client_secret"
    secret.write_text(CANARY)
    secret.chmod(0o600)
    content: dict[str, dict[str, Any]] = {
        "service": {
            "url": sim.url,
            "token_url": sim.token_url,
            "client_id": sim.options.client_id,
            "client_secret_file": str(secret),
            "content_origins": [sim.store_url],
        },
        "archive": {"path": str(folder / "archive"), "reserve": 0},
        **{name: dict(table) for name, table in DEFAULTS.items()},
    }
    for name, table in tables.items():
        content.setdefault(name, {}).update(table)
    lines = []
    for name, table in content.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in table.items() if value is not None]
    chosen = (
        workspaces if workspaces is not None else [shelf.id for shelf in sim.workspaces.values() if shelf.accessible]
    )
    lines += [f"[[workspaces]]\nid = {json.dumps(workspace)}" for workspace in chosen]
    path = folder / "syncer.toml"
    path.write_text("\n".join(lines))
    return path


@dataclass
class Ran:
    """What one backup in this process came to."""

    result: Backup
    events: list[Event] = field(default_factory=list)

    @property
    def report(self) -> Any:
        (report,) = self.result.reports
        return report


async def at_once(_seconds: float) -> None:
    """Sleep no longer than it takes to let others go on."""
    await asyncio.sleep(0)


async def back_up(
    settings: Settings,
    *wanted: str,
    quick: bool = False,
    accept: bool = False,
    dry: bool = False,
    watch: Callable[[Event], None] | None = None,
) -> Ran:
    """Run a backup in this process; raises what would end the run."""
    ran = Ran(Backup())
    options = Options(Mode.QUICK if quick else Mode.FULL, accept)

    def see(event: Event) -> None:
        ran.events.append(event)
        if watch is not None:
            watch(event)

    if dry:
        async with app.looking(settings, {}) as looking:
            await dry_run(looking, wanted, options, see, ran.result)
    else:
        async with app.opened(settings, {}, "test", make=True) as rooms:
            await backup(replace(rooms, sleep=at_once), wanted, options, see, ran.result)
    for report in ran.result.reports:
        parts = (report.new, report.changed, report.unchanged, report.filtered, report.failed)
        assert report.listed == sum(parts), "the summary does not balance"
    return ran


def settings_of(path: Path) -> Settings:
    """Load a configuration as a command would, without this process's environment."""
    settings, warnings = load(path, {})
    assert warnings == ()
    return settings


def syncer(
    *arguments: object, env: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the installed command to its end; for services in other processes, or none."""
    return subprocess.run(
        [sys.executable, "-m", "syncer", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=cwd,
        env=environment(env),
    )


def environment(more: dict[str, str] | None = None) -> dict[str, str]:
    """This process's environment without what would change a command's behaviour."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SYNCER_", "XDG_", "CREDENTIALS_"))}
    return kept | {"NO_COLOR": "1", "COLUMNS": "200"} | (more or {})


def lines(output: str) -> list[dict[str, Any]]:
    """Read JSON lines."""
    return [json.loads(line) for line in output.splitlines()]


def rows(archive: Path, table: str, where: str | None = None) -> list[dict[str, Any]]:
    """Read a table of an archive's manifest, as anybody could."""
    db = Database(archive / "manifest.db")
    try:
        return list(db.table(table).rows_where(where))
    finally:
        db.close()


def pictures(archive: Path) -> dict[str, bytes]:
    """All files below the workspaces' folders that are not sidecars, by path."""
    return {
        str(path.relative_to(archive)): path.read_bytes()
        for path in archive.rglob("*")
        if path.is_file()
        and path.suffix != ".json"
        and not path.is_relative_to(archive / ".staging")
        and not path.is_relative_to(archive / "journal")
        and not path.name.startswith("manifest.db")
    }
