"""The composition root: Settings in, opened rooms out, closed again in the right order.

Here it is decided whose archive this is: the marker in the folder and the manifest have to agree, else nothing is
touched (promise 3: what is lost must not look like an empty archive).
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path

from syncer import settings as configuration
from syncer.archive import lock
from syncer.archive.disk import translated
from syncer.archive.journal import GENESIS, Journal
from syncer.archive.layout import JOURNAL, MANIFEST, MARKER, STAGING, stamp
from syncer.archive.store import Archive
from syncer.errors import SafetyStop, SyncerError
from syncer.manifest.manifest import Manifest
from syncer.operations import recording
from syncer.operations.replay import catch_up
from syncer.operations.rooms import Looking, Rooms, utc_now
from syncer.operations.verification import Options, Verification
from syncer.redaction import redact
from syncer.service import auth
from syncer.service.client import Connection, ImageService
from syncer.settings import ClientCredentials, Settings


@asynccontextmanager
async def looking(settings: Settings, environ: Mapping[str, str]) -> AsyncIterator[Looking]:
    """Open what a dry run needs; nothing on the disk is made or changed."""
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(connected(settings, environ))
        manifest = await stack.enter_async_context(Manifest.open(settings.archive.path / MANIFEST, dry=True))
        yield Looking(settings, service, manifest, asyncio.Semaphore(settings.limits.downloads))


@asynccontextmanager
async def connected(settings: Settings, environ: Mapping[str, str]) -> AsyncIterator[ImageService]:
    """Open the connection to the service; nothing is asked yet. Raises `ConfigError` for credentials that are missing.

    What it waits for, it waits for in a thread: fetching a secret may run a command.
    """
    connection = await asyncio.to_thread(connect, settings, environ)
    async with ImageService.open(connection, on_secret=partial(redact.learn, passing=True)) as service:
        yield service


@asynccontextmanager
async def opened(
    settings: Settings,
    environ: Mapping[str, str],
    command: str,
    *,
    make: bool = False,
    service: ImageService | None = None,
    run: str | None = None,
) -> AsyncIterator[Rooms]:
    """Open every room for writing, under the archive's lock, with a manifest that knows all that the journal tells.

    Only with `make` is an archive made where none is. A `service` that is connected already is left open; `run` is
    the run's id, a new one if not given. Raises `ConfigError` for credentials that are missing, `AlreadyRunning`,
    `ArchiveUnwritable`, and `SafetyStop` where marker and manifest do not agree, or are missing.
    """
    async with AsyncExitStack() as stack:
        if not make:
            _refuse_absent(settings.archive.path, MARKER, MANIFEST)
        if service is None:
            service = await stack.enter_async_context(connected(settings, environ))
        archive = await stack.enter_async_context(
            Archive.open(
                settings.archive.path,
                reserve=settings.archive.reserve,
                image_bytes=settings.limits.image_bytes,
                sidecars=settings.archive.sidecars,
                command=command,
            )
        )
        manifest = await stack.enter_async_context(identified(archive))
        run = run or new_run(utc_now())
        journal = await stack.enter_async_context(Journal.open(archive.root, run))
        await catch_up(archive.root, manifest, journal.seal)
        yield Rooms(
            settings,
            service,
            manifest,
            asyncio.Semaphore(settings.limits.downloads),
            archive=archive,
            journal=journal,
            run=run,
        )


@asynccontextmanager
async def held(settings: Settings, command: str) -> AsyncIterator[tuple[Archive, Journal, str]]:
    """Open the archive alone, under its lock, with a journal and a run's id: for work that needs no service."""
    async with AsyncExitStack() as stack:
        _refuse_absent(settings.archive.path, MARKER)
        archive = await stack.enter_async_context(
            Archive.open(
                settings.archive.path,
                reserve=settings.archive.reserve,
                image_bytes=settings.limits.image_bytes,
                sidecars=settings.archive.sidecars,
                command=command,
            )
        )
        run = new_run(utc_now())
        yield archive, await stack.enter_async_context(Journal.open(archive.root, run)), run


async def remember_verified(
    settings: Settings,
    command: str,
    options: Options,
    result: Verification,
    *,
    damage: int | None = None,
    archive: str | None = None,
) -> str | None:
    """Tell the archive that it was verified; returns why that cannot be, None where it was. Nothing is raised.

    `damage` is how much there is in the end, what it found if not given. With an `archive`'s id, no other one is told.
    Who holds the archive is waited for, but not for long.
    """
    if reason := recording.against(settings.archive.path, result):
        return reason
    told = recording.verified(options, result, stamp(utc_now()), damage=damage)

    async def tell() -> str | None:
        async with held(settings, command) as (opened_, journal, _):
            if archive not in {None, opened_.id}:
                return "another archive lies there now"
            await recording.write_down(opened_, journal, told, result)
        return None

    try:
        return await lock.waiting(tell)
    except SyncerError as error:
        return error.message


@contextmanager
def looked_after(settings: Settings, socket: Path, *, only_uploads: bool = False) -> Iterator[None]:
    """Say for the block that a daemon, to be reached at `socket`, looks after the archive, or `only_uploads` to it.

    The archive itself stays free for others between the daemon's runs. Raises `AlreadyRunning` beside another daemon,
    `ArchiveUnwritable` where nothing can be written.
    """
    staging = settings.archive.path / STAGING
    names = (lock.WATCHER,) if only_uploads else (lock.DAEMON, lock.WATCHER)
    with ExitStack() as stack:
        with translated(settings.archive.path):
            staging.mkdir(parents=True, exist_ok=True)
            facts = {"since": f"{utc_now():%Y-%m-%dT%H:%M:%SZ}", "socket": str(socket)}
            for name in names:
                stack.enter_context(lock.held(staging / name, command="watch" if only_uploads else "run", **facts))
        yield


@asynccontextmanager
async def identified(archive: Archive) -> AsyncIterator[Manifest]:
    """Open the manifest that belongs to this archive, or make both marker and manifest where there is neither."""
    path = archive.root / MANIFEST
    if archive.id is None:
        _refuse_unmarked(archive.root)
        archive_id = archive.create_marker()  # before the manifest: a manifest without a marker is a safety stop
    else:
        archive_id = archive.id
        _refuse_without_manifest(archive.root)
    async with Manifest.open(path) as manifest:
        known = await manifest.archive_id()
        if known is None:
            created = utc_now().isoformat(timespec="seconds").replace("+00:00", "Z")
            await manifest.bind(archive_id, created, seal=GENESIS)  # it has learnt all of a journal that is empty
        elif known != archive_id:
            raise SafetyStop(
                "the archive's marker and its manifest belong to different archives",
                hint="see that the right disk is mounted, and that both files come from the same backup",
                archive=archive.root,
                marker=archive_id,
                manifest=known,
            )
        yield manifest


def _refuse_absent(root: Path, *files: str) -> None:
    """Raise `SafetyStop` where one of an archive's own files is missing, before anything is made there."""
    with translated(root):
        if all((root / name).exists() for name in files):
            return
        if not (root / MARKER).exists():
            _refuse_unmarked(root)
        else:
            _refuse_without_manifest(root)
    raise SafetyStop(
        "there is no archive here",
        hint="is the disk mounted, and is archive.path right? Where there is none yet, `syncer backup` makes one",
        archive=root,
    )


def _refuse_without_manifest(root: Path) -> None:
    if not (root / MANIFEST).exists() and (root / JOURNAL).is_dir():
        raise SafetyStop(
            "the archive holds images, and its manifest.db is missing",
            hint="put manifest.db back, or make it anew from the archive with `syncer rebuild`",
            archive=root,
        )


def _refuse_unmarked(root: Path) -> None:
    for sign in (MANIFEST, JOURNAL):
        if (root / sign).exists():
            raise SafetyStop(
                "the archive's marker is missing",
                hint="is the disk mounted? If it is the right folder, put syncer-archive.json back from a backup",
                archive=root,
                found=sign,
            )


def connect(settings: Settings, environ: Mapping[str, str]) -> Connection:
    """Say how to reach the service. Raises `ConfigError` when the credentials cannot be had."""
    found = configuration.credentials(settings.service, environ)
    credentials: auth.ClientCredentials | auth.StaticToken
    if isinstance(found, ClientCredentials):
        redact.learn(found.secret.reveal())
        credentials = auth.ClientCredentials(found.client_id, found.secret)
    else:
        redact.learn(found.token.reveal())
        credentials = auth.StaticToken(found.token)
    service, limits = settings.service, settings.limits
    return Connection(
        url=service.url,
        token_url=service.token_url,
        credentials=credentials,
        content_origins=service.content_origins,
        requests_per_second=limits.requests_per_second,
        slots=limits.downloads,
        retries=limits.retries,
        retry_seconds=limits.retry_seconds,
        stall_seconds=limits.stall_seconds,
        ca_file=str(service.ca_file) if service.ca_file else None,
    )


def new_run(now: datetime) -> str:
    """Return a run's id: its start, to be read and sorted by people, and a few digits that make it unique."""
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
