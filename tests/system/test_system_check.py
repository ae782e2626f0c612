"""`syncer check` tells apart why a backup would not work, and says what to do."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from outside import Finished, Make, Outside
from stranger import certificate

from syncer.simulator import faults
from syncer.simulator.server import Simulator


def failed(ran: Finished) -> dict[str, str]:
    """The checks that failed, with what they say."""
    return {line["name"]: f"{line['detail']} → {line['hint']}" for line in ran.lines if line.get("ok") is False}


@pytest.fixture
async def https(tmp_path: Path) -> AsyncIterator[str]:
    """The origin of a server whose certificate nobody has signed."""
    _, context = certificate(tmp_path)
    runner = web.AppRunner(web.Application())
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    yield f"https://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_all_is_well(sim: Simulator, make: Make):
    """One line each, nothing written."""
    outside = make()

    ran = await outside("check", "--json")

    assert (ran.code, failed(ran)) == (0, {})
    names = {line["name"] for line in ran.lines if line["type"] == "check"}
    assert {"configuration", "archive", "disk", "service", "clock"} <= names
    assert not outside.archive.exists()
    assert (await outside("check")).out.count("✓") == len(names)


@pytest.mark.slow
async def test_why_the_service_does_not_answer_is_told_apart(
    sim: Simulator, outside: Outside, https: str, tmp_path: Path
):
    """No connection, no such name, a certificate nobody signed, wrong credentials, a wrong path: each in its words."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    seen: dict[str, str] = {}
    for name, origin in (("refused", f"http://127.0.0.1:{port}"), ("dns", "https://nobody.invalid"), ("tls", https)):
        outside.change("service.url", f"{origin}/api")
        outside.change("service.token_url", f"{origin}/oauth/v2/token")
        ran = await outside("check", "--json")
        assert ran.code == 8, name
        seen[name] = failed(ran)["service"]
    assert "connection" in seen["refused"]
    assert "resolved" in seen["dns"]
    assert "certificate" in seen["tls"]
    assert "ca_file" in seen["tls"]

    outside.change("service.url", f"{sim.url}/nothing/here")
    outside.change("service.token_url", sim.token_url)
    ran = await outside("check", "--json")
    assert ran.code == 8
    assert "service.url" in failed(ran)["service"]

    outside.change("service.url", sim.url)
    outside.change("service.token_url", f"{sim.store_url}/no/token/here")
    ran = await outside("check", "--json")
    assert ran.code != 0
    assert any("token_url" in told for told in failed(ran).values()), failed(ran)

    outside.change("service.token_url", sim.token_url)
    (tmp_path / "client_secret").write_text("canary-wrong")
    ran = await outside("check", "--json")
    assert ran.code == 7
    assert "credentials" in failed(ran)


async def test_workspaces_clock_and_disk_are_looked_at(sim: Simulator, shelf: str, make: Make):
    """A closed workspace, one that is not there, a clock that is hours off, a disk below its reserve."""
    closed = next(shelf.id for shelf in sim.workspaces.values() if not shelf.accessible)
    outside = make([shelf, closed, "nobody-knows"])
    ran = await outside("check", "--json")
    assert ran.code == 3
    assert set(failed(ran)) == {f"workspace {closed}", "workspace nobody-knows"}

    outside = make(archive={"reserve": "1000TiB"})
    sim.faults.on("*", faults.headers({"Date": "Sat, 01 Jan 2000 00:00:00 GMT"}))
    ran = await outside("check", "--json")
    assert ran.code in {3, 9}
    assert {"clock", "disk"} <= set(failed(ran))
