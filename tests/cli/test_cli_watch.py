"""`syncer watch`: the part of the daemon that uploads, in a process of its own."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_parts import Syncer
from patience import without_waiting
from support import configure, environment, rows

from syncer.simulator.pictures import Picture
from syncer.simulator.server import Simulator

LONG = 120  # seconds, on a machine that is busy with other things


def test_without_a_folder_to_watch(syncer: Syncer, config: Path):
    """It says so instead of waiting for ever: exit code 2."""
    ran = syncer("watch")

    assert ran.code == 2
    assert "watch = " in ran.err


@pytest.mark.slow
def test_it_uploads_what_is_dropped_and_makes_no_backup(syncer: Syncer, sim: Simulator, shelf: str, tmp_path: Path):
    """Until SIGTERM ends it; `status` says that nothing but uploads is looked after."""
    config = configure(sim, tmp_path, [shelf], daemon={"listen": "", "socket": str(tmp_path / "socket")})
    folder = tmp_path / "drop"
    folder.mkdir()
    config.write_text(f'{config.read_text()}\nwatch = "{folder}"\nwatch_settle = 0.1')
    content = Picture(7, "kite").render()

    process = subprocess.Popen(
        [sys.executable, "-m", "syncer", "watch", "--config", config],
        stderr=subprocess.PIPE,
        text=True,
        env=environment({"TMPDIR": str(tmp_path)}),
    )
    with process, without_waiting(LONG):
        try:
            told_until(process, "daemon.ready")
            status = syncer("status").out
            (tmp_path / "kite").write_bytes(content)
            os.rename(tmp_path / "kite", folder / "kite.png")  # noqa: PTH104  a rename, as somebody else would make it
            told_until(process, "upload.proven")
            process.send_signal(signal.SIGTERM)
            assert process.wait() == 143
        finally:
            process.kill()

    assert "daemon           only uploads: " in status
    assert "no good run" not in status
    assert [one.sha256 for one in sim.uploads] == [hashlib.sha256(content).hexdigest()]
    (moved,) = folder.glob(".syncer/done/*/kite.png")
    assert moved.read_bytes() == content
    assert rows(tmp_path / "archive", "images") == []


def told_until(process: subprocess.Popen[str], event: str) -> None:
    """Read the log until it tells of an event."""
    assert process.stderr is not None
    told = []
    for line in process.stderr:
        told.append(line)
        if event in line:
            return
    pytest.fail(f"it ended before {event}:\n{''.join(told)}")
