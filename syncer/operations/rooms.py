"""The opened rooms that an operation works in, handed over by `app`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from syncer.archive.journal import Journal
from syncer.archive.store import Archive
from syncer.manifest.manifest import Manifest
from syncer.operations.adopt import LocalCopies
from syncer.service.client import ImageService
from syncer.settings import Settings


def utc_now() -> datetime:
    """Return the time of the machine's clock, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Looking:
    """What a dry run needs: the service to ask and the manifest to compare with. Nothing is written."""

    settings: Settings
    service: ImageService
    manifest: Manifest
    slots: asyncio.Semaphore  # of `limits.downloads`, over all workspaces
    now: Callable[[], datetime] = utc_now
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(frozen=True, kw_only=True)
class Rooms(Looking):
    """What a backup needs beyond that: somewhere to keep things."""

    archive: Archive
    journal: Journal
    run: str
    copies: LocalCopies | None = None  # files to use instead of downloading, for `adopt`
