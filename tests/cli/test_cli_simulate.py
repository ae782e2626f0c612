"""`syncer simulate`: the simulated service alone, in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_parts import Syncer
from support import environment


@contextlib.contextmanager
def simulating(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start the command; one that is still running when the block ends is killed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "syncer", "simulate", "--images", "4", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment({"TMPDIR": str(folder)}),
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_a_configuration_that_works(syncer: Syncer, tmp_path: Path, number: signal.Signals):
    """Saved as it is, a check and a backup succeed with it; Ctrl-C, or a service manager, ends it with 0."""
    with simulating(tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert "listens at http://127.0.0.1:" in process.stderr.readline()
        # It has been written by now, all at once; the end of the file comes only with the end of the command.
        printed = os.read(process.stdout.fileno(), 2**16)
        (tmp_path / "syncer.toml").write_bytes(printed)

        assert syncer("check", "--set", "archive.reserve=0").code == 0
        ran = syncer("backup", "--json", "--set", "archive.reserve=0")
        assert ran.code == 0
        assert ran.summary["listed"] == 4

        process.send_signal(number)
        assert process.wait(10) == 0
        assert "Traceback" not in process.stderr.read()


def test_a_port_that_is_taken_is_said(syncer: Syncer):
    """As a mistake in usage, with what to do."""
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        ran = syncer("simulate", "--port", taken.getsockname()[1])

    assert ran.code == 2
    assert "cannot listen on port" in ran.err
    assert "--port" in ran.err


@pytest.mark.parametrize("wrong", [["--port", "70000"], ["--fault-rate", "2"], ["--images", "-1"], ["--latency", "x"]])
def test_what_cannot_be_is_refused(syncer: Syncer, wrong: list[str]):
    """Before anything is started."""
    assert syncer("simulate", *wrong).code == 2
