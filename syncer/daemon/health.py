"""Answer over HTTP whether the daemon is well: `/healthz`, `/readyz` and, for Prometheus, `/metrics`.

Whoever can connect may ask. So nothing is told that is secret, and whoever asks often, slowly or nonsense can hold
little, and that not for long: few connections at once, each for a short time, and one look at the daemon for all who
ask within a second. A look that fails is an answer too: 503. What there is to see, and what it means, is left to
`snapshot`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import structlog
from aiohttp import hdrs, web

from syncer.daemon.metrics import exposition
from syncer.daemon.snapshot import Snapshot, WorkspaceState
from syncer.errors import ConfigError, SyncerError
from syncer.redaction import redact

FRESH = 1.0  # seconds for which a snapshot serves all who ask
PATIENCE = 5.0  # seconds for a snapshot: an archive's disk may hang
LONGEST_VISIT = 15.0  # seconds from connecting to the end of the answer
MOST_VISITORS = 32  # connections at once: they are taken from the files that a backup may open

TEXT = "text/plain; charset=utf-8"
JSON = "application/json"

log = structlog.get_logger()


class HealthServer:
    """The open server; see `open`."""

    def __init__(self, port: int) -> None:
        self._port = port

    @property
    def port(self) -> int:
        """The port that is listened at, also where any free one was asked for."""
        return self._port

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        listen: tuple[str, int],
        snapshot: Callable[[], Awaitable[Snapshot]],
        *,
        clock: Callable[[], float] = time.monotonic,
        patience: float = PATIENCE,
        longest_visit: float = LONGEST_VISIT,
    ) -> AsyncIterator[HealthServer]:
        """Answer at this host and port for the block; `patience` and `longest_visit` are seconds.

        Raises `ConfigError` where the address cannot be had. What `snapshot` raises is answered, not raised.
        """
        looks = _Looks(snapshot, clock, patience)
        app = web.Application(client_max_size=1024)
        app.add_routes(
            [
                web.get("/healthz", looks.answering(_health)),
                web.get("/readyz", looks.answering(_readiness)),
                web.get("/metrics", looks.answering(_metrics)),
                web.get("/{other:.*}", _nothing_here),
            ]
        )
        app.on_response_prepare.append(_plain)
        runner = web.AppRunner(app, shutdown_timeout=0.5)
        await runner.setup()
        assert runner.server is not None  # noqa: S101  it has been set up
        try:
            doors = await _listen(listen, runner.server, longest_visit)
            try:
                yield cls(doors.sockets[0].getsockname()[1])
            finally:
                doors.close()
        finally:
            await runner.cleanup()
            await looks.aclose()


class _Looks:
    """The newest look at the daemon, shared by all who ask while it is fresh, however it came out."""

    def __init__(
        self, snapshot: Callable[[], Awaitable[Snapshot]], clock: Callable[[], float], patience: float
    ) -> None:
        self._snapshot = snapshot
        self._clock = clock
        self._patience = patience
        self._look: asyncio.Task[Snapshot | None] | None = None
        self._ended = 0.0
        self._failing = False

    def answering(
        self, judge: Callable[[Snapshot, web.Request], web.Response]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        """Make a handler of what judges a snapshot."""

        async def handler(request: web.Request) -> web.Response:
            seen = await self._newest()
            return _said(503, "the daemon's state cannot be read") if seen is None else judge(seen, request)

        return handler

    async def _newest(self) -> Snapshot | None:
        if self._look is None or (self._look.done() and self._clock() - self._ended >= FRESH):
            self._look = asyncio.create_task(self._take())
        # Shielded: whoever gives up must not end the look for the others, and a hanging one is not begun twice.
        done, _ = await asyncio.wait([self._look], timeout=self._patience)
        return self._look.result() if done else None

    async def _take(self) -> Snapshot | None:
        try:
            seen = await self._snapshot()
        except Exception as error:  # whatever it is, it must not go unseen: answered as 503, told once in the log
            if not self._failing:
                log.warning("health.failed", exc_info=not isinstance(error, SyncerError), error=redact(str(error)))
            self._failing = True
            return None
        else:
            self._failing = False
            return seen
        finally:
            self._ended = self._clock()

    async def aclose(self) -> None:
        """End a look that is still under way."""
        if self._look is not None:
            self._look.cancel()
            await asyncio.wait([self._look])


# --- what is answered ---------------------------------------------------------------------------------


def health(seen: Snapshot) -> dict[str, object]:
    """Make the body of `/healthz`: whether backups happen as scheduled, and if not, why and for whom."""
    return {
        "ok": seen.healthy,
        "state": seen.state,
        "causes": sorted(seen.causes),
        "reason": redact(seen.reason),
        "stale": [_stale(workspace) for workspace in seen.stale],
        "version": seen.version,
    }


def _stale(workspace: WorkspaceState) -> dict[str, object]:
    last = workspace.last_success
    return {
        "workspace": workspace.workspace_id,
        "name": workspace.name,
        "last_success": None if last is None else f"{datetime.fromtimestamp(last, UTC):%Y-%m-%dT%H:%M:%SZ}",
    }


def _health(seen: Snapshot, _request: web.Request) -> web.Response:
    body = msgspec.json.encode(health(seen)) + b"\n"
    return web.Response(status=200 if seen.healthy else 503, body=body, headers={hdrs.CONTENT_TYPE: JSON})


def _readiness(seen: Snapshot, _request: web.Request) -> web.Response:
    return _said(200, "ready") if seen.ready else _said(503, "not ready: configuration or archive are not proven yet")


def _metrics(seen: Snapshot, request: web.Request) -> web.Response:
    body, media_type = exposition(seen, request.headers.get(hdrs.ACCEPT, ""))
    return web.Response(body=body, headers={hdrs.CONTENT_TYPE: media_type})


async def _nothing_here(_request: web.Request) -> web.Response:
    return _said(404, "there are /healthz, /readyz and /metrics")


def _said(status: int, text: str) -> web.Response:
    return web.Response(status=status, body=f"{text}\n".encode(), headers={hdrs.CONTENT_TYPE: TEXT})


async def _plain(_request: web.Request, response: web.StreamResponse) -> None:
    response.force_close()  # one answer a connection, so that its time can be bounded
    response.headers[hdrs.CONNECTION] = "close"
    response.headers[hdrs.SERVER] = "syncer"  # no versions: whoever looks for old ones need not be helped
    response.headers[hdrs.CACHE_CONTROL] = "no-store"


# --- who may ask --------------------------------------------------------------------------------------


class _Visit(web.RequestHandler):
    """One connection, bounded in time: the library waits for ever for the end of a request, or of its answer."""

    __slots__ = ("_end", "_longest")

    def __init__(self, server: web.Server, longest: float) -> None:
        quiet: Any = None  # no access log; the library's annotation has forgotten that it may be None
        super().__init__(server, loop=asyncio.get_running_loop(), access_log=quiet, lingering_time=0)
        self._longest = longest
        self._end: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        # Aborted, not closed: what would still have to be sent may never be read.
        self._end = asyncio.get_running_loop().call_later(self._longest, cast(asyncio.Transport, transport).abort)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._end is not None:
            self._end.cancel()
        super().connection_lost(exc)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is not HTTP without a line in the log, which anybody could fill."""
        if status == 500:  # a mistake of ours
            answer = super().handle_error(request, status, exc, message)
        else:
            answer = _said(status, "that is not a request")
            answer.force_close()
        answer.headers[hdrs.SERVER] = "syncer"
        return answer


class _Full(asyncio.Protocol):
    """A connection that is let go at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


async def _listen(listen: tuple[str, int], server: web.Server, longest_visit: float) -> asyncio.Server:
    def visit() -> asyncio.BaseProtocol:
        return _Full() if len(server.connections) >= MOST_VISITORS else _Visit(server, longest_visit)

    host, port = listen
    try:
        return await asyncio.get_running_loop().create_server(visit, host, port, backlog=MOST_VISITORS)
    except (OSError, UnicodeError) as error:  # a host that cannot be a name is the latter
        raise ConfigError(
            "the health answers cannot be given at this address",
            hint='set daemon.listen to a free address of this machine, or to "" for none',
            listen=f"{host}:{port}",
            reason=getattr(error, "strerror", None) or str(error),
        ) from error
