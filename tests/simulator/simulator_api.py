"""A client that speaks to the simulator as any HTTP client would, and a clock moved by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import aiohttp
from yarl import URL

from syncer.simulator import BRAND, Simulator

UNTIL = datetime(2026, 11, 22, tzinfo=UTC)


@dataclass
class Clock:
    """The service's clock, moved by hand."""

    time: float = UNTIL.timestamp() + 3600

    def __call__(self) -> float:
        return self.time


@dataclass(frozen=True)
class Answer:
    """One answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    json: Any = None


@dataclass
class Api:
    """Requests to one simulator, with a token unless said otherwise."""

    sim: Simulator
    session: aiohttp.ClientSession
    headers: dict[str, str] = field(default_factory=dict)

    async def call(self, method: str, path: str, **options: Any) -> Answer:
        url = URL(path if path.startswith("http") else self.sim.url + path, encoded=True)
        options = {"headers": self.headers, "allow_redirects": False, **options}
        async with self.session.request(method, url, **options) as answer:
            body = await answer.read()
            is_json = answer.content_type == "application/json" and body
            return Answer(answer.status, answer.headers, body, await answer.json() if is_json else None)

    async def get(self, path: str, **options: Any) -> Answer:
        return await self.call("GET", path, **options)

    async def content(self, image: str, workspace: str = BRAND) -> Answer:
        return await self.get(f"/image-service/v1/workspaces/{workspace}/images/{image}/content")

    async def page(self, query: str = "", workspace: str = BRAND) -> Answer:
        return await self.get(f"/image-service/v1/workspaces/{workspace}/images{query}")


def client(sim: Simulator, session: aiohttp.ClientSession) -> Api:
    return Api(sim, session, {"Authorization": f"Bearer {sim.issue_token()}"})
