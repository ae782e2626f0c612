"""What the tests of uploads share: small pictures, runs over one archive that never wait, the service's own ledger."""

from __future__ import annotations

import asyncio
import hashlib
import io
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from PIL import Image
from support import at_once, rows

from syncer import app
from syncer.inbox.drop import drop_of
from syncer.model import Workspace
from syncer.operations.parcels import Parcel, UploadEvent, Uploads
from syncer.operations.rooms import Rooms, utc_now
from syncer.operations.upload import upload
from syncer.service.client import ImageService
from syncer.settings import Settings
from syncer.simulator.server import Simulator

Sleep = Callable[[float], Awaitable[None]]


def picture(seed: object, *, size: tuple[int, int] = (48, 32), kind: str = "PNG") -> bytes:
    """Draw a small picture that looks like no other."""
    chance = random.Random(f"{seed}")
    drawn = Image.frombytes("RGB", (6, 4), chance.randbytes(72)).resize(size, Image.Resampling.BICUBIC)
    out = io.BytesIO()
    drawn.save(out, kind)
    return out.getvalue()


def sha256(content: bytes | str) -> str:
    return hashlib.sha256(content.encode() if isinstance(content, str) else content).hexdigest()


def parcel(folder: Path, name: str, content: bytes, workspace: str) -> Parcel:
    """Write a file, unless it is there already, and address it."""
    path = folder / name
    if not path.exists() or path.read_bytes() != content:
        path.write_bytes(content)
    return Parcel(Workspace(workspace), name, drop_of(path, most=32 << 20))


def remote(address: str, workspace: str) -> Parcel:
    return Parcel(Workspace(workspace), address.partition("?")[0], address=address)


class Hurry:
    """A clock on which every wait is over at once: who asked the other side for time has had it."""

    def __init__(self) -> None:
        self._ahead = 0.0  # seconds

    def clock(self) -> float:
        return time.monotonic() + self._ahead

    async def sleep(self, seconds: float) -> None:
        self._ahead += seconds
        await asyncio.sleep(0)


@asynccontextmanager
async def opened(settings: Settings, *, sleep: Sleep = at_once) -> AsyncIterator[Rooms]:
    """Open the rooms of a run in which nobody waits."""
    connection, hurry = app.connect(settings, {}), Hurry()
    async with (
        ImageService.open(connection, clock=hurry.clock, sleep=hurry.sleep, random=lambda: 0.0) as service,
        app.opened(settings, {}, "test", make=True, service=service) as rooms,
    ):
        yield replace(rooms, sleep=sleep)


@dataclass
class Ran:
    """What one run came to, and what it told meanwhile."""

    result: Uploads = field(default_factory=Uploads)
    events: list[UploadEvent] = field(default_factory=list)

    @property
    def kinds(self) -> Counter[str]:
        return Counter(str(one.kind) for one in self.result.delivered)

    @property
    def only(self) -> Any:
        (delivered,) = self.result.delivered
        return delivered


async def run(
    settings: Settings,
    *parcels: Parcel,
    workspaces: Sequence[str] = (),
    again: bool = False,
    sleep: Sleep = at_once,
    ran: Ran | None = None,
    later: timedelta = timedelta(),
) -> Ran:
    """Upload in a process's life of its own, so much later; raises what would end the run."""
    ran = ran or Ran()
    async with opened(settings, sleep=sleep) as rooms:
        rooms = replace(rooms, now=lambda: utc_now() + later)
        concerned = [Workspace(each) for each in workspaces]
        await upload(rooms, parcels, ran.events.append, ran.result, workspaces=concerned, again=again)
    return ran


def states(settings: Settings) -> dict[str, str]:
    """What the manifest remembers: the state by the name under which a content was first seen."""
    return {row["source"]: row["state"] for row in rows(settings.archive.path, "uploads")}


def row(settings: Settings) -> dict[str, Any]:
    """The one upload that the manifest remembers."""
    (found,) = rows(settings.archive.path, "uploads")
    return found


def carried_out(sim: Simulator) -> Counter[str]:
    """How often the service made an image of each content."""
    return Counter(uploaded.sha256 for uploaded in sim.uploads)


def events(settings: Settings) -> list[str]:
    """What the journal tells, in order."""
    files = sorted((settings.archive.path / "journal").iterdir())
    return [msgspec.json.decode(line)["event"] for file in files for line in file.read_bytes().splitlines()]


class Waiting:
    """A sleep that takes no time: what is due within it happens, and `slept` says how long it was."""

    def __init__(self) -> None:
        self.slept = 0.0
        self._due: list[tuple[float, Callable[[], object]]] = []

    def after(self, seconds: float, hook: Callable[[], object]) -> None:
        self._due.append((seconds, hook))

    async def __call__(self, seconds: float) -> None:
        self.slept += seconds
        for due in [due for due in self._due if due[0] <= self.slept]:
            self._due.remove(due)
            due[1]()
        for _ in range(10):  # what is let go on in the service does so, before anybody looks
            await asyncio.sleep(0)
