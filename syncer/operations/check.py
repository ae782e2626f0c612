"""Look at everything a backup needs, one thing at a time, and say what to do about what is not right.

Nothing is written but a file that is removed again, to see that the archive can be written.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from syncer.archive.layout import MANIFEST, MARKER, STAGING
from syncer.errors import (
    ArchiveUnwritable,
    ConfigError,
    NotFound,
    Refused,
    SafetyStop,
    StorageFull,
    SyncerError,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
)
from syncer.manifest.reader import sqlite_version
from syncer.model import Workspace
from syncer.service.client import ImageService
from syncer.settings import Settings, WorkspaceSettings

CLOCK_SECONDS = 300  # tokens and signed links are refused by clocks that are further apart than some minutes
SQLITE_AT_LEAST = (3, 35, 0)

NO_ROUTE = {
    "dns": ("no route: the name cannot be resolved", "check the spelling of the URL, and this machine's DNS"),
    "refused": ("no route: no connection can be made", "check host and port of the URL, and the firewall or proxy"),
    "timeout": ("no route: no answer in time", "check the network and the firewall; the service may be down"),
    "reset": ("the connection broke", "check the network; a proxy or firewall may be in the way"),
    "tls": (
        "TLS failure: no secure connection can be made",
        "check the URL and this machine's clock; for a company proxy set service.ca_file to its certificate",
    ),
}


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the answer; `exit_code` is what a backup or upload would end with because of it, 0 if all is well."""

    name: str
    detail: str
    exit_code: int = 0
    hint: str = ""

    @property
    def ok(self) -> bool:
        """Whether a backup and the uploads can live with it."""
        return self.exit_code == 0


def check_machine(settings: Settings) -> list[Check]:
    """Look at SQLite, at the archive's folder and disk, and at each folder that is watched for uploads."""
    watched = [_watched(workspace, settings.archive.path) for workspace in settings.workspaces if workspace.watch]
    return [_sqlite(), _folder(settings), _disk(settings), _lock(settings.archive.path), *watched]


def _sqlite() -> Check:
    version, wanted = (".".join(map(str, numbers)) for numbers in (sqlite_version(), SQLITE_AT_LEAST))
    if sqlite_version() < SQLITE_AT_LEAST:
        return Check("sqlite", f"SQLite {version} is too old", 2, f"use a Python whose SQLite is {wanted} or newer")
    return Check("sqlite", f"SQLite {version}")


def _folder(settings: Settings) -> Check:
    root = settings.archive.path
    there = _nearest(root)
    try:
        with tempfile.TemporaryFile(dir=root / STAGING if (root / STAGING).is_dir() else there):
            pass
    except OSError as error:
        hint = "give this user the right to write there, or choose another archive.path"
        return Check("archive", f"{root} cannot be written: {error.strerror}", ArchiveUnwritable.exit_code, hint)
    if not root.exists():
        return Check("archive", f"{root} will be made by the first backup")
    marked, known = (root / MARKER).exists(), (root / MANIFEST).exists()
    if known and not marked:
        hint = "is the right disk mounted? If so, put syncer-archive.json back from a backup"
        return Check("archive", f"{root} has lost its marker", SafetyStop.exit_code, hint)
    return Check("archive", f"{root} can be written" + ("" if known else "; no backup in it yet"))


def _disk(settings: Settings) -> Check:
    free = shutil.disk_usage(_nearest(settings.archive.path)).free
    if free <= settings.archive.reserve:
        hint = "make room, or lower archive.reserve"
        detail = f"{_gib(free)} free, which is not more than the reserve of {_gib(settings.archive.reserve)}"
        return Check("disk", detail, StorageFull.exit_code, hint)
    return Check("disk", f"{_gib(free)} free, reserve {_gib(settings.archive.reserve)}")


def _lock(root: Path) -> Check:
    try:
        fd = os.open(root / STAGING / "lock", os.O_RDONLY)
    except OSError:
        return Check("lock", "no other process holds the archive")
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(fd, 4096, 0).decode(errors="replace").strip()
        return Check("lock", f"a running syncer holds the archive: {holder}")
    finally:
        os.close(fd)
    return Check("lock", "no other process holds the archive")


def _watched(workspace: WorkspaceSettings, archive: Path) -> Check:
    """Look at a watch folder as whoever runs this sees it; nothing is written there, since it may be watched now."""
    folder = workspace.watch
    assert folder is not None  # noqa: S101  asked for those that have one
    title = f"watch {workspace.name or workspace.id}"
    try:
        with os.scandir(folder):
            pass
        inside = _overlap(folder.resolve(), archive.resolve())
    except FileNotFoundError:
        hint = "make it, mount its disk, or correct this workspace's watch in the configuration"
        return Check(title, f"{folder} is not there", 3, hint)
    except NotADirectoryError:
        hint = "correct this workspace's watch in the configuration: it wants a folder"
        return Check(title, f"{folder} is not a folder", 3, hint)
    except OSError as error:
        return Check(title, f"{folder} cannot be read: {error.strerror}", 3, _RIGHTS)
    if inside:  # the settings compare the names only; links lead elsewhere
        hint = "watch a folder of its own: what syncer writes must not be uploaded"
        return Check(title, f"{folder} and the archive overlap", ConfigError.exit_code, hint)
    if not os.access(folder, os.W_OK | os.X_OK, effective_ids=True):
        if workspace.watch_after == "keep":
            return Check(title, f"{folder} can be read; it cannot be written, so what is refused stays in the way")
        return Check(title, f"{folder} cannot be written, to take files away that are done or refused", 3, _RIGHTS)
    return Check(title, f"{folder} can be read and written")


_RIGHTS = "give this user the rights to read and write there (as a systemd service: docs/uploads.md)"


def _overlap(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)


def _nearest(path: Path) -> Path:
    """Return the path, or the folder above it that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"


async def check_service(service: ImageService, settings: Settings) -> AsyncIterator[Check]:
    """Ask the service what a backup would ask, and tell apart why it does not answer as it should."""
    trouble: SyncerError | None = None
    reachable: tuple[Workspace, ...] = ()
    try:
        reachable = await service.workspaces()
        yield Check("service", f"{settings.service.url} answers, the credentials are good")
    except (Unauthorized, Unavailable) as error:
        yield _refused(error) if isinstance(error, Unauthorized) else _unreachable(error)
        return
    except (Refused, UnexpectedAnswer) as error:
        trouble = error
    names = {w.id: w.name for w in settings.workspaces if w.id != "*"}
    if len(names) < len(settings.workspaces):
        names = {w.id: w.name for w in reachable} | names
    checks = [await _workspace(service, workspace_id, name) for workspace_id, name in names.items()]
    if trouble is not None:
        yield _odd(trouble, settings, any(check.ok for check in checks))
    for check in checks:
        yield check
    if not checks and trouble is None:
        yield Check("workspaces", "the credentials reach no workspace", 3, "ask the team's owner to share one")
    yield _clock(service.clock_skew)


async def _workspace(service: ImageService, workspace_id: str, name: str | None) -> Check:
    title = f"workspace {name or workspace_id}"
    try:
        page = await service.page(workspace_id, 1, 1)
    except Unauthorized as error:
        return _refused(error)
    except NotFound:
        return Check(title, "no such workspace, or no access to it", 3, "check the id; is the URL the right one?")
    except Refused as error:
        if error.status == 403:
            return Check(title, "no access to this workspace", 3, "have it shared with these credentials, or remove it")
        return Check(title, str(error), 3, error.hint)
    except UnexpectedAnswer as error:
        return Check(title, str(error), error.exit_code, error.hint or "check service.url")
    except Unavailable as error:
        return _unreachable(error)
    return Check(title, "readable" if page.total is None else f"readable, {page.total:,} images")


def _refused(error: Unauthorized) -> Check:
    return Check("credentials", f"wrong credentials: {error}", error.exit_code, error.hint)


def _unreachable(error: Unavailable) -> Check:
    cause = str(error.facts.get("cause") or "")
    if cause in NO_ROUTE:
        detail, hint = NO_ROUTE[cause]
        return Check("service", f"{detail} [{error}]", error.exit_code, hint)
    return Check("service", str(error), error.exit_code, "try again later; if it stays, ask the service's support")


def _odd(error: SyncerError, settings: Settings, workspaces_answer: bool) -> Check:
    url = settings.service.url
    if workspaces_answer:
        return Check("service", f"{url} answers; the list of workspaces does not: {error}")
    if isinstance(error, Refused) and error.status == 403:
        return Check("service", f"no access: {error}", 3, "check what these credentials may do")
    return Check("service", f"wrong URL? {error}", 8, "check service.url and service.token_url against the API's pages")


def _clock(skew: float | None) -> Check:
    if skew is None:
        return Check("clock", "the service does not say what time it is")
    if abs(skew) > CLOCK_SECONDS:
        ahead = "ahead of" if skew > 0 else "behind"
        detail = f"this machine's clock is {abs(skew):,.0f} s {ahead} the service's"
        return Check("clock", detail, 3, "let the machine keep time, for example with systemd-timesyncd")
    return Check("clock", f"within {max(1, round(abs(skew)))} s of the service's")
