"""The simulated service in a thread beside a command, and what a command came to."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from support import lines

from syncer.simulator.server import Options, Simulator


@contextmanager
def served(options: Options) -> Iterator[Simulator]:
    """Run a simulated service in a thread of its own, since a command blocks this one."""
    ready: Future[tuple[Simulator, Callable[[], object]]] = Future()

    async def serve() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        try:
            async with Simulator.start(options) as sim:
                ready.set_result((sim, lambda: loop.call_soon_threadsafe(stop.set)))
                await stop.wait()
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        sim, stop = ready.result()
        try:
            yield sim
        finally:
            stop()
    finally:
        thread.join()


@dataclass(frozen=True)
class Ran:
    """What one command came to."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON lines on stdout, without the summary."""
        *before, summary = lines(self.out)
        assert summary["type"] == "summary"
        return before

    @property
    def summary(self) -> dict[str, Any]:
        """The last JSON line."""
        return lines(self.out)[-1]


Syncer = Callable[..., Ran]
