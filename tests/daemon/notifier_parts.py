"""The world outside, as the tests of the notifier have it: a receiver that misbehaves on request, and a log to read."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from logs import logging_as_before

from syncer import log
from syncer.daemon import notifier
from syncer.daemon.notifier import Facts, Notifier, State
from syncer.daemon.snapshot import Cause, WorkspaceState
from syncer.redaction import Redactor
from syncer.service.notices import Notices
from syncer.settings import NotifySettings, Secret

DOCS = (Path(__file__).parents[2] / "docs" / "notifications.md").read_text()

CANARY = "canary-4d1f9a60"  # stands in the addresses
RUN = "20261122-030000-5b1f0c"

OK = State(datetime(2026, 11, 1, 9, 12, 44, tzinfo=UTC))
REFUSED = State(datetime(2026, 11, 22, 3, 0, 5, tzinfo=UTC), Cause.CREDENTIALS)
FULL = State(REFUSED.since, Cause.ARCHIVE)
BRAND = WorkspaceState(
    "5f0c2a9e",
    "brand",
    last_success=datetime(2026, 11, 21, 3, 4, 51, tzinfo=UTC).timestamp(),
    live=20314,
    gone=12,
    owed=3,
)
FACTS = Facts("the service refused the credentials", RUN, (BRAND,))


@dataclass
class Got:
    path: str
    query: str
    body: bytes
    content_type: str | None

    @property
    def said(self) -> tuple[str, str]:
        return self.path, self.body.decode()


@dataclass
class Receiver:
    """Answers with the statuses in turn, with 200 once they are used up; `hang` keeps whoever asks at those paths."""

    statuses: list[int] = field(default_factory=list)
    hang: str | None = None
    url: str = ""
    got: list[Got] = field(default_factory=list)
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.got.append(Got(request.path, request.query_string, body, request.headers.get("Content-Type")))
        if self.hang is not None and self.hang in request.path:
            self.reached.set()
            await self.released.wait()
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, text=CANARY, headers={"Location": f"/{CANARY}"} if status < 400 else {})

    def paths(self) -> list[str]:
        return [got.path for got in self.got]


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    """A server on loopback that is told what to answer."""
    served = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", served.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.01)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    served.url = f"http://{host}:{port}"
    yield served
    served.released.set()
    await runner.cleanup()


class Forgetful(Redactor):
    """Learns nothing, so that a test sees what would have been printed; remembers what it should have learnt."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def learn(self, secret: str) -> None:
        self.told.append(secret)


Lines = list[dict[str, Any]]


@contextmanager
def logging_to(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, redactor: Redactor
) -> Iterator[Callable[[], Lines]]:
    """Give a function that reads what was logged since; an address must never be in it, not even unredacted."""

    def read() -> Lines:
        printed = capsys.readouterr().err
        assert CANARY not in printed
        return [json.loads(line) for line in printed.splitlines()]

    for where in (log, notifier):
        monkeypatch.setattr(where, "redact", redactor)
    with logging_as_before():
        log.configure(level="debug", json=True)
        yield read
    read()


class Pauses(list[float]):
    """A sleep that takes no time and remembers."""

    async def __call__(self, seconds: float) -> None:
        self.append(seconds)
        await asyncio.sleep(0)


def addressed(receiver: Receiver, command: str | None = None) -> NotifySettings:
    ping, webhook = (Secret(f"{receiver.url}/{name}-{CANARY}") for name in ("ping", "webhook"))
    return NotifySettings(ping_url=ping, webhook_url=webhook, command=command)


@asynccontextmanager
async def notifying(
    settings: NotifySettings, environ: dict[str, str] | None = None, **options: Any
) -> AsyncIterator[Notifier]:
    """A notifier that does not pause; at its end all is delivered, or given up."""
    async with (
        Notices.open(patience=options.pop("patience", 60)) as notices,
        Notifier.open(
            settings,
            notices,
            dict(os.environ) if environ is None else environ,
            **{"sleep": Pauses(), "closing_seconds": 60, **options},
        ) as opened,
    ):
        yield opened
