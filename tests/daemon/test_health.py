"""The health server, over real sockets: what it answers, and that nobody can make it hang, flood or talk."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import aiohttp
import pytest
from logs import logging_as_before
from snapshot_parts import degraded, snapshot, workspace
from structlog.testing import capture_logs

from syncer.daemon.health import FRESH, LONGEST_VISIT, MOST_VISITORS, PATIENCE, HealthServer
from syncer.daemon.snapshot import Cause, Snapshot, State
from syncer.errors import ArchiveUnwritable, ConfigError

LOOPBACK = ("127.0.0.1", 0)


@dataclass
class Daemon:
    """What the server looks at: counts the looks, may fail or wait."""

    seen: Snapshot = field(default_factory=snapshot)
    looks: int = 0
    failure: Exception | None = None
    opened: asyncio.Event = field(default_factory=asyncio.Event)
    now: float = 0.0

    def __post_init__(self) -> None:
        self.opened.set()

    async def snapshot(self) -> Snapshot:
        self.looks += 1
        await self.opened.wait()
        if self.failure is not None:
            raise self.failure
        return self.seen

    def clock(self) -> float:
        return self.now


@dataclass
class Answered:
    status: int
    text: str
    headers: dict[str, str]


Get = Callable[..., "asyncio.Future[Answered]"]


@asynccontextmanager
async def serving(daemon: Daemon, patience: float = PATIENCE, longest: float = LONGEST_VISIT) -> AsyncIterator[Get]:
    """A server over this daemon, and how to ask it."""
    opened = HealthServer.open(LOOPBACK, daemon.snapshot, clock=daemon.clock, patience=patience, longest_visit=longest)
    async with opened as server, aiohttp.ClientSession() as session:

        async def get(path: str, method: str = "GET", **headers: str) -> Answered:
            url = f"http://127.0.0.1:{server.port}{path}"
            async with session.request(method, url, headers=headers) as answer:
                return Answered(answer.status, await answer.text(), dict(answer.headers))

        get.port = server.port
        yield get


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


@pytest.fixture
async def get(daemon: Daemon) -> AsyncIterator[Get]:
    async with serving(daemon) as ask:
        yield ask


# --- what is answered ---------------------------------------------------------------------------------


async def test_a_daemon_that_is_well_says_so(get: Get):
    """200, and a body for machines."""
    answer = await get("/healthz")

    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert json.loads(answer.text) == {
        "ok": True,
        "state": "running",
        "causes": [],
        "reason": "",
        "stale": [],
        "version": "1.2.3",
    }


async def test_a_stale_workspace_is_named(daemon: Daemon, get: Get):
    """503, with the time of its last good run; the others are not mentioned."""
    late = workspace(workspace_id="late", name="Late", last_success=1_767_225_600.0, stale=True)
    never = workspace(workspace_id="never", name=None, last_success=None, stale=True)
    daemon.seen = snapshot(workspaces=(workspace(), late, never))

    answer = await get("/healthz")

    assert answer.status == 503
    assert json.loads(answer.text)["stale"] == [
        {"workspace": "late", "name": "Late", "last_success": "2026-01-01T00:00:00Z"},
        {"workspace": "never", "name": None, "last_success": None},
    ]


async def test_trouble_that_needs_a_person_is_told_with_its_reason(daemon: Daemon, get: Get):
    """503 at once; a secret that got into the reason does not get out."""
    daemon.seen = degraded(Cause.CREDENTIALS, reason="refused: Bearer abcdefghijklmnop")

    answer = await get("/healthz")

    assert answer.status == 503
    body = json.loads(answer.text)
    assert (body["ok"], body["state"], body["causes"]) == (False, "degraded", ["credentials"])
    assert body["reason"] == "refused: Bearer …"


async def test_readiness_is_another_question(daemon: Daemon, get: Get):
    """A daemon that starts is not ready; one that is degraded has been, and is."""
    daemon.seen = snapshot(state=State.STARTING, ready=False, running=None)
    assert (await get("/readyz")).status == 503

    daemon.now += FRESH
    daemon.seen = degraded(Cause.CREDENTIALS)
    assert (await get("/readyz")).status == 200
    assert (await get("/healthz")).status == 503


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("application/openmetrics-text; version=many", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
async def test_metrics_come_in_the_form_that_is_asked_for(get: Get, accept: str, media_type: str):
    """Prometheus asks for OpenMetrics; a form that does not exist is answered with the plain one."""
    answer = await get("/metrics", Accept=accept)

    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith(media_type)
    assert "syncer_healthy 1.0\n" in answer.text
    assert answer.text.endswith("# EOF\n") == ("openmetrics" in media_type)


async def test_other_paths_and_methods_are_refused(daemon: Daemon, get: Get):
    """With a short text that says what there is; nobody looked at the daemon for it."""
    for path in ("/", "/metrics/", "/healthz/x", "/..%2fsecret"):
        answer = await get(path)
        assert (answer.status, answer.text) == (404, "there are /healthz, /readyz and /metrics\n")
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        answer = await get("/metrics", method)
        assert (answer.status, answer.headers["Allow"]) == (405, "GET,HEAD")
        assert len(answer.text) < 100
    assert daemon.looks == 0


async def test_head_is_get_without_the_body(get: Get):
    """For load balancers that ask so."""
    answer = await get("/healthz", "HEAD")
    assert (answer.status, answer.text) == (200, "")


async def test_no_version_of_the_server_is_told(get: Get):
    """Not even to those who do not speak HTTP; and nothing is to be kept by a cache."""
    answer = await get("/healthz")
    assert (answer.headers["Server"], answer.headers["Cache-Control"]) == ("syncer", "no-store")

    gibberish = await spoken(get.port, b"\x16\x03\x01 hello\r\n\r\n")
    assert b" 400 " in gibberish
    assert b"aiohttp" not in gibberish and b"Python" not in gibberish


# --- who asks too much --------------------------------------------------------------------------------


async def test_many_who_ask_at_once_share_one_look(daemon: Daemon, get: Get):
    """And so do those who ask within a second."""
    answers = await asyncio.gather(*(get(path) for path in ("/healthz", "/readyz", "/metrics") * 5))
    assert {answer.status for answer in answers} == {200}
    assert daemon.looks == 1

    daemon.now += FRESH
    await get("/metrics")
    assert daemon.looks == 2


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_a_look_that_fails_is_answered_and_told_once(daemon: Daemon, get: Get, path: str):
    """503 with a short text, no trace of where; the log has one line until it works again."""
    daemon.failure = ArchiveUnwritable("the manifest is damaged", path="/secret/place")
    with logging_as_before(), capture_logs() as logs:
        answers = []
        for _ in range(3):
            answers.append(await get(path))
            daemon.now += FRESH

    assert {(answer.status, answer.text) for answer in answers} == {(503, "the daemon's state cannot be read\n")}
    assert daemon.looks == 3
    assert [line["event"] for line in logs] == ["health.failed"]

    daemon.failure = None
    assert (await get(path)).status == 200


async def test_a_failure_is_shared_like_any_look(daemon: Daemon, get: Get):
    """A disk that fails slowly is not asked more often for it."""
    daemon.failure = OSError("no")
    for _ in range(3):
        assert (await get("/metrics")).status == 503
    assert daemon.looks == 1


async def test_a_look_that_hangs_is_not_waited_for(daemon: Daemon):
    """Whoever asks is told in time, a second look is not begun, and leaving does not wait for it either."""
    daemon.opened.clear()
    async with serving(daemon, patience=0.05) as get:  # never answered, so a slow machine only takes longer
        assert (await get("/healthz")).status == 503
        assert (await get("/healthz")).status == 503
        assert daemon.looks == 1


async def test_who_asks_slowly_is_sent_off(daemon: Daemon):
    """Half a request, or none at all: the connection ends."""
    async with serving(daemon, longest=0.2) as get:
        for said in (b"", b"GET /healthz HTTP/1.1\r\nHost: h\r\nX-Slow: "):
            with suppress(ConnectionResetError):
                assert await spoken(get.port, said) == b""


async def test_connections_are_bounded(daemon: Daemon):
    """So many that say nothing, and the next is let go at once; when they have left, there is room again."""
    async with serving(daemon, longest=600) as get:
        silent = [await asyncio.open_connection("127.0.0.1", get.port) for _ in range(MOST_VISITORS)]
        reader, writer = await asyncio.open_connection("127.0.0.1", get.port)
        async with asyncio.timeout(20):
            assert await reader.read() == b""
        writer.close()

        for _, other in silent:
            other.close()
        async with asyncio.timeout(20):
            while True:
                try:
                    answer = await get("/healthz")
                    break
                except aiohttp.ClientError:  # not all of them have been seen to leave
                    await asyncio.sleep(0)
        assert answer.status == 200


async def test_an_answer_ends_its_connection(get: Get):
    """So a scraper's next one is never cut off by the time that the connection has been open."""
    answer = await spoken(get.port, b"GET /healthz HTTP/1.1\r\nHost: h\r\nConnection: keep-alive\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nConnection: close\r\n" in answer


async def test_gibberish_leaves_no_line_in_the_log(get: Get, caplog: pytest.LogCaptureFixture):
    """Nor does a request: nobody can fill the disk by asking."""
    caplog.set_level(logging.INFO)
    for said in (
        b"\x00\xff\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nA: " + b"a" * 20000 + b"\r\n",
    ):
        await spoken(get.port, said)
    await get("/healthz")

    assert [record.getMessage() for record in caplog.records] == []


# --- where --------------------------------------------------------------------------------------------


async def test_a_taken_port_is_a_mistake_in_the_configuration(daemon: Daemon):
    """With a hint that names the setting."""
    async with HealthServer.open(LOOPBACK, daemon.snapshot) as first:
        with pytest.raises(ConfigError) as raised:
            async with HealthServer.open(("127.0.0.1", first.port), daemon.snapshot):
                pass
    assert "daemon.listen" in raised.value.hint
    assert str(first.port) in str(raised.value)


async def test_a_host_that_is_not_ours_is_one_too(daemon: Daemon):
    """Neither an address of somebody else nor what cannot be a name."""
    for host in ("192.0.2.1", "a" * 64 + ".invalid"):
        with pytest.raises(ConfigError):
            async with HealthServer.open((host, 0), daemon.snapshot):
                pass


async def test_the_port_is_free_again_afterwards(daemon: Daemon):
    """A daemon that is restarted finds it."""
    async with HealthServer.open(LOOPBACK, daemon.snapshot) as first:
        port = first.port
    async with HealthServer.open(("127.0.0.1", port), daemon.snapshot) as second:
        assert second.port == port


async def spoken(port: int, said: bytes) -> bytes:
    """Say this to the server and listen to the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(said)
    try:
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()
