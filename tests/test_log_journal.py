"""What journald gets: one entry a line, with its priority and the fields to search by, whatever is in them."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from logs import logging_as_before
from patience import without_waiting

from syncer import log

Entry = dict[str, str]


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    with logging_as_before():
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where journald listens, or does not."""
    return tmp_path / "journal"


@pytest.fixture
def journald(path: Path) -> Iterator[socket.socket]:
    """A socket as journald has one, and the log configured to send there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        listening.setblocking(False)
        log.configure(level="debug", journal=path)
        yield listening


def entries(journald: socket.socket) -> list[Entry]:
    """Read what has arrived."""
    found = []
    try:
        while True:
            found.append(parsed(journald.recv(1 << 20)))
    except BlockingIOError:
        return found


def parsed(datagram: bytes) -> Entry:
    """Read one entry by the words of the protocol: NAME=VALUE, or NAME, a length of 64 bits and so many bytes."""
    fields: Entry = {}
    while datagram:
        head, newline, rest = datagram.partition(b"\n")
        name, equals, value = head.partition(b"=")
        if not equals:
            length = int.from_bytes(rest[:8], "little")
            value, newline, rest = rest[8 : 8 + length], rest[8 + length : 9 + length], rest[9 + length :]
        assert newline == b"\n"
        assert name.decode() not in fields
        fields[name.decode()] = value.decode()
        datagram = rest
    return fields


def test_a_line_arrives_with_its_fields(journald: socket.socket, capsys: pytest.CaptureFixture[str]):
    """The message is the JSON line; event, run, workspace and image can be searched for; stderr stays empty."""
    structlog.get_logger().info("image.stored", run="r1", workspace="5f0c", image="ä", bytes=12)

    (entry,) = entries(journald)
    line = json.loads(entry.pop("MESSAGE"))
    assert line.pop("timestamp")
    assert line == {
        "event": "image.stored",
        "level": "info",
        "run": "r1",
        "workspace": "5f0c",
        "image": "ä",
        "bytes": 12,
    }
    assert entry == {
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "syncer",
        "SYNCER_EVENT": "image.stored",
        "SYNCER_RUN": "r1",
        "SYNCER_WORKSPACE": "5f0c",
        "SYNCER_IMAGE": "ä",
    }
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", "7"), ("info", "6"), ("warning", "4"), ("error", "3"), ("critical", "2")]
)
def test_a_level_has_its_priority(journald: socket.socket, level: str, priority: str):
    """`journalctl -p warning` shows what an operator needs, ours and a library's."""
    getattr(structlog.get_logger(), level)("pass.ended")
    getattr(logging.getLogger("some.package"), level)("oops")

    assert [(e["SYNCER_EVENT"], e["PRIORITY"]) for e in entries(journald)] == [
        ("pass.ended", priority),
        ("oops", priority),
    ]


def test_what_is_bound_stands_on_each_line(journald: socket.socket):
    """A library's line inside a run is found by that run; what is not bound has no field; a fact beats the bound."""
    with structlog.contextvars.bound_contextvars(run="r1", workspace="a"):
        logging.getLogger("some.package").warning("slow")
        structlog.get_logger().info("pass.began", workspace="b", image=None)
    structlog.get_logger().info("daemon.idle")

    fields = [{k: v for k, v in e.items() if k.startswith("SYNCER_")} for e in entries(journald)]
    assert fields == [
        {"SYNCER_EVENT": "slow", "SYNCER_RUN": "r1", "SYNCER_WORKSPACE": "a"},
        {"SYNCER_EVENT": "pass.began", "SYNCER_RUN": "r1", "SYNCER_WORKSPACE": "b"},
        {"SYNCER_EVENT": "daemon.idle"},
    ]


@pytest.mark.parametrize("image", ["a\nPRIORITY=0\n_UID=0", "\n", "\x00\x1b[2J", "b" * 70_000 + "\n"])
def test_no_value_makes_fields_of_its_own(journald: socket.socket, image: str):
    """An id may hold anything: it arrives as it is, in its field only."""
    structlog.get_logger().info("image.failed", image=image)

    (entry,) = entries(journald)
    assert entry["SYNCER_IMAGE"] == image
    assert entry["PRIORITY"] == "6"
    assert entry.keys() == {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "SYNCER_EVENT", "SYNCER_IMAGE"}


def test_half_a_letter_does_not_lose_the_line(journald: socket.socket):
    """JSON may carry half a surrogate pair, which is not UTF-8."""
    structlog.get_logger().info("image.failed", image="x\ud800")

    (entry,) = entries(journald)
    assert entry["SYNCER_IMAGE"] == "x\\ud800"
    assert json.loads(entry["MESSAGE"])["image"] == "x\ud800"


def test_a_traceback_is_one_entry(journald: socket.socket):
    """It would be a page of entries as lines on stderr."""
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logging.getLogger("some.package").exception("bug.met")

    (entry,) = entries(journald)
    assert json.loads(entry["MESSAGE"])["exception"][0]["exc_value"] == "two\nlines"
    assert entry["PRIORITY"] == "3"


def test_without_journald_stderr_keeps_the_priority(path: Path, capsys: pytest.CaptureFixture[str]):
    """A hardened unit may not show the socket; a service manager reads the prefix."""
    log.configure(journal=path)

    structlog.get_logger().warning("pass.ended", run="r1")

    err = capsys.readouterr().err
    assert err.startswith("<4>{")
    assert err.count("\n") == 1
    assert json.loads(err.removeprefix("<4>"))["run"] == "r1"


def test_what_is_too_large_goes_to_stderr(journald: socket.socket, capsys: pytest.CaptureFixture[str]):
    """A datagram has a limit; a line is not lost over it, nor are those after it."""
    structlog.get_logger().error("bug.met", text="x" * 5_000_000)
    structlog.get_logger().info("pass.began")

    assert capsys.readouterr().err.startswith("<3>{")
    assert [entry["SYNCER_EVENT"] for entry in entries(journald)] == ["pass.began"]


def test_a_journald_that_hangs_holds_nothing_up(
    journald: socket.socket, path: Path, capsys: pytest.CaptureFixture[str]
):
    """It reads no more: what does not fit goes to stderr at once, and to journald again when it has caught up."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.setblocking(False)
        with pytest.raises(BlockingIOError):
            while True:
                other.sendto(b"MESSAGE=fill\n", str(path))

    with without_waiting():
        structlog.get_logger().info("pass.began")
    assert capsys.readouterr().err.startswith("<6>{")
    entries(journald)

    structlog.get_logger().info("pass.ended")
    assert [entry["SYNCER_EVENT"] for entry in entries(journald)] == ["pass.ended"]
    assert capsys.readouterr().err == ""


def test_a_journald_that_came_back_is_used_again(path: Path, capsys: pytest.CaptureFixture[str]):
    """It is updated and restarted while we run for months."""
    log.configure(journal=path)
    for event in ("first", "second"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
            journald.bind(str(path))
            journald.setblocking(False)
            structlog.get_logger().info(event)
            assert [entry["SYNCER_EVENT"] for entry in entries(journald)] == [event]
        path.unlink()
    assert capsys.readouterr().err == ""


# --- whether stderr is journald's ---------------------------------------------------------------------


def test_stderr_is_journalds_where_the_stream_is_the_same():
    """The variable is inherited by whoever is started from a service; the descriptor decides."""
    stderr = os.fstat(2)

    assert log.under_journal({"JOURNAL_STREAM": f"{stderr.st_dev}:{stderr.st_ino}"})
    assert not log.under_journal({"JOURNAL_STREAM": f"{stderr.st_dev}:{stderr.st_ino + 1}"})
    assert not log.under_journal({"JOURNAL_STREAM": ""})
    assert not log.under_journal({})


def test_a_closed_stderr_is_nobodys():
    """A process may be started without one."""
    stderr = os.fstat(2)
    kept = os.dup(2)
    os.close(2)
    try:
        found = log.under_journal({"JOURNAL_STREAM": f"{stderr.st_dev}:{stderr.st_ino}"})
    finally:
        os.dup2(kept, 2)
        os.close(kept)

    assert not found


def test_a_process_as_systemd_starts_it_logs_to_journald(path: Path):
    """Its stderr is the stream that the environment names; stdout, another stream, does not matter."""
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journald:
        journald.bind(str(path))
        journald.setblocking(False)
        stream = os.fstat(theirs.fileno())
        code = (
            "import os, sys, pathlib, structlog; from syncer import log;"
            "log.configure(journal=pathlib.Path(sys.argv[1]) if log.under_journal(os.environ) else None);"
            "structlog.get_logger().info('daemon.started')"
        )
        subprocess.run(
            [sys.executable, "-c", code, str(path)],
            env={**os.environ, "JOURNAL_STREAM": f"{stream.st_dev}:{stream.st_ino}"},
            stdout=subprocess.DEVNULL,
            stderr=theirs,
            check=True,
        )
        theirs.close()

        assert ours.recv(1000) == b""
        assert [entry["SYNCER_EVENT"] for entry in entries(journald)] == ["daemon.started"]
