"""`inbox`: the folder goes away and comes back, events are lost or are not to be had."""

from __future__ import annotations

import asyncio
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from asyncinotify import Inotify
from inbox_parts import eventually, remount, tree, unmount, watching
from logs import logging_as_before
from structlog.testing import capture_logs

from syncer.inbox import watcher
from syncer.inbox.disposal import After
from syncer.inbox.events import silent, type_of
from syncer.inbox.inbox import Inbox
from syncer.inbox.looking import Found, walk

NO_EVENTS = pytest.mark.parametrize("events", [True, False], ids=["events", "polling"])


@NO_EVENTS
async def test_a_folder_that_is_deleted_and_made_again_is_watched_again(tmp_path: Path, events: bool):
    """Missing at the start as well; each time it is said what is wrong, and what to do."""
    watched = tmp_path / "watched"
    with logging_as_before(), capture_logs() as logs:
        async with watching(watched, events=events) as taker:
            for number in range(2):
                await eventually(lambda: taker.inbox.problem)
                for drop in taker.taken:
                    taker.inbox.later(drop)
                    await eventually(lambda: taker.inbox.waiting == 0)
                    assert await taker.inbox.done(drop) is None
                assert taker.inbox.problem == f"{watched}: No such file or directory: make it, or mount its disk"
                assert taker.inbox.waiting == 0
                watched.mkdir()
                (watched / f"{number}.png").write_bytes(b"picture")
                await taker.take()
                assert taker.inbox.problem is None
                shutil.rmtree(watched)
    assert taker.names == ["0.png", "1.png"]
    told = [line["event"] for line in logs if line["event"] in {"inbox.missing", "inbox.back"}]
    assert told[:4] == ["inbox.missing", "inbox.back"] * 2


@NO_EVENTS
async def test_a_folder_that_is_replaced_by_another_is_watched_instead(tmp_path: Path, events: bool):
    """What is dropped into the one that was put aside is nobody's concern."""
    watched = tmp_path / "watched"
    watched.mkdir()
    (tmp_path / "other").mkdir()
    async with watching(watched, events=events) as taker:
        await taker.a_while()
        watched.rename(tmp_path / "aside")
        (tmp_path / "other").rename(watched)
        (tmp_path / "aside" / "a.png").write_bytes(b"picture")
        (watched / "b.png").write_bytes(b"picture")
        await taker.take()
        assert taker.names == ["b.png"]


async def test_a_folder_that_is_no_folder_is_a_problem(tmp_path: Path):
    """And none any more once it is one."""
    watched = tmp_path / "watched"
    watched.touch()
    async with watching(watched) as taker:
        await eventually(lambda: taker.inbox.problem)
        assert taker.inbox.problem == f"{watched}: Not a directory: it has to be a folder"
        watched.unlink()
        watched.mkdir()
        await eventually(lambda: taker.inbox.problem is None)


async def test_a_symlink_to_the_folder_is_followed(tmp_path: Path):
    """Whoever wrote it into the configuration means what it leads to, and where it leads to later."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    watched = tmp_path / "watched"
    watched.symlink_to("one")
    async with watching(watched) as taker:
        (tmp_path / "one" / "a.png").write_bytes(b"picture")
        await taker.take()
        watched.unlink()
        watched.symlink_to("two")
        (tmp_path / "two" / "b.png").write_bytes(b"picture")
        await taker.take()
        assert taker.names == ["a.png", "b.png"]


@NO_EVENTS
async def test_a_disk_that_is_mounted_and_unmounted_is_followed(
    tmp_path: Path, events: bool, mounted: Callable[[Path], Path]
):
    """An empty mount point is an empty folder; what is complete on the disk is offered when it is there."""
    async with watching(tmp_path / "disk", events=events) as taker:
        (mounted(tmp_path / "disk") / "a.png").write_bytes(b"picture")
        await taker.take()
        unmount(tmp_path / "disk")
        (tmp_path / "disk" / "b.png").write_bytes(b"picture")
        await taker.take()
        assert taker.names == ["a.png", "b.png"]


async def test_a_folder_below_that_may_not_be_entered_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """What lies in it cannot be seen, and that is said until it can."""
    closed = tmp_path / "closed"
    closed.mkdir()
    scandir = os.scandir
    shut = True

    def refused(path: Path):
        if shut and path == closed:
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refused)  # root may enter any
    async with watching(tmp_path, rescan=0.1) as taker:
        await eventually(lambda: taker.inbox.problem)
        problem = taker.inbox.problem
        assert problem is not None
        assert problem.startswith(f"{closed}: Permission denied: give the user")
        shut = False
        await eventually(lambda: taker.inbox.problem is None)


async def test_a_folder_that_cannot_be_written_to_is_a_problem(tmp_path: Path, mounted: Callable[[Path], Path]):
    """What is done with stays, and is moved once that can be; it is not offered again for that."""
    watched = mounted(tmp_path / "watched")
    with logging_as_before(), capture_logs() as logs:
        async with watching(watched, rescan=0.3) as taker:
            (watched / "a.png").write_bytes(b"picture")
            (watched / "b.png").write_bytes(b"no picture")
            good, bad = sorted(await taker.take(2), key=lambda drop: drop.name)
            remount(watched, "ro")
            assert await taker.inbox.done(good) is None
            assert await taker.inbox.refuse(bad, "not a picture", "", {}) is None
            problem = taker.inbox.problem
            assert problem is not None
            assert "Read-only file system: mount its file system for writing" in problem
            assert taker.inbox.waiting == 2
            remount(watched, "rw")
            await eventually(lambda: taker.inbox.waiting == 0)
            assert taker.inbox.problem is None
            assert len(taker.taken) == 2
            assert taker.inbox.take() == []
            assert {place for place in tree(watched) if "failed" in place} == {
                ".syncer/failed/b.png",
                ".syncer/failed/b.png.json",
            }
    assert [line["event"] for line in logs if line["log_level"] == "warning"] == ["inbox.stuck"] * 2


@pytest.mark.slow
async def test_when_too_many_events_come_at_once_none_is_missed(tmp_path: Path):
    """The system drops them; the folder is walked anew, and each file is offered once."""
    longest = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    count = longest // 3 + 200  # made, written to, closed: three for each
    if count > 30_000:
        pytest.skip("the queue of this system is too long to be filled")
    folders = [tmp_path / f"{number}" for number in range(10)]
    for folder in folders:
        folder.mkdir()
    with logging_as_before(), capture_logs() as logs:
        async with watching(tmp_path) as taker:
            await taker.a_while()
            # Nobody reads events meanwhile: this does not wait once.
            for number in range(count):
                with (folders[number % 10] / f"{number}.png").open("wb") as file:
                    file.write(b"picture")
            (tmp_path / "new").mkdir()
            (tmp_path / "new" / "late.png").write_bytes(b"picture")
            await taker.until(lambda: len(taker.names) > count)
            (tmp_path / "new" / "later.png").write_bytes(b"picture")  # watched, though no event told of the folder
            await taker.until(lambda: "new/later.png" in taker.names)
    assert len(taker.names) == len(set(taker.names)) == count + 2
    assert ("inbox.lost", "too many events at once") in [(line["event"], line.get("reason")) for line in logs]


@pytest.mark.parametrize("call", ["__init__", "add_watch"])
async def test_without_watches_the_folder_is_polled(tmp_path: Path, call: str, monkeypatch: pytest.MonkeyPatch):
    """The system has only so many; it is said once, with what to do, and no file is missed."""

    def none_left(*_arguments: object, **_more: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Inotify, call, none_left)
    with logging_as_before(), capture_logs() as logs:
        async with watching(tmp_path, rescan=0.1) as taker:
            (tmp_path / "a.png").write_bytes(b"picture")
            await taker.a_while()
            await taker.until(lambda: taker.names == ["a.png"])
            assert taker.inbox.problem is None
    (reason,) = [line["reason"] for line in logs if line["event"] == "inbox.polling"]
    assert reason.startswith("No space left on device: raise fs.inotify.max_user_")


async def test_on_a_share_the_folder_is_polled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Others write to it, and nobody tells of that."""
    monkeypatch.setattr(watcher, "silent", lambda _: "on nfs4, others' changes are not told")
    with logging_as_before(), capture_logs() as logs:
        async with watching(tmp_path, rescan=0.1) as taker:
            await taker.a_while()
    assert [line["reason"] for line in logs if line["event"] == "inbox.polling"] == [
        "on nfs4, others' changes are not told"
    ]


def test_shares_are_known_by_the_type_of_their_file_system(tmp_path: Path):
    """As the system lists it, by the device's number; a disk of this machine tells of every change."""
    listed = (
        "29 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw\n"
        "90 29 0:45 / /mnt/a\\040b rw shared:2 master:1 - nfs4 server:/export rw,vers=4.2\n"
        "91 29 0:46 / /mnt/c rw - fuse.sshfs me@there: rw\n"
    )
    assert [type_of(os.makedev(*number), listed) for number in ((254, 0), (0, 45), (0, 46), (0, 47))] == [
        "ext4",
        "nfs4",
        "fuse.sshfs",
        "",
    ]
    assert silent(tmp_path) is None


async def test_a_share_that_does_not_answer_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It holds up nobody else; after a minute it is said, and once it answers it is no problem any more."""
    at = 0.0
    asked, answered = threading.Event(), threading.Event()

    def hanging(folder: Path, enter: Callable[[Path], None]) -> Found:
        asked.set()
        answered.wait(60)
        return walk(folder, enter)

    monkeypatch.setattr(watcher, "walk", hanging)
    opened = Inbox.open(tmp_path, settle=1, after=After.MOVE, most=100, ready=lambda: None, clock=lambda: at)
    async with opened as inbox:
        await eventually(asked.is_set)
        assert inbox.problem is None
        at = 61.0
        assert inbox.problem == f"{tmp_path}: has not answered for 61 s: is the network share there?"
        answered.set()
        await eventually(lambda: inbox.problem is None)


async def test_a_mistake_of_ours_ends_the_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Nothing would be worse than to watch no more, and not to say so."""

    def broken(*_arguments: object, **_more: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(watcher, "walk", broken)
    with pytest.raises(ZeroDivisionError):
        async with watching(tmp_path):
            await asyncio.Event().wait()


async def test_what_is_there_is_still_there_after_the_end(tmp_path: Path):
    """Nothing is moved that nobody has dealt with, and no watch is left behind."""
    before = len(list(Path("/proc/self/fd").iterdir()))
    async with watching(tmp_path) as taker:
        (tmp_path / "a.png").write_bytes(b"picture")
        await taker.take()
    assert tree(tmp_path) == {"a.png"}
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_a_clock_of_ones_own_decides_when_a_file_is_still(tmp_path: Path):
    """What is due is due by that clock, and nothing else moves it on."""
    at = 0.0
    offered = asyncio.Event()
    opened = Inbox.open(
        tmp_path, settle=3600, after=After.MOVE, most=100, ready=offered.set, clock=lambda: at, events=True
    )
    async with opened as inbox:
        (tmp_path / "a.png").write_bytes(b"picture")
        await eventually(lambda: inbox.waiting == 1)
        at = 3599.0
        await asyncio.sleep(0)
        assert inbox.take() == []
        at = 3600.0
        async with asyncio.timeout(60):
            await offered.wait()
        assert [drop.name for drop in inbox.take()] == ["a.png"]
