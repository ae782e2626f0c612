"""A service that refuses, fails, keeps us waiting, or takes its tokens back."""

from __future__ import annotations

import asyncio
import socket
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from aiohttp import web
from outside import Make, Outside

from syncer.simulator import faults
from syncer.simulator.server import Simulator


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


# --- it does not answer, or says no -------------------------------------------------------------------


async def test_a_wrong_secret_is_7_and_makes_no_rows(outside: Outside, tmp_path: Path):
    """Refused credentials end the run at once; the hint names the settings."""
    (tmp_path / "client_secret").write_text("canary-but-another-one")

    ran = await outside.backup()

    assert (ran.code, ran.counts) == (7, {})
    assert "service.client_id" in ran.err
    assert "canary-but-another-one" not in ran.err + ran.out
    assert "invalid_client" in ran.err


async def test_an_unreachable_service_is_8(outside: Outside):
    """Nobody listens at the port: said in one line, with the origin."""
    port = closed_port()
    outside.change("service.url", f"http://127.0.0.1:{port}/api")
    outside.change("service.token_url", f"http://127.0.0.1:{port}/oauth/v2/token")

    ran = await outside.backup()

    assert (ran.code, ran.counts) == (8, {})
    assert f"http://127.0.0.1:{port}" in ran.err


@pytest.mark.parametrize(
    "action", [faults.status(500), faults.html(502), faults.reset(), faults.body(b"<html>", "text/html")]
)
async def test_an_api_that_always_fails_is_8(sim: Simulator, outside: Outside, action: faults.Action):
    """500, a gateway's HTML, resets, HTML with 200: the service is down, whatever it calls it."""
    sim.faults.on("listing", action)

    ran = await outside.backup()

    assert (ran.code, ran.counts) == (8, {})


async def test_a_service_that_dies_in_the_middle_is_8_and_what_came_is_kept(
    sim: Simulator, shelf: str, outside: Outside
):
    """After five pictures nothing answers any more: not complete, not an error of the pictures alone."""
    ids = sim.workspaces[shelf].ids
    outside.change("limits.downloads", 1)
    outside.change("limits.retries", 0)
    for image in ids[5:]:
        sim.faults.on("content", faults.reset(), image=image)
    sim.faults.on("image", faults.reset())

    ran = await outside.backup()

    assert ran.code == 8
    assert ran.counts == {"new": 5, "failed": len(ids) - 5}
    assert set(outside.images()) == set(ids[:5])

    sim.faults.clear()
    ran = await outside.backup()
    assert (ran.code, ran.counts["new"]) == (0, len(ids) - 5)


async def test_ten_pictures_that_fail_are_not_a_service_that_is_down(sim: Simulator, shelf: str, outside: Outside):
    """The oldest ten answer 500, the listing and the others answer well: 3, with ten names."""
    sim.workspaces[shelf].add_many(10)
    ids = sim.workspaces[shelf].ids
    for image in ids[-10:]:
        sim.faults.on("content", faults.status(500), image=image)

    ran = await outside.backup()

    assert (ran.code, set(ran.failures)) == (3, set(ids[-10:]))


async def test_429_for_a_while_is_waited_out(sim: Simulator, shelf: str, make: Make):
    """Seconds, a date, or nothing: the run slows down and completes."""
    outside = make(limits={"retries": 3})
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    sim.faults.on("listing", faults.status(429, retry_after=1), times=1)
    sim.faults.on("content", faults.status(429, retry_after=soon), times=3)
    sim.faults.on("content", faults.status(429), times=2)

    ran = await outside.backup()

    assert (ran.code, ran.counts) == (0, {"new": len(sim.workspaces[shelf])})


async def test_an_absurd_retry_after_cannot_hold_us(sim: Simulator, shelf: str, make: Make):
    """No more than `retry_seconds` are given to one request, whatever the service asks for."""
    outside = make(limits={"retries": 1, "retry_seconds": 1})
    absurd = ("9" * 20, "Fri, 31 Dec 9999 23:59:59 GMT", "-5", "soon", "1e9", "NaN", "\u00b2")
    for image, after in zip(sim.workspaces[shelf].ids, absurd, strict=False):
        sim.faults.on("content", faults.status(429, retry_after=after), image=image, times=1)

    ran = await outside.backup()

    assert ran.code in {0, 3}
    assert ran.summary["seconds"] < 10


async def test_a_service_that_accepts_and_never_answers_is_8(sim: Simulator, make: Make):
    """`stall_seconds` bound each attempt; nobody waits for ever."""
    outside = make(limits={"stall_seconds": 1})
    never = asyncio.Event()

    async def wait(_: web.Request) -> None:
        await never.wait()

    sim.faults.on("listing", faults.before(wait))

    ran = await outside.backup()
    never.set()

    assert ran.code == 8
    assert ran.summary["seconds"] < 6


# --- tokens -------------------------------------------------------------------------------------------


async def test_a_token_that_ends_in_the_middle_is_renewed_once(sim: Simulator, shelf: str, outside: Outside):
    """Every request in flight gets its 401 at the same time; one new token is asked for, and nothing fails."""
    sim.workspaces[shelf].add_many(30)
    seen = 0

    def expire(_: web.Request) -> None:
        nonlocal seen
        seen += 1
        if seen == 20:
            sim.expire_tokens()

    sim.faults.on("content", faults.before(expire))

    ran = await outside.backup()

    assert (ran.code, ran.counts) == (0, {"new": len(sim.workspaces[shelf])})
    assert sim.counts["token"] == 2
    assert any(served.status == 401 for served in sim.requests)


async def test_a_service_that_refuses_every_token_is_7(sim: Simulator, outside: Outside):
    """A new token that is refused as well: the credentials are no good here; no loop of tokens."""
    sim.faults.on("listing", faults.status(401))

    ran = await outside.backup()

    assert ran.code == 7
    assert sim.counts["token"] <= 3


async def test_one_picture_that_answers_401_with_a_good_token_costs_itself_alone(
    sim: Simulator, shelf: str, outside: Outside
):
    """The listing answers with this token, so the credentials are good: the picture is a failure, not exit code 7."""
    image = sim.workspaces[shelf].ids[2]
    sim.faults.on("content", faults.status(401), image=image)

    ran = await outside.backup()

    assert ran.code == 3
    assert set(ran.failures) == {image}
    assert ran.counts["new"] == len(sim.workspaces[shelf]) - 1


async def test_a_ready_made_token_is_enough(sim: Simulator, shelf: str, outside: Outside, tmp_path: Path):
    """`token_file` instead of client credentials: no token is asked for; an expired one is 7, with a hint."""
    token = sim.issue_token()
    (tmp_path / "client_secret").write_text(token + "\n")
    text = outside.config.read_text().replace("client_secret_file", "token_file").replace('client_id = "demo"\n', "")
    outside.config.write_text(text)

    ran = await outside.backup()
    assert (ran.code, sim.counts["token"]) == (0, 0)

    sim.expire_tokens()
    ran = await outside.backup()
    assert ran.code == 7
    assert "token" in ran.err


async def test_many_requests_ask_for_one_token(sim: Simulator, shelf: str, outside: Outside):
    """A token endpoint that takes its time is asked once, however many pictures wait."""
    gate = asyncio.Event()
    asked = asyncio.Event()

    async def slow(_: web.Request) -> None:
        asked.set()
        await gate.wait()

    sim.faults.on("token", faults.before(slow), times=1)
    async with outside.started("backup", "--json") as process:
        await asyncio.wait_for(asked.wait(), 30)
        gate.set()
        ran = await outside.end(process)

    assert ran.code == 0
    assert sim.counts["token"] == 1
