"""`lock`: one process at a time, and the second is told who the first is."""

import os
import shutil
import socket
import subprocess
import sys

import pytest
from archive_parts import opened

from syncer.archive.lock import DAEMON, WRITER, at_home, held, settle, shared
from syncer.archive.lock import holder as told_by
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


def test_the_holder_can_be_asked_for(tmp_path, holder):
    """Who it is, with all that it says of itself; nobody, once it has ended."""
    path = tmp_path / ".staging" / "lock"
    assert told_by(path)["pid"] == holder.pid
    holder.kill()
    holder.wait()
    assert told_by(path) is None


def test_asking_for_the_holder_changes_nothing(tmp_path):
    """Neither where there was never one, nor that its last one ended badly."""
    path = tmp_path / "lock"
    assert told_by(path) is None
    assert not path.exists()
    path.write_bytes(b'{"pid": 7}')
    assert told_by(path) is None
    assert path.read_bytes() == b'{"pid": 7}'


def test_a_holder_may_say_more_of_itself(tmp_path):
    """Where it can be reached, say; whoever is refused is told only who it is."""
    path = tmp_path / "daemon"
    with held(path, command="run", since="now", socket="/run/syncer/control.sock"):
        assert told_by(path)["socket"] == "/run/syncer/control.sock"
        with pytest.raises(AlreadyRunning) as running, held(path, command="run", since="later"):
            pass
        assert running.value.facts == {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "command": "run",
            "since": "now",
        }


def test_a_holder_that_says_nonsense_is_one_all_the_same(tmp_path):
    """That somebody is there is what counts."""
    path = tmp_path / "daemon"
    with held(path, command="run", since="now"):
        for nonsense in (b"", b"{", b"[]", b"\xff"):
            path.write_bytes(nonsense)
            assert told_by(path) == {}


async def test_the_daemons_lock_is_another_than_the_writers(tmp_path):
    """Between its runs the archive is free for others, and opening the archive does not clear its lock away."""
    (tmp_path / ".staging").mkdir()
    daemon = tmp_path / ".staging" / DAEMON
    with held(daemon, command="run", since="now"):
        async with opened(tmp_path):
            pass
        async with opened(tmp_path):
            assert told_by(daemon)["command"] == "run"
            assert told_by(tmp_path / ".staging" / WRITER)["command"] == "backup"
            with pytest.raises(AlreadyRunning), held(daemon, command="run", since="later"):
                pass


def test_readers_keep_writers_out_and_not_each_other(tmp_path):
    """And say nothing of themselves, for they may not be able to write."""
    path = tmp_path / "lock"
    with shared(path):  # nobody was ever here
        assert not path.exists()
    with held(path, command="backup", since="now"), pytest.raises(AlreadyRunning), shared(path):
        pass
    with shared(path), shared(path):
        assert told_by(path) is None
        with pytest.raises(AlreadyRunning), held(path, command="backup", since="now"):
            pass


def test_a_lock_that_we_may_not_open_is_nothing_to_hold(tmp_path):
    """Who may read the archive may verify it, whatever is with its staging folder."""
    (tmp_path / "lock").touch(mode=0)
    as_root = os.geteuid() == 0
    if as_root:
        os.seteuid(65534)  # root may open everything
    try:
        with pytest.raises(PermissionError):
            os.open(tmp_path / "lock", os.O_RDONLY)
        with shared(tmp_path / "lock"):
            pass
    finally:
        if as_root:
            os.seteuid(0)


async def test_an_archive_knows_its_home_and_a_copy_is_not_it(tmp_path):
    """Also one of hard links; writing there makes it its own home, and leaves the first one's as it is."""
    first, copy, linked = (tmp_path / name / ".staging" for name in ("first", "copy", "linked"))
    async with opened(tmp_path / "first"):
        pass
    shutil.copytree(first, copy)
    shutil.copytree(first, linked, copy_function=os.link)
    assert [at_home(one) for one in (first, copy, linked)] == [True, False, False]

    async with opened(tmp_path / "linked"):
        assert at_home(linked)

    assert [at_home(one) for one in (first, copy, linked)] == [True, False, True]
    (tmp_path / "first").rename(tmp_path / "moved")
    assert at_home(tmp_path / "moved" / ".staging")


def test_a_home_that_cannot_be_noted_is_no_reason_to_stop(tmp_path):
    """The archive looks like a copy then."""
    (tmp_path / "home.new").mkdir()
    settle(tmp_path)
    assert not at_home(tmp_path)
