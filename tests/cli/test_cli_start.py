"""What a command imports before it does anything: most of the time of a short one, so only what it has a use for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from cli_parts import Syncer
from support import environment

PROGRAM = """
import json, sys
from syncer.cli.main import run
code = run(sys.argv[1:])
print("\\n" + json.dumps([code, *sys.modules]))
"""
OF_OTHERS = {"PIL", "apscheduler", "asyncinotify", "prometheus_client", "syncer.daemon", "syncer.simulator"}
OF_CHANGES = OF_OTHERS | {"sqlite_utils", "click", "dateutil"}  # of the tables themselves, not of their rows
OF_BACKUPS = OF_CHANGES | {"aiohttp", "aiofiles", "structlog", "syncer.app"}


def imported(*words: object) -> set[str]:
    """Run a command by itself; returns the modules and packages that were imported at its end."""
    command = [sys.executable, "-c", PROGRAM, *map(str, words)]
    alone = {name: value for name, value in environment().items() if not name.startswith("COVERAGE")}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True, env=alone)
    code, *modules = json.loads(ran.stdout.splitlines()[-1])
    assert code == 0, ran.stderr
    return set(modules)


@pytest.mark.parametrize("words", [["--help"], ["backup", "--help"], ["--version"]], ids=" ".join)
def test_help_needs_the_command_line_alone(words: list[str]):
    """No network, no database, no settings."""
    assert not imported(*words) & (OF_BACKUPS | {"asyncio", "ssl", "sqlite3", "msgspec", "syncer.settings"})


@pytest.mark.parametrize("words", [["list", "--limit", 1], ["status"]], ids=["list", "status"])
def test_looking_into_the_archive_needs_rows_alone(archive: Path, words: list[object]):
    """Neither what speaks to the service nor what makes tables; no loop either, where no daemon is to be asked."""
    assert not imported("--config", archive, *words) & (OF_BACKUPS | {"asyncio", "ssl"})


@pytest.mark.parametrize("mode", ["--full", "--quick"])
def test_a_backup_that_finds_nothing_new_needs_no_tables(syncer: Syncer, config: Path, mode: str):
    """The manifest is of our version already; nobody looks on, and no picture is looked at."""
    assert syncer("backup").code == 0

    assert not imported("--config", config, "backup", mode) & (OF_CHANGES | {"rich.progress", "aiohttp.web"})
