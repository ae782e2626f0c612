"""`syncer run` tells the world outside how it fares, and comes to no harm by a world that does not listen."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import pytest
from daemon_outside import LISTEN, ONCE, Receiver, daemon
from outside import Make, Outside, tokens

from syncer.simulator import faults
from syncer.simulator.server import Simulator

KEY = "canary-3c9e70d2a41b8f65"  # stands in both addresses: whoever knows it can speak in our name


pytestmark = pytest.mark.slow  # a process is started for each: over a second


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """Somebody who is notified."""
    async with Receiver.listening() as one:
        yield one


@pytest.fixture
def notifying(make: Make, receiver: Receiver, sim: Simulator) -> Outside:
    """A daemon for one full pass that notifies the receiver; the key in its addresses must turn up nowhere."""
    addresses = {"ping_url": f"{receiver.url}/ping/{KEY}", "webhook_url": f"{receiver.url}/hook?key={KEY}"}
    config = make(schedule=ONCE, daemon=LISTEN, notify=addresses).config
    return Outside(config, lambda: [*tokens(sim), KEY])


def pings(receiver: Receiver) -> list[str]:
    return [got["path"].removeprefix(f"/ping/{KEY}") for got in receiver.got if got["path"].startswith("/ping")]


def states(changes: Iterable[dict[str, object]]) -> list[tuple[object, object]]:
    return [(change["state"], change["reason"]) for change in changes]


async def test_each_run_is_pinged_at_its_start_and_at_its_end(notifying: Outside, receiver: Receiver):
    """A dead man's switch hears of every run; start and end carry the same id."""
    async with daemon(notifying):
        start, end = await receiver.got.many(2, lambda got: got["path"].startswith("/ping"))

    assert pings(receiver) == ["/start", ""]
    assert start["query"]["rid"] == end["query"]["rid"]
    assert "full pass" in start["body"]


async def test_a_failed_run_is_pinged_as_one_and_a_change_of_state_told_once(
    sim: Simulator, notifying: Outside, receiver: Receiver, tmp_path: Path
):
    """Two failed tries, then a good one: each is pinged; webhook and command hear "degraded" and "ok" once."""
    told = tmp_path / "told"
    script = f"import os, sys; open({str(told)!r}, 'a').write(os.environ['SYNCER_STATE'] + sys.stdin.read() + chr(10))"
    notifying.change("notify.command", f'{sys.executable} -c "{script}"')
    sim.faults.on("listing", faults.status(503), times=2)
    async with daemon(notifying) as running:
        await running.logged("daemon.recovered")
        await receiver.got.many(2, lambda got: got["path"] == "/hook")
        await receiver.got.many(6, lambda got: got["path"].startswith("/ping"))

    assert pings(receiver) == ["/start", "/fail", "/start", "/fail", "/start", ""]
    assert states(receiver.bodies("/hook")) == [("degraded", "service"), ("ok", "")]
    lines = told.read_text().splitlines()  # all was delivered before the daemon ended
    assert states(json.loads(line.partition("{")[1] + line.partition("{")[2]) for line in lines) == [
        ("degraded", "service"),
        ("ok", ""),
    ]


async def test_a_receiver_that_hangs_delays_nothing(notifying: Outside, receiver: Receiver):
    """Runs go on and are answered for, and the daemon still ends in time; the key is nowhere in what it says."""
    receiver.hangs = asyncio.Event()
    async with daemon(notifying) as running:
        await running.passed()
        await receiver.got.first(lambda got: True)
        assert (await running.triggered("--wait")).code == 0
        await running.get("/metrics")
        await running.get("/healthz")
        assert (await notifying("status", "--json")).code == 0
        assert (await running.stop()).code == 143
    receiver.hangs.set()


async def test_a_receiver_that_refuses_is_a_line_in_the_log(notifying: Outside, receiver: Receiver):
    """The run is complete all the same; the line names the channel and the origin, and not the address."""
    receiver.status = 403
    async with daemon(notifying, env={"SYNCER_LOG_LEVEL": "debug"}) as running:
        assert (await running.passed())["complete"]
        failed = await running.logged("notice.failed", channel="ping")
        await running.health(200)

    assert failed["origin"] == receiver.url
