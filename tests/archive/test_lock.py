"""`lock`: one process at a time, and the second is told who the first is."""

import os
import socket
import subprocess
import sys

import pytest
from archive_parts import opened

from syncer.archive.lock import held
from syncer.errors import AlreadyRunning

HOLDER = """
import sys
from pathlib import Path
from syncer.archive.lock import held
with held(Path(sys.argv[1]), command="run", since="2026-11-22T06:00:00.000Z"):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock until its input ends."""
    (tmp_path / ".staging").mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path / ".staging" / "lock"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


async def test_the_second_is_told_who_is_first(tmp_path, holder):
    """The error names process, machine, command and time."""
    with pytest.raises(AlreadyRunning) as running:
        async with opened(tmp_path):
            pass
    assert running.value.facts == {
        "pid": holder.pid,
        "host": socket.gethostname(),
        "command": "run",
        "since": "2026-11-22T06:00:00.000Z",
    }


async def test_a_killed_holder_holds_nothing(tmp_path, holder):
    """No stale lock: killed outright, its archive opens at once, and is known to have ended badly."""
    holder.kill()
    holder.wait()
    with held(tmp_path / ".staging" / "lock", command="backup", since="now") as clean:
        assert not clean
    async with opened(tmp_path):
        pass


def test_a_clean_end_shows(tmp_path):
    """After an orderly end the next one knows; after an error it looks twice."""
    for clean_before, error in ((True, None), (True, KeyError), (False, None), (True, None)):
        try:
            with held(tmp_path / "lock", command="backup", since="now") as clean:
                assert clean == clean_before
                if error:
                    raise error
        except KeyError:
            pass


def test_a_holder_that_has_not_said_who_it_is(tmp_path):
    """Between taking the lock and writing the facts, or with nonsense in the file, the lock still holds."""
    with held(tmp_path / "lock", command="backup", since="now"):
        (tmp_path / "lock").write_bytes(b"{")
        with pytest.raises(AlreadyRunning) as running, held(tmp_path / "lock", command="backup", since="now"):
            pass
    assert running.value.facts == {}
