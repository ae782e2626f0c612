"""A daemon in this process: a service manager that listens, a log to read, and a time that stands still until moved."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import structlog
from logs import logging_as_before
from steered_time import SteeredTime

from syncer.daemon.control import address, ask
from syncer.daemon.daemon import Daemon
from syncer.daemon.service_manager import ServiceManager
from syncer.daemon.world import World
from syncer.settings import Settings

PATIENCE = 60  # seconds after which a test fails instead of waiting on
HOURLY = {"quick": "", "full": "1h", "verify": "", "jitter": 0}
QUIET = {"listen": ""}  # no health over HTTP

Line = dict[str, Any]


class Pulse:
    """Wakes whoever waits for something to become true."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def beat(self) -> None:
        """Have everybody look again; from any thread."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._again)

    def _again(self) -> None:
        event, self._event = self._event, asyncio.Event()
        event.set()

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not true():
                await self._event.wait()


@dataclass
class Watched:
    """A daemon under watch: what it wrote to its log, and what it told its service manager."""

    daemon: Daemon
    task: asyncio.Task[None]
    time: SteeredTime
    socket: Path
    pulse: Pulse
    lines: list[Line]
    told: list[str] = field(default_factory=list)
    alive: int = 0  # signs of life
    looks: int = 0  # at the clock of the calendar

    @property
    def status(self) -> str:
        """What the service manager shows."""
        (last,) = [part for text in self.told for part in text.split("\n") if part.startswith("STATUS=")][-1:]
        return last.removeprefix("STATUS=")

    def logged(self, event: str) -> list[Line]:
        return [line for line in self.lines if line["event"] == event]

    async def until(self, true: Callable[[], object]) -> None:
        """Wait until it is true, whenever something was logged or told."""
        await self.pulse.until(lambda: true() or self.task.done())
        if self.task.done():
            await self.task

    async def logs(self, event: str, times: int = 1) -> list[Line]:
        """Wait until the event stands in the log so often."""
        await self.until(lambda: len(self.logged(event)) >= times)
        return self.logged(event)

    async def rests(self) -> None:
        """Wait until no run is under way and none can begin before the time moves."""
        await self.until(lambda: not self.daemon.busy and self._held())

    def _held(self) -> bool:
        queue, paused = self.daemon._queue, self.daemon._paused
        return queue.wait(self.time.now().timestamp(), paused=paused) != 0

    async def pass_by(self, **span: float) -> None:
        """Let time go by."""
        await self.time.move_to(self.time.now() + timedelta(**span))

    async def ask(self, **request: Any) -> Line:
        """Ask through the control socket."""
        async with asyncio.timeout(PATIENCE):
            return await ask((self.socket,), request)


@asynccontextmanager
async def looked_after(
    settings: Settings,
    runtime: Path,
    *,
    load: Callable[[], Settings] | None = None,
    at_once: bool = False,
    only_uploads: bool = False,
    start: datetime | None = None,
    begun: Callable[[], object] = lambda: None,
) -> AsyncIterator[Watched]:
    """Run a daemon that is ready until the end of the block; its end has to be that of its cancellation.

    `begun` is called when it has begun, and is not ready yet.
    """
    time = SteeredTime(start or datetime.now(UTC))
    pulse, lines = Pulse(), list[Line]()

    def now() -> datetime:
        watched.looks += 1
        pulse.beat()
        return time.now()

    with logging_to(lines, pulse), listener() as (manager, heard), closing(manager):
        environ = {"RUNTIME_DIRECTORY": str(runtime)}
        world = World(
            environ,
            manager,
            clock=lambda: time.now().timestamp(),
            now=now,
            call_later=time.call_later,
            chance=lambda: 0.5,
        )
        socket = address(settings.daemon.socket, settings.archive.path, environ)
        watched: Watched
        watched = Watched(None, None, time, socket, pulse, lines)  # type: ignore[arg-type]
        watched.daemon = Daemon(settings, load or (lambda: settings), world, only_uploads=only_uploads)

        def hear() -> None:
            text = heard.recv(1 << 16).decode()
            if text == "WATCHDOG=1":
                watched.alive += 1
            else:
                watched.told.append(text)
            pulse.beat()

        asyncio.get_running_loop().add_reader(heard, hear)
        watched.task = asyncio.create_task(watched.daemon.run(at_once=at_once))
        watched.task.add_done_callback(lambda _: pulse.beat())
        try:
            await asyncio.sleep(0)
            begun()
            await watched.until(lambda: any("READY=1" in text for text in watched.told))
            yield watched
        finally:
            if not watched.task.done():
                watched.task.cancel()
            await asyncio.wait([watched.task], timeout=PATIENCE)
            asyncio.get_running_loop().remove_reader(heard)
        assert watched.task.done(), f"it does not end: {[task.get_stack() for task in asyncio.all_tasks()]}"
        assert watched.task.cancelled(), "it ended by itself"


@contextmanager
def listener() -> Iterator[tuple[ServiceManager, socket.socket]]:
    """The service manager's end of its socket, and ours."""
    name = f"syncer-{uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(f"\0{name}")
        heard.setblocking(False)
        # Signs of life are wanted every few milliseconds, so that no test waits long for a look.
        yield ServiceManager.of({"NOTIFY_SOCKET": f"@{name}", "WATCHDOG_USEC": "10000"}), heard


@contextmanager
def logging_to(lines: list[Line], pulse: Pulse) -> Iterator[None]:
    """Keep what is logged, debug lines too."""

    def keep(_logger: object, level: str, event: Any) -> Any:
        lines.append({**event, "level": level})
        pulse.beat()
        raise structlog.DropEvent

    with logging_as_before():
        structlog.configure(processors=[structlog.contextvars.merge_contextvars, keep])
        yield
