"""`syncer run` as its service manager, its operator and its network see it: a process, judged by what it says.

Whatever it says is heard as it comes: datagrams of the notify protocol, lines of the log, answers over HTTP. At its end
all of that is held to what every command is held to: no traceback, no secret. `Gate` is a network that fails on demand,
`Receiver` somebody who is notified.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from socket import AF_UNIX, SO_REUSEPORT, SOL_SOCKET, socket
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from outside import Finished, Outside

from syncer.simulator.server import Simulator

DEADLINE = 30  # seconds for whatever has to be said; none of it comes near that
TO_END = 10  # seconds within which it has to be gone, promised to the service manager
LISTEN: dict[str, Any] = {"listen": "127.0.0.1:0"}
ONCE = {"quick": "", "full": "1d", "jitter": 0}  # the first full pass, and nothing more by itself
STEADY = {"quick": "1s", "full": "1d", "jitter": 0}

Said = dict[str, Any]


class Heard(list[Said]):
    """What has been said so far, in order, for those who wait until something is."""

    def __init__(self) -> None:
        super().__init__()
        self._more = asyncio.Event()
        self._over = False

    def hear(self, said: Said) -> None:
        self.append(said)
        self._more.set()

    def end(self) -> None:
        """Nothing more will be said."""
        self._over = True
        self._more.set()

    async def first(self, wanted: Callable[[Said], object], since: int = 0) -> Said:
        """Wait for the first that is wanted, of all after the first `since` of them."""
        try:
            async with asyncio.timeout(DEADLINE):
                while True:
                    for said in self[since:]:
                        if wanted(said):
                            return said
                    assert not self._over, f"it has ended, and said only: {self[since:]}"
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            raise AssertionError(f"not said in {DEADLINE} s; heard was: {self[since:]}") from None

    async def many(self, count: int, wanted: Callable[[Said], object]) -> list[Said]:
        """Wait until so many that are wanted have been said."""
        await self.first(lambda _: len([said for said in self if wanted(said)]) >= count)
        return [said for said in self if wanted(said)]


class Daemon:
    """One life of `syncer run`."""

    def __init__(self, outside: Outside, process: asyncio.subprocess.Process, notices: Heard) -> None:
        self.outside = outside
        self.process = process
        self.notices = notices  # datagrams: what is assigned, by name
        self.log = Heard()  # JSON lines, and others as {"text": …}
        self._printed = b""
        self._answers: list[str] = []
        self.follower = asyncio.create_task(self._follow())

    # --- what it says -------------------------------------------------------------------------------------

    async def ready(self) -> Said:
        """Wait until it says that it is."""
        return await self.notices.first(lambda said: "READY" in said)

    async def passed(self, mode: str = "full", since: int = 0, workspace: str | None = None) -> Said:
        """Wait for a pass to begin and to end; returns its end."""
        wanted = {"mode": mode} | ({} if workspace is None else {"workspace": workspace})
        began = await self.logged("pass.began", since, **wanted)
        return await self.logged("pass.ended", since, run=began["run"], workspace=began["workspace"])

    async def status(self, text: str, since: int = 0) -> str:
        """Wait until its line for people holds a text, and return the line."""
        line: str = (await self.notices.first(lambda said: text in said.get("STATUS", ""), since))["STATUS"]
        return line

    async def logged(self, event: str, since: int = 0, **facts: object) -> Said:
        """Wait for a line of its log."""
        return await self.log.first(lambda line: is_line(line, event, **facts), since)

    def lines(self, event: str, **facts: object) -> list[Said]:
        """Return the lines that there are of an event."""
        return [line for line in self.log if is_line(line, event, **facts)]

    async def get(self, path: str) -> tuple[int, str]:
        """Ask its HTTP server; returns the status and the text."""
        port = (await self.logged("health.listening"))["port"]
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
            text = await answer.text()
        self._answers.append(text)
        return answer.status, text

    async def health(self, status: int) -> Said:
        """Ask for its health until it is this one: it tells nobody that it has become stale, so it has to be asked."""
        async with asyncio.timeout(DEADLINE):
            while True:
                got, text = await self.get("/healthz")
                if got == status:
                    told: Said = json.loads(text)
                    return told
                await asyncio.sleep(0.1)

    async def metric(self, name: str) -> float:
        """Ask for the first sample of a metric, with its labels if it has any."""
        _, text = await self.get("/metrics")
        (sample, *_) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
        return float(sample.rpartition(" ")[2])

    async def again(self) -> Said:
        """Have it make a full pass now, by a signal, and wait for its end; in trouble it tells of none."""
        since = len(self.log)
        self.process.send_signal(signal.SIGUSR1)
        return await self.passed(since=since)

    async def triggered(self, *arguments: object) -> Finished:
        """Have it do something by `syncer trigger --json`."""
        return await self.outside("trigger", "--json", *arguments)

    # --- its end ------------------------------------------------------------------------------------------

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> Finished:
        """Send it a signal, and judge how it ended: it has ten seconds."""
        self.process.send_signal(number)
        async with asyncio.timeout(TO_END):
            await self.process.wait()
        return await self.end()

    async def end(self, *, killed: bool = False) -> Finished:
        """Wait for its end and judge all that it said."""
        return await self.outside.end(self, killed=killed)  # type: ignore[arg-type]  # as much of a process as it needs

    @property
    def returncode(self) -> int | None:
        return self.process.returncode

    async def communicate(self) -> tuple[bytes, bytes]:
        """Return all that it said by other ways than its log, and its log, once it has ended."""
        await self.process.wait()
        await self.follower
        told = [*map(str, self.notices), *self._answers]
        return "\n".join(told).encode(), self._printed

    async def _follow(self) -> None:
        assert self.process.stderr is not None
        async for line in self.process.stderr:
            self._printed += line
            try:
                self.log.hear(json.loads(line))
            except ValueError:
                self.log.hear({"text": line.decode()})
        for heard in (self.log, self.notices):
            heard.end()


def is_line(line: Said, event: str, **facts: object) -> bool:
    """Say whether a line of the log tells of this event, with these facts."""
    return line.get("event") == event and all(line.get(name) == fact for name, fact in facts.items())


class _Manager(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.heard = Heard()

    def datagram_received(self, data: bytes, addr: object) -> None:
        pairs = (line.partition("=") for line in data.decode().splitlines())
        self.heard.hear({name: value for name, _, value in pairs})


@asynccontextmanager
async def daemon(
    outside: Outside,
    *arguments: object,
    command: str = "run",
    env: Mapping[str, str] | None = None,
    managed: bool = True,
) -> AsyncIterator[Daemon]:
    """Start `syncer run`, and stop it at the end of the block if it still runs: that has to work at any time."""
    runtime = outside.config.parent / "runtime"
    runtime.mkdir(mode=0o700, exist_ok=True)
    name = f"syncer-{os.getpid()}-{secrets.token_hex(4)}"  # in the abstract, where no path is too long
    manager = _Manager()
    loop = asyncio.get_running_loop()
    ear, _ = await loop.create_datagram_endpoint(lambda: manager, local_addr=f"\0{name}", family=AF_UNIX)
    given = {"RUNTIME_DIRECTORY": str(runtime), "SYNCER_LOG_FORMAT": "json"}
    given |= {"NOTIFY_SOCKET": f"@{name}"} if managed else {}
    try:
        async with outside.started(command, *arguments, env={**given, **(env or {})}) as process:
            running = Daemon(outside, process, manager.heard)
            try:
                yield running
                if process.returncode is None:
                    assert (await running.stop()).code == 143
            finally:
                running.follower.cancel()
                with suppress(asyncio.CancelledError):
                    await running.follower
    finally:
        ear.close()


class Gate:
    """The simulator's place on the network. Shut, connections are refused there; the port stays ours."""

    def __init__(self, sim: Simulator, held: socket) -> None:
        self.address = f"http://127.0.0.1:{held.getsockname()[1]}"
        self._port: int = held.getsockname()[1]
        self._behind = int(sim.url.split(":")[2].split("/")[0])
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def service(self) -> dict[str, object]:
        """The settings of a service that is reached through it."""
        return {"url": f"{self.address}/api", "token_url": f"{self.address}/oauth/v2/token"}

    @classmethod
    @asynccontextmanager
    async def before(cls, sim: Simulator) -> AsyncIterator[Gate]:
        """Stand before a simulator, open, until the block ends."""
        with socket() as held:  # bound and not listening: it only keeps the port from others
            held.setsockopt(SOL_SOCKET, SO_REUSEPORT, 1)
            held.bind(("127.0.0.1", 0))
            gate = cls(sim, held)
            await gate.open()
            try:
                yield gate
            finally:
                await gate.shut()

    async def open(self) -> None:
        """Let everybody through."""
        self._server = await asyncio.start_server(self._let_through, "127.0.0.1", self._port, reuse_port=True)

    async def shut(self) -> None:
        """Refuse everybody, and throw out who is inside."""
        if self._server is not None:
            self._server.close()
        while self._writers:
            self._writers.pop().transport.abort()

    async def _let_through(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner, outer = await asyncio.open_connection("127.0.0.1", self._behind)
        self._writers |= {writer, outer}
        await asyncio.gather(_copy(reader, outer), _copy(inner, writer))
        self._writers -= {writer, outer}


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while some := await reader.read(1 << 16):
            writer.write(some)
            await writer.drain()
    writer.close()


class Receiver:
    """Somebody on loopback who is notified; `answer` may hang, or refuse."""

    def __init__(self) -> None:
        self.got = Heard()  # path, query, body
        self.url = ""
        self.status = 200
        self.hangs: asyncio.Event | None = None  # until it is set

    @classmethod
    @asynccontextmanager
    async def listening(cls) -> AsyncIterator[Receiver]:
        """Listen until the block ends."""
        one = cls()
        runner = web.ServerRunner(web.Server(one._answer, access_log=None), shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        one.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield one
        finally:
            await runner.cleanup()

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        body = await request.text()
        self.got.hear({"path": request.path, "query": dict(request.query), "body": body})
        if self.hangs is not None:
            await self.hangs.wait()
        return web.Response(status=self.status)

    def bodies(self, path: str) -> list[Said]:
        """Return the JSON that came to a path."""
        return [json.loads(got["body"]) for got in self.got if got["path"] == path]


@contextmanager
def mounted(place: Path, options: str) -> Iterator[Path]:
    """Mount a small file system in memory; where this user may not, the test is skipped."""
    place.mkdir(exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def sockets_open_to_all(pid: int) -> set[str]:
    """Return the local addresses at which a process listens over TCP, in the kernel's spelling."""
    links = [str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()]
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A" and f"socket:[{inode}]" in links:
                found.add(local)
    return found
