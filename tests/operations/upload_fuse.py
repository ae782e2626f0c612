"""End a run of uploads at its n-th step: between any two things that it does to the world outside of it.

A step is a call of the service, the manifest, the journal or a sleep, its beginning and its end counted apart.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from inspect import isasyncgenfunction, iscoroutinefunction
from pathlib import Path
from typing import Any

from uploading import opened, parcel

from syncer.operations.parcels import Uploads
from syncer.operations.rooms import Rooms
from syncer.operations.upload import upload
from syncer.settings import Settings, load


class Fuse:
    """Counts steps, and calls `burnt` at the one it was made for: the process's end, if nothing else."""

    def __init__(self, at: int) -> None:
        self.at = at
        self.count = 0
        self.burnt: Callable[[], object] = lambda: os.kill(os.getpid(), signal.SIGKILL)

    def step(self) -> None:
        self.count += 1
        if self.count == self.at:
            self.burnt()


class _Fused:
    """Stands for a room, and counts what is awaited of it."""

    def __init__(self, room: Any, fuse: Fuse) -> None:
        self._room = room
        self._fuse = fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._room, name)
        inner = getattr(found, "__wrapped__", found)  # what a context manager is made of

        async def stepped(*args: Any, **named: Any) -> Any:
            self._fuse.step()
            done = await found(*args, **named)
            self._fuse.step()
            return done

        @asynccontextmanager
        async def entered(*args: Any, **named: Any) -> AsyncIterator[Any]:
            self._fuse.step()
            async with found(*args, **named) as value:
                self._fuse.step()
                yield value

        if name == "retrying":  # what it repeats takes steps of its own
            return found
        return entered if isasyncgenfunction(inner) else stepped if iscoroutinefunction(found) else found


def fused(rooms: Rooms, fuse: Fuse) -> Rooms:
    """The same rooms, on a fuse."""
    sleep = _Fused(rooms, fuse).sleep
    parts: dict[str, Any] = {name: _Fused(getattr(rooms, name), fuse) for name in ("service", "manifest", "journal")}
    return replace(rooms, sleep=sleep, **parts)


def die_at(step: int, configuration: Path, folder: Path, name: str, workspace: str) -> None:
    """Upload a file in this process, and have it killed at a step; for a process of its own."""
    settings, _ = load(configuration, {})
    asyncio.run(_die_at(step, settings, folder, name, workspace))


async def _die_at(step: int, settings: Settings, folder: Path, name: str, workspace: str) -> None:
    given = parcel(folder, name, (folder / name).read_bytes(), workspace)
    async with opened(settings) as rooms:
        await upload(fused(rooms, Fuse(step)), [given], lambda _: None, Uploads())
