"""`journal`: append-only, durable when flushed, and every change of the past shows."""

import asyncio
import errno
import json
import os
from datetime import timedelta
from pathlib import Path

import pytest
from archive_parts import NOON

from syncer.archive import journal as module
from syncer.archive.journal import Break, Journal, JournalLine, read
from syncer.errors import ArchiveUnwritable


async def write(root, run, *events, at=NOON):
    async with Journal.open(root, run, lambda: at) as journal:
        for event in events:
            journal.append(event, image="a")
    return journal.path


@pytest.fixture
async def runs(tmp_path):
    """Three runs, of two events each."""
    return [
        await write(tmp_path, f"r{n}", "run.started", "run.finished", at=NOON + timedelta(hours=n)) for n in range(3)
    ]


def breaks(root):
    return [(found.file, found.line) for found in read(root) if isinstance(found, Break)]


async def test_a_runs_file(tmp_path):
    """One file a run, a line an event, with its facts."""
    async with Journal.open(tmp_path, "Run/1", lambda: NOON) as journal:
        journal.append("run.started", workspaces=["w1"], path=tmp_path.parent / "x")
        journal.append("image.stored", image="a", bytes=9, after=1)
    assert journal.path.name == "20261122T120000000000Z-+run=2f1.jsonl"
    first, second = (json.loads(line) for line in journal.path.read_text().splitlines())
    assert (first["n"], first["event"], first["after"], first["prev"]) == (0, "run.started", None, "0" * 64)
    assert second["at"] == "2026-11-22T12:00:00.000Z"
    assert list(read(tmp_path))[1] == JournalLine(
        journal.path.name, 2, "image.stored", "2026-11-22T12:00:00.000Z", {"image": "a", "bytes": 9, "after": 1}
    )


async def test_without_an_event_there_is_no_file(tmp_path):
    """A run that tells nothing leaves nothing."""
    await write(tmp_path, "r1")
    assert list(tmp_path.iterdir()) == []


async def test_flushed_is_durable(tmp_path, monkeypatch):
    """A flush syncs the file, and once its folder and the folder above."""
    synced, sync = [], os.fsync

    def logged(fd):
        synced.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        sync(fd)

    monkeypatch.setattr(os, "fsync", logged)
    async with Journal.open(tmp_path, "r1", lambda: NOON) as journal:
        journal.append("run.started")
        assert not journal.path.exists()
        await journal.flush()
        assert synced == [str(journal.path), str(journal.path.parent), str(tmp_path)]
        await journal.flush()
        journal.append("run.finished")
        await asyncio.gather(journal.flush(), journal.flush())
        assert synced[3:] == [str(journal.path)]
    assert len([*read(tmp_path)]) == 2


async def test_what_happened_before_an_error_is_told(tmp_path):
    """Events before the error that ends a run are written, and the error is the one that is heard."""
    with pytest.raises(KeyError):
        async with Journal.open(tmp_path, "r1", lambda: NOON) as journal:
            journal.append("run.started")
            raise KeyError
    assert [line.event for line in read(tmp_path)] == ["run.started"]


async def test_an_event_may_have_happened_before(tmp_path):
    """An event that is told later keeps the time at which it happened."""
    async with Journal.open(tmp_path, "r1", lambda: NOON) as journal:
        journal.append("image.stored", at="2026-11-22T11:00:00.000Z")
    assert [line.at for line in read(tmp_path)] == ["2026-11-22T11:00:00.000Z"]


async def test_a_fact_cannot_take_the_chains_place(tmp_path):
    """A fact named like a part of the chain is a mistake, and seen at once."""
    async with Journal.open(tmp_path, "r1", lambda: NOON) as journal:
        for name in ("n", "event", "prev"):
            with pytest.raises(TypeError):
                journal.append("run.started", **{name: 1})


async def test_the_chain_holds_over_files(tmp_path, runs):
    """What nobody touched reads without a break."""
    assert breaks(tmp_path) == []
    assert [line.file for line in read(tmp_path)] == [run.name for run in runs for _ in range(2)]


async def test_a_clock_that_steps_back_keeps_the_order(tmp_path, runs):
    """A run that starts before the last one by its clock still sorts behind it."""
    late = await write(tmp_path, "r9", "run.started", at=NOON - timedelta(days=400))
    assert late.name == "20261122T140000000001Z-r9.jsonl"
    assert breaks(tmp_path) == []


async def test_a_changed_line_shows(tmp_path, runs):
    """A line that says something else is found where the next line was sealed to the old one."""
    runs[0].write_bytes(runs[0].read_bytes().replace(b'"image":"a"', b'"image":"b"', 1))
    assert breaks(tmp_path) == [(runs[0].name, 2)]


async def test_a_changed_last_line_shows_in_the_next_file(tmp_path, runs):
    """The seal goes on over the end of a file."""
    runs[0].write_bytes(runs[0].read_bytes().replace(b"run.finished", b"run.finishex"))
    assert breaks(tmp_path) == [(runs[1].name, 1)]


@pytest.mark.parametrize("line", [0, 1])
async def test_a_removed_line_shows(tmp_path, runs, line):
    """A line taken out, at the beginning or the end, is missed by the next."""
    lines = runs[1].read_bytes().splitlines(keepends=True)
    runs[1].write_bytes(lines[1 - line])
    assert breaks(tmp_path) == [(runs[1].name, 1) if line == 0 else (runs[2].name, 1)]


@pytest.mark.parametrize("which", [0, 1])
async def test_a_removed_file_shows(tmp_path, runs, which):
    """The first line of a file names the file before it."""
    runs[which].unlink()
    assert breaks(tmp_path) == [(runs[which + 1].name, 1)]
    [found] = [found for found in read(tmp_path) if isinstance(found, Break)]
    assert runs[which].name in found.reason or "None" in found.reason


@pytest.mark.parametrize("line", [b"nonsense\n", b"{}\n", b"\xff\n", b'{"n":true}\n', b"\n"])
async def test_a_line_of_nonsense_shows(tmp_path, runs, line):
    """What is not a line of a journal is named, and reading goes on behind it."""
    with runs[1].open("ab") as file:
        file.write(line)
    assert breaks(tmp_path) == [(runs[1].name, 3), (runs[2].name, 1)]
    assert len([found for found in read(tmp_path) if isinstance(found, JournalLine)]) == 6


@pytest.mark.parametrize("kept", [0, 1, -1, 200])
async def test_a_torn_tail_is_the_end(tmp_path, kept):
    """Cut by a crash in its last line, a file ends with its last whole one, and the next run goes on from there."""
    await write(tmp_path, "r0", "run.started", at=NOON - timedelta(hours=1))
    torn = await write(tmp_path, "r1", "run.started", "run.finished")
    torn.write_bytes(torn.read_bytes()[:kept])
    await write(tmp_path, "r2", "run.started", at=NOON + timedelta(hours=1))
    assert breaks(tmp_path) == []


async def test_after_a_failed_flush_it_stays_failed(tmp_path, monkeypatch):
    """What a failed write left is not known, so nothing is written behind it; the chain goes on in the next file."""

    def torn(file, data):
        file.write(data[:10])
        raise OSError(errno.EIO, "broken")

    with pytest.raises(ArchiveUnwritable):
        async with Journal.open(tmp_path, "r1", lambda: NOON) as journal:
            with monkeypatch.context() as patched:
                patched.setattr(module, "write_all", torn)
                journal.append("run.started")
                with pytest.raises(ArchiveUnwritable):
                    await journal.flush()
            journal.append("run.finished")
    assert journal.path.stat().st_size == 10
    await write(tmp_path, "r2", "run.started", at=NOON + timedelta(hours=1))
    assert breaks(tmp_path) == []


async def test_a_file_that_cannot_be_read_is_a_break(tmp_path, runs):
    """Damage is reported, not thrown."""
    runs[1].unlink()
    runs[1].mkdir()
    assert breaks(tmp_path) == [(runs[1].name, 1), (runs[2].name, 1)]
