"""The command line in this process, and the simulated service in a thread beside it."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from logs import logging_as_before
from support import CANARY, back_up, configure, lines, settings_of

from syncer.cli.main import run
from syncer.simulator.server import Options, Simulator


@contextmanager
def served(options: Options) -> Iterator[Simulator]:
    """Run a simulated service in a thread of its own, since a command blocks this one."""
    ready: Future[tuple[Simulator, Callable[[], object]]] = Future()

    async def serve() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        try:
            async with Simulator.start(options) as sim:
                ready.set_result((sim, lambda: loop.call_soon_threadsafe(stop.set)))
                await stop.wait()
        except BaseException as error:
            if ready.done():
                raise
            ready.set_exception(error)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        sim, stop = ready.result()
        try:
            yield sim
        finally:
            stop()
    finally:
        thread.join()


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """A simulated service with 8 images in two workspaces."""
    with served(Options(images=8, client_secret=CANARY)) as running:
        yield running


@pytest.fixture
def config(sim: Simulator, shelf: str, tmp_path: Path) -> Path:
    """A configuration for the service's first workspace."""
    return configure(sim, tmp_path, [shelf])


@dataclass(frozen=True)
class Ran:
    """What one command came to."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON lines on stdout, without the summary."""
        *before, summary = lines(self.out)
        assert summary["type"] == "summary"
        return before

    @property
    def summary(self) -> dict[str, Any]:
        """The last JSON line."""
        return lines(self.out)[-1]


Syncer = Callable[..., Ran]


@pytest.fixture
def syncer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Syncer]:
    """Run a command line: `syncer("backup", "--json", env={…})`. No secret may be in what it prints."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in os.environ:
        if name.startswith(("SYNCER_", "XDG_", "CREDENTIALS_")):
            monkeypatch.delenv(name)

    def command(*arguments: object, env: Mapping[str, str] | None = None) -> Ran:
        capsys.readouterr()
        with pytest.MonkeyPatch.context() as patch:
            for name, value in (env or {}).items():
                patch.setenv(name, value)
            code = run([str(argument) for argument in arguments])
        ran = Ran(code, *capsys.readouterr())
        for stream in (ran.out, ran.err):
            assert CANARY not in stream, "a secret was printed"
        assert ("Traceback" in ran.err) == (code == 1), ran.err
        assert "Traceback" not in ran.out
        return ran

    with logging_as_before():
        yield command


@pytest.fixture(scope="session")
def week(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an archive with a history: what was new, then changed, deleted, and failed."""
    folder = tmp_path_factory.mktemp("week")

    async def live_through() -> None:
        async with Simulator.start(Options(images=8, client_secret=CANARY)) as sim:
            settings = settings_of(configure(sim, folder))
            await back_up(settings)
            first = next(iter(sim.workspaces.values()))
            repainted, deleted, reworded = first.ids[:3]
            first.repaint(repainted)
            first.delete(deleted)
            first.change(reworded, prompt="A\x1b[31mKite\x07\n[bold]on \u202ea line[/]")
            sim.faults.on("content", lost(), image=first.add())
            await back_up(settings)

    asyncio.run(live_through())
    return folder


def lost() -> Any:
    """The image is there, its bytes are not."""
    from syncer.simulator.faults import status

    return status(404)


@pytest.fixture
def archive(week: Path, tmp_path: Path) -> Path:
    """A copy of that folder, to look at and to spoil; returns its configuration."""
    shutil.copytree(week, tmp_path, dirs_exist_ok=True)
    config = tmp_path / "syncer.toml"
    config.write_text(config.read_text().replace(str(week), str(tmp_path)))
    return config
