"""The documents of the service: pages, images, workspaces, over real sockets that misbehave."""

from __future__ import annotations

import asyncio
import gzip
import json
import random
import ssl
import subprocess
from contextlib import asynccontextmanager

import pytest
from rawserver import SECRET, Hidden, Request, reply, said, serving

from syncer.errors import ConfigError, NotFound, Refused, SyncerError, Unauthorized, Unavailable, UnexpectedAnswer
from syncer.service import client
from syncer.service.auth import ClientCredentials, StaticToken
from syncer.service.client import Connection, ImageService

PAGE = {"page": {"size": 200, "totalElements": 1, "totalPages": 1, "currentPage": 1}, "data": [{"id": "a"}]}


async def no_sleep(seconds: float) -> None:
    await asyncio.sleep(0)


@asynccontextmanager
async def service(answer, *, tls=None, sleep=no_sleep, on_secret=None, **settings):
    """A service whose token endpoint works, and whose other answers are the test's."""
    issued = 0

    def route(request: Request):
        nonlocal issued
        if request.path == "/token" and "answer_token" not in settings:
            issued += 1
            return reply(body={"access_token": f"canary-token-{issued}", "expires_in": 1000})
        return answer(request)

    token_answered_by_test = settings.pop("answer_token", None)
    if token_answered_by_test:
        settings["answer_token"] = True
    async with serving(route, tls=tls) as server:
        settings.pop("answer_token", None)
        connection = Connection(
            url=f"{server.url}/api/",
            token_url=f"{server.url}/token",
            credentials=settings.pop("credentials", ClientCredentials("me", Hidden(SECRET))),
            **{"stall_seconds": 5, "retries": 2, **settings},
        )
        async with ImageService.open(connection, sleep=sleep, random=lambda: 0.0, on_secret=on_secret) as opened:
            yield opened, server
