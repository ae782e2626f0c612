"""`drop`: what a file is by its stat, and its bytes, whole or not at all."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from inbox_parts import drop

from syncer.errors import ConfigError, Refused
from syncer.inbox.drop import drop_of, fault_of, read

MOST = 32 << 20


def test_a_named_file_is_a_drop(tmp_path: Path):
    """With its own name, whichever folder it is named from."""
    path = tmp_path / "a.png"
    path.write_bytes(b"picture")
    assert drop_of(path, most=MOST) == drop(path)


async def test_a_named_symlink_is_followed(tmp_path: Path):
    """Whoever names it means what it leads to, and the name is theirs."""
    (tmp_path / "a.png").write_bytes(b"picture")
    (tmp_path / "link.png").symlink_to("a.png")
    named = drop_of(tmp_path / "link.png", most=MOST)
    assert (named.name, named.fault) == ("link.png", None)
    assert await read(named) == b"picture"


@pytest.mark.parametrize("name", ["missing.png", "a.png/below.png", "folder", "circle", "a\0b"])
def test_what_is_no_file_is_a_mistake_on_the_command_line(tmp_path: Path, name: str):
    """It is named in one line, and nothing is sent."""
    (tmp_path / "a.png").write_bytes(b"picture")
    (tmp_path / "folder").mkdir()
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(ConfigError) as refused:
        drop_of(tmp_path / name, most=MOST)
    assert refused.value.message.startswith(str(tmp_path))


def test_what_is_nothing_to_upload_has_a_reason(tmp_path: Path):
    """By its stat alone: its kind, its size."""
    file, link, fifo, bound = (tmp_path / name for name in ("file", "link", "fifo", "socket"))
    file.touch()
    link.symlink_to("file")
    os.mkfifo(fifo)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(bound))
        faults = [fault_of(path.lstat(), MOST) for path in (file, link, fifo, bound, Path("/dev/null"))]
    assert faults == ["empty", *(f"a {kind}, not a file" for kind in ("symlink", "FIFO", "socket", "device"))]


@pytest.mark.parametrize(
    ("size", "fault"),
    [
        (MOST, None),
        (MOST + 1, "larger than limits.upload_bytes: 32.1 MiB, and 32.0 MiB are allowed"),
        (40 << 20, "larger than limits.upload_bytes: 40.0 MiB, and 32.0 MiB are allowed"),
    ],
)
def test_a_file_that_is_too_large_says_by_how_much(tmp_path: Path, size: int, fault: str | None):
    """The two sizes never look the same."""
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(size)
    assert drop_of(path, most=MOST).fault == fault


def test_small_sizes_are_told_in_bytes(tmp_path: Path):
    """They would all be 0.0 MiB."""
    path = tmp_path / "a.png"
    path.write_bytes(bytes(3000))
    assert drop_of(path, most=2048).fault == "larger than limits.upload_bytes: 3,000 bytes, and 2,048 are allowed"


async def test_another_file_gives_no_bytes(tmp_path: Path):
    """Not one that was written to, replaced or removed, nor one that is no file any more."""
    path = tmp_path / "a.png"
    path.write_bytes(b"picture")
    dropped = drop(path)
    assert await read(dropped) == b"picture"
    path.write_bytes(b"another")
    os.utime(path, ns=(0, dropped.signature.mtime_ns + 1))
    assert await read(dropped) is None
    path.unlink()
    assert await read(dropped) is None
    path.symlink_to("/etc/hostname")
    assert await read(dropped) is None
    path.unlink()
    os.mkfifo(path)
    assert await read(dropped) is None
    path.unlink()
    path.mkdir()
    assert await read(dropped) is None


async def test_a_file_that_changes_while_it_is_read_gives_no_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It is looked at before, and once more after its last byte."""
    path = tmp_path / "a.png"
    path.write_bytes(b"picture")
    dropped = drop(path)
    fstat = os.fstat

    def fstat_then_written(fd: int) -> os.stat_result:
        seen = fstat(fd)
        with path.open("ab") as file:
            file.write(b"more")
        return seen

    monkeypatch.setattr(os, "fstat", fstat_then_written)
    assert await read(dropped) is None


async def test_a_file_that_cannot_be_read_says_why(tmp_path: Path):
    """A reason and what to do; it is no bug of ours. A file of /proc gives the error to root as well."""
    path = Path("/proc/self/mem")
    with pytest.raises(Refused) as refused:
        await read(drop(path))
    assert refused.value.facts["reason"] == "Input/output error"
    assert refused.value.hint
