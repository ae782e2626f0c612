"""`syncer` as a whole: help, mistakes in usage, where a configuration comes from, and what becomes of a bug."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_parts import Syncer
from support import CANARY, environment

from syncer import __version__
from syncer.cli import init
from syncer.cli.exit_codes import MEANINGS, epilogue
from syncer.cli.main import COMMANDS
from syncer.redaction import redact

HELP_SECONDS = 0.3  # of processor time; a person should not notice that it starts


# --- help ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_the_exit_codes(syncer: Syncer, command: str):
    """Of each command those it can end with, each with its meaning."""
    ran = syncer(command, "--help")

    assert ran.code == 0
    assert ran.out.rstrip().endswith(epilogue(COMMANDS[command][0]))
    assert "--config" in ran.out


def test_help_lists_every_command_and_code(syncer: Syncer):
    """With no command at all it says the same."""
    ran = syncer("--help")

    assert ran.code == 0
    assert ran.out.rstrip().endswith(epilogue())
    assert all(f"\n│ {command} " in ran.out for command in COMMANDS)
    assert all(str(code) in ran.out for code in MEANINGS)
    assert syncer().out == ran.out


def test_version(syncer: Syncer):
    """The version alone."""
    assert (syncer("--version").out, syncer("--version").code) == (f"{__version__}\n", 0)


def children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_is_instant():
    """In a process of its own; the middle one of three."""

    unmeasured = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}

    def once() -> float:
        before = children_seconds()
        command = [sys.executable, "-m", "syncer", "--help"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=unmeasured)
        return children_seconds() - before

    assert statistics.median(once() for _ in range(3)) < HELP_SECONDS


# --- mistakes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "suggestion"),
    [
        (["bakup"], "backup"),
        (["backup", "--quik"], "--quick"),
        (["backup", "--accept-deletion"], "--accept-deletions"),
        (["list", "--state", "goone"], "gone"),
        (["status", "brand"], "brand"),
        (["show"], "image"),
        (["backup", "--quick=perhaps"], "perhaps"),
        (["--confg", "x", "backup"], "--confg"),
        (["--set", "backup"], "KEY=VALUE"),
        (["--set"], "--set"),
    ],
    ids=str,
)
def test_a_mistake_is_told_with_a_suggestion(syncer: Syncer, arguments: list[str], suggestion: str):
    """On stderr, with exit code 2 and without a traceback."""
    ran = syncer(*arguments)

    assert (ran.code, ran.out) == (2, "")
    assert suggestion in ran.err
    assert "→" in ran.err


@pytest.mark.parametrize("arguments", [["backup", "--quik"], ["backup", "nobody"], ["status", "--max-age", "often"]])
def test_a_mistake_ends_the_data_too(syncer: Syncer, archive: Path, arguments: list[str]):
    """Who reads JSON lines waits for the summary: it says that nothing is complete, and the exit code."""
    ran = syncer(*arguments, "--json")

    assert ran.code == ran.summary["exit_code"] == 2
    assert ran.summary["complete"] is False
    assert ran.summary["command"] == arguments[0]
    assert ran.summary["why"]


def test_data_asked_for_by_the_environment_is_ended_too(syncer: Syncer, archive: Path):
    """The twin of --json counts as much as --json."""
    asked = syncer("status", "--max-age", "often", env={"SYNCER_STATUS_JSON": "true"})
    of_another = syncer("status", "--max-age", "often", env={"SYNCER_LIST_JSON": "true", "SYNCER_STATUS_JSON": "no"})

    assert asked.code == asked.summary["exit_code"] == 2
    assert of_another.out == ""


# --- where the configuration comes from -----------------------------------------------------------------


@pytest.fixture
def elsewhere(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration that has to be named to be found."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return archive


def test_no_configuration_is_said(syncer: Syncer, elsewhere: Path):
    """With the command that writes one."""
    ran = syncer("list")

    assert (ran.code, ran.out) == (2, "")
    assert "syncer init" in ran.err


@pytest.mark.parametrize("how", ["before", "behind", "short", "environment"])
def test_the_configuration_can_be_named(syncer: Syncer, elsewhere: Path, how: str):
    """Before the command or behind it, or for all commands in the environment."""
    ran = {
        "before": lambda: syncer("--config", elsewhere, "list"),
        "behind": lambda: syncer("list", "--config", elsewhere),
        "short": lambda: syncer("list", "-c", elsewhere),
        "environment": lambda: syncer("list", env={"SYNCER_CONFIG": str(elsewhere)}),
    }[how]()

    assert ran.code == 0
    assert ran.out


def test_the_command_line_is_the_strongest(syncer: Syncer, archive: Path, tmp_path: Path):
    """Then the environment, then the file."""
    empty = tmp_path / "empty"

    def held(*arguments: object, **env: str) -> int:
        return int(syncer("status", "--json", *arguments, env=env).summary["live"])

    assert held() > 0
    assert held(SYNCER_ARCHIVE__PATH=str(empty)) == 0
    assert held("--set", f"archive.path={tmp_path / 'archive'}", SYNCER_ARCHIVE__PATH=str(empty)) > 0
    assert held("--set", f"archive.path={empty}") == 0


def test_a_variable_that_means_nothing_is_a_warning(syncer: Syncer, archive: Path):
    """A typing error in a unit file must not pass in silence."""
    ran = syncer("list", env={"SYNCER_LIMITS__DOWLOADS": "3"})

    assert ran.code == 0
    assert "SYNCER_LIMITS__DOWLOADS" in ran.err


# --- what is not the user's fault -----------------------------------------------------------------------


@pytest.fixture
def bug(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """`syncer init` meets a bug, with a secret in its words."""
    redact.learn(CANARY)

    def fail() -> str:
        try:
            raise KeyError(f"[bold]{CANARY}")
        except KeyError as error:
            raise ExceptionGroup("two", [ValueError(f"Bearer {CANARY}"), OSError("other")]) from error

    monkeypatch.setattr("syncer.settings.example", fail)
    assert init  # imported before it is called, so that only the function is another
    yield


def test_a_bug_is_told_as_one(syncer: Syncer, bug: None):
    """With exit code 1, the traceback for a report, and no secret in it."""
    ran = syncer("init", "--stdout")

    assert ran.code == 1
    assert "Traceback" in ran.err
    assert "KeyError" in ran.err
    assert "OSError: other" in ran.err
    assert "a bug of ours" in ran.err
    assert ran.out == ""


def test_a_reader_that_leaves_early_is_no_error(archive: Path):
    """`syncer list | head -n 1` ends in silence."""
    with subprocess.Popen(
        [sys.executable, "-c", LIST_A_LOT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment({"SYNCER_CONFIG": str(archive)}),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline()
        process.stdout.close()
        complaints = process.stderr.read()
    assert process.returncode == 0
    assert complaints == b""


LIST_A_LOT = """
import sys
from syncer.cli import list as command
from syncer.cli.main import run

cells = command._cells
command._cells = lambda row: (*cells(row), "x" * 2**17)  # more than a pipe takes
sys.exit(run(["list"]))
"""
