"""The command line in this process, with a simulated service or with an archive that has a history."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from cli_parts import Ran, Syncer, served
from logs import logging_as_before
from support import CANARY, back_up, configure, settings_of

from syncer.archive.lock import settle
from syncer.cli.main import run
from syncer.simulator import faults
from syncer.simulator.server import Options, Simulator


@pytest.fixture
def sim() -> Iterator[Simulator]:
    """A simulated service with 8 images in two workspaces."""
    with served(Options(images=8, client_secret=CANARY)) as running:
        yield running


@pytest.fixture
def config(sim: Simulator, shelf: str, tmp_path: Path) -> Path:
    """A configuration for the service's first workspace."""
    return configure(sim, tmp_path, [shelf])


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
            sim.faults.on("content", faults.status(404), image=first.add())
            await back_up(settings)

    asyncio.run(live_through())
    return folder


@pytest.fixture
def archive(week: Path, tmp_path: Path) -> Path:
    """A copy of that folder, to look at and to spoil; returns its configuration."""
    shutil.copytree(week, tmp_path, dirs_exist_ok=True)
    settle(tmp_path / "archive" / ".staging")  # it is the archive for the test, not a copy of it
    config = tmp_path / "syncer.toml"
    config.write_text(config.read_text().replace(str(week), str(tmp_path)))
    return config
