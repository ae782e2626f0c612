"""Say what can be set: one frozen dataclass per table with its defaults, and what must agree between them.

The annotations name the reader of `values` that `reading` calls for each value. Built directly, as tests do, a table
takes its values as they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated

from syncer.settings import values
from syncer.settings.secrets import Secret, secret, secret_address
from syncer.settings.values import FULL, LISTEN, QUICK

_After = Annotated[str, values.one_of("move", "keep", "delete")]
_Address = Annotated[str, values.api_address]
_Command = Annotated[str, values.command]
_Count = Annotated[int, values.whole(0)]
_Delay = Annotated[float, values.delay]
_Flag = Annotated[bool, values.flag]
_Listen = Annotated[tuple[str, int], values.listen]
_Location = Annotated[Path, values.location]
_Number = Annotated[float, values.number]
_Origin = Annotated[str, values.origin]
_Percent = Annotated[float, values.percent]
_Positive = Annotated[int, values.whole(1)]
_Schedule = Annotated[str, values.schedule]
_Seconds = Annotated[float, values.seconds]
_Secret = Annotated[Secret, secret]
_SecretAddress = Annotated[Secret, secret_address]
_Size = Annotated[int, values.size]
_Socket = Annotated[Path, values.socket]
_SomeSize = Annotated[int, values.some_size]
_Text = Annotated[str, values.text]


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """Where the service is, and where its credentials are kept."""

    url: _Address = "https://app.neuroflash.com/api"
    token_url: _Address = "https://id.neuroflash.com/oauth/v2/token"  # noqa: S105 - an address, not a token
    client_id: _Text | None = None
    client_secret: _Secret | None = None
    client_secret_file: _Location | None = None
    client_secret_command: _Command | None = None
    token_file: _Location | None = None
    content_origins: tuple[_Origin, ...] = ("https://storage.googleapis.com",)
    ca_file: _Location | None = None


@dataclass(frozen=True, slots=True)
class ArchiveSettings:
    path: _Location
    reserve: _Size = 1 << 30
    sidecars: _Flag = True


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """How much at once, how large, how long; 0 lifts `downloads_per_workspace` and `requests_per_second`."""

    downloads: _Positive = 32
    downloads_per_workspace: _Count = 0
    uploads: _Positive = 4
    upload_bytes: _SomeSize = 32 << 20
    requests_per_second: _Number = 0
    image_bytes: _SomeSize = 256 << 20
    retries: _Count = 5
    retry_seconds: _Seconds = 300
    stall_seconds: _Seconds = 60


@dataclass(frozen=True, slots=True)
class SafetySettings:
    """The deletion brake: more than both."""

    max_gone_items: _Count = 25
    max_gone_percent: _Percent = 5


@dataclass(frozen=True, slots=True)
class ScheduleSettings:
    """When `syncer run` does what.

    Each kind of work has a cron line in UTC with the days of the week as names, an interval for `parse_duration`, or
    "" for never. `jitter` is in seconds.
    """

    quick: _Schedule = QUICK
    full: _Schedule = FULL
    verify: _Schedule = ""
    jitter: _Delay = 30
    verify_parts: _Positive = 30


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """Where `syncer run` answers: HTTP at host and port (None: nowhere), and a Unix socket (None: its usual place)."""

    listen: _Listen | None = LISTEN
    socket: _Socket | None = None


@dataclass(frozen=True, slots=True)
class NotifySettings:
    """Who is told how `syncer run` fares; the addresses are secrets, since whoever knows one can use it."""

    ping_url: _SecretAddress | None = None
    webhook_url: _SecretAddress | None = None
    command: _Command | None = None


@dataclass(frozen=True, slots=True)
class WorkspaceSchedule:
    """Schedules of one workspace's own; None is what `[schedule]` says."""

    quick: _Schedule | None = None
    full: _Schedule | None = None


@dataclass(frozen=True, slots=True)
class WorkspaceSettings:
    """One workspace; the id `*` stands for every one that the credentials can reach and that has no entry.

    What is dropped into the folder `watch` is uploaded once it has been still for `watch_settle` seconds;
    `watch_after` says what becomes of the file then.
    """

    id: _Text
    name: _Text | None = None
    watch: _Location | None = None
    schedule: WorkspaceSchedule = field(default_factory=WorkspaceSchedule)
    watch_settle: _Seconds = 2
    watch_after: _After = "move"


@dataclass(frozen=True, slots=True)
class Settings:
    archive: ArchiveSettings
    workspaces: tuple[WorkspaceSettings, ...]
    service: ServiceSettings = field(default_factory=ServiceSettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    safety: SafetySettings = field(default_factory=SafetySettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    daemon: DaemonSettings = field(default_factory=DaemonSettings)
    notify: NotifySettings = field(default_factory=NotifySettings)
    source: Path | None = None  # the file they came from


TABLES: dict[str, tuple[str, ...]] = {
    name: tuple(option.name for option in fields(table))
    for name, table in {
        "service": ServiceSettings,
        "archive": ArchiveSettings,
        "limits": LimitSettings,
        "safety": SafetySettings,
        "schedule": ScheduleSettings,
        "daemon": DaemonSettings,
        "notify": NotifySettings,
    }.items()
}
WORKSPACE = tuple(option.name for option in fields(WorkspaceSettings))
WORKSPACE_SCHEDULE = tuple(option.name for option in fields(WorkspaceSchedule))

_CREDENTIALS = ("client_secret", "client_secret_file", "client_secret_command", "token_file")


def clashing_credentials(service: Mapping[str, object]) -> Iterator[str]:
    given = [key for key in _CREDENTIALS if key in service]
    if given == ["token_file"] and "client_id" in service:
        given.append("client_id")
    elif len(given) < 2:
        return
    yield f"service: want one source of credentials, got {' and '.join(given)}"


def clashing_workspaces(rows: object, tables: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
    """Judge the workspaces against each other. Rows that are wrong in themselves have their own complaints."""
    if not isinstance(rows, list | tuple):
        return
    if not rows:
        yield 'workspaces: missing; name at least one, or "*" for every one that the credentials can reach'
    names: dict[object, str] = {}
    folders = {"archive.path": tables["archive"].get("path")}
    for index, row in enumerate(rows):
        if not isinstance(row, dict):
            continue
        here = f"workspaces[{index}]"
        if row.get("id") == "*":
            yield from (
                f'{here}.{key}: "*" stands for many; give the workspace an entry of its own'
                for key in ("name", "watch")
                if row.get(key) is not None
            )
        for key in ("id", "name"):
            if not isinstance(word := row.get(key), str):
                continue
            holder = names.setdefault(word, f"{here}.{key}")
            if not holder.startswith(f"{here}."):
                yield f"{here}.{key}: {word!r} is {holder} already"
        if isinstance(watch := row.get("watch"), Path):
            # What syncer writes must not be uploaded, and no file twice.
            yield from (f"{here}.watch: overlaps {other}" for other, at in folders.items() if _overlap(watch, at))
            folders[f"{here}.watch"] = watch


def _overlap(one: Path, other: object) -> bool:
    if not isinstance(other, Path):
        return False
    first, second = Path(os.path.normpath(one)), Path(os.path.normpath(other))
    return first.is_relative_to(second) or second.is_relative_to(first)
