"""`syncer init`."""

from __future__ import annotations

import stat
from pathlib import Path

from cli_parts import Syncer

from syncer.settings import example


def test_it_writes_the_example_for_its_owner_alone(syncer: Syncer, tmp_path: Path):
    """Into the current folder, readable by nobody else, and it says what to do next."""
    ran = syncer("init")

    written = tmp_path / "syncer.toml"
    assert ran.code == 0
    assert written.read_text() == example()
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    assert "syncer check" in ran.err
    assert ran.out == ""


def test_it_never_overwrites_unasked(syncer: Syncer, tmp_path: Path):
    """A configuration that somebody has filled in stays as it is; --force replaces it."""
    written = tmp_path / "syncer.toml"
    written.write_text("mine")

    ran = syncer("init")

    assert ran.code == 2
    assert "--force" in ran.err
    assert written.read_text() == "mine"
    assert syncer("init", "--force").code == 0
    assert written.read_text() == example()


def test_it_writes_where_it_is_told(syncer: Syncer, tmp_path: Path):
    """By its argument, or by the --config that every command takes."""
    assert syncer("init", "one.toml").code == 0
    assert syncer("--config", "two.toml", "init").code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"one.toml", "two.toml"}


def test_it_writes_to_stdout(syncer: Syncer, tmp_path: Path):
    """And then to no file."""
    ran = syncer("init", "--stdout")

    assert (ran.code, ran.out, ran.err) == (0, example(), "")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_said(syncer: Syncer):
    """As a mistake in usage."""
    ran = syncer("init", "no/such/folder/syncer.toml")

    assert ran.code == 2
    assert "No such file or directory" in ran.err
