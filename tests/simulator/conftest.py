"""A small simulator and a client for it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp
import pytest
from simulator_api import UNTIL, Api, Clock, client

from syncer.simulator import BRAND, Options, Simulator


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def sim(clock: Clock) -> AsyncIterator[Simulator]:
    async with Simulator.start(Options(images=12, until=UNTIL), clock=clock) as running:
        yield running


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(auto_decompress=False) as opened:
        yield opened


@pytest.fixture
def api(sim: Simulator, session: aiohttp.ClientSession) -> Api:
    return client(sim, session)


@pytest.fixture
def image(sim: Simulator) -> str:
    """The id of the newest image of the brand workspace."""
    return sim.workspaces[BRAND].ids[0]
