"""`inbox`: complete files only, each once, as the real inotify tells of them."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from inbox_parts import SECONDS, SETTLE, copying, eventually, tree, watching, writing
from logs import logging_as_before
from structlog.testing import capture_logs

from syncer.inbox.disposal import After
from syncer.inbox.drop import read
from syncer.inbox.inbox import Inbox

NO_EVENTS = pytest.mark.parametrize("events", [True, False], ids=["events", "polling"])


@NO_EVENTS
async def test_a_file_that_is_written_slowly_is_offered_once_and_whole(tmp_path: Path, events: bool):
    """Its writer pauses for longer than a file has to be still."""
    path = tmp_path / "a.png"
    async with watching(tmp_path, events=events, rescan=60 if events else 0.1) as taker:
        with writing(path) as writer:
            for word in ("one", "two", "three"):
                writer.write(word)
                await taker.a_while()
            assert taker.names == []
        (drop,) = await taker.take()
        content = await read(drop)
        assert content is not None
        assert len(content.splitlines()) == 3000
        assert taker.names == ["a.png"]


async def test_a_writer_that_had_begun_before_us_is_waited_for(tmp_path: Path):
    """Its opening and its writing were told to nobody."""
    path = tmp_path / "a.png"
    with writing(path) as writer:
        writer.write("one")
        async with watching(tmp_path) as taker:
            for _ in range(2):
                await taker.a_while()
            assert taker.names == []
            writer.write("two")
            writer.close()
            (drop,) = await taker.take()
            content = await read(drop)
            assert content is not None
            assert len(content.splitlines()) == 2000


async def test_what_was_there_before_us_is_offered(tmp_path: Path):
    """In sub-folders as well."""
    (tmp_path / "b").mkdir()
    (tmp_path / "a.png").write_bytes(b"a")
    (tmp_path / "b" / "c.png").write_bytes(b"c")
    async with watching(tmp_path) as taker:
        await taker.take(2)
        assert sorted(taker.names) == ["a.png", "b/c.png"]


async def test_a_file_that_is_renamed_into_place_is_offered_under_its_name(tmp_path: Path):
    """As browsers and rsync do it: the name before is passed over, and told of once."""
    with logging_as_before(), capture_logs() as logs:
        async with watching(tmp_path) as taker:
            for name in ("a.png.part", ".a.png.x7Gh2k"):
                (tmp_path / name).write_bytes(b"picture")
            await taker.a_while()
            (tmp_path / "a.png.part").rename(tmp_path / "a.png")
            (tmp_path / ".a.png.x7Gh2k").rename(tmp_path / "b.png")
            await taker.until(lambda: len(taker.names) == 2)
    assert sorted(taker.names) == ["a.png", "b.png"]
    told = [(line["file"], line["log_level"]) for line in logs if line["event"] == "inbox.ignored"]
    assert sorted(told) == [(".a.png.x7Gh2k", "debug"), ("a.png.part", "debug")]


@NO_EVENTS
async def test_three_hundred_files_are_offered_once_each_and_whole(tmp_path: Path, events: bool):
    """By a copy that goes on while they are taken, read and moved away."""
    source, watched = tmp_path / "source", tmp_path / "watched"
    source.mkdir()
    watched.mkdir()
    contents = {f"{n}.png": os.urandom(1000 + n * 100) for n in range(300)}
    for name, content in contents.items():
        (source / name).write_bytes(content)
    async with watching(watched, events=events, rescan=60 if events else 0.1) as taker:
        with copying(source, watched):
            for number in range(300):
                if len(taker.taken) <= number:
                    await taker.take()
                drop = taker.taken[number]
                assert await read(drop) == contents[Path(drop.name).name]
                assert await taker.inbox.done(drop)
        await taker.a_while()
        assert len(taker.names) == len(set(taker.names)) == 300
    moved = {path.name: path.read_bytes() for path in (watched / ".syncer/done").rglob("*.png")}
    assert moved == contents


@NO_EVENTS
async def test_a_folder_that_is_moved_in_is_walked(tmp_path: Path, events: bool):
    """With all that is below it, and it is watched from then on, wherever it is moved to."""
    watched = tmp_path / "watched"
    watched.mkdir()
    for name in ("a.png", "b/c.png", "b/d/e.png", ".hidden/f.png", "b/g.tmp"):
        path = tmp_path / "tree" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    async with watching(watched, events=events, rescan=60 if events else 0.1) as taker:
        await taker.a_while()
        (tmp_path / "tree").rename(watched / "tree")
        await taker.until(lambda: len(taker.names) == 3)
        (watched / "tree").rename(watched / "oak")
        (watched / "oak/b/d/late.png").write_bytes(b"late")
        await taker.until(lambda: "oak/b/d/late.png" in taker.names)
    assert {"tree/a.png", "tree/b/c.png", "tree/b/d/e.png"} <= set(taker.names)


async def test_a_folder_that_takes_the_place_of_one_that_was_moved_out_is_followed(tmp_path: Path):
    """The other is nobody's concern, though somebody goes on writing to it."""
    watched = tmp_path / "watched"
    (watched / "tree").mkdir(parents=True)
    async with watching(watched) as taker:
        await taker.a_while()
        (watched / "tree").rename(tmp_path / "tree")
        (watched / "tree").mkdir()
        await taker.a_while()
        (tmp_path / "tree" / "a.png").write_bytes(b"picture")
        (watched / "tree" / "b.png").write_bytes(b"picture")
        await taker.until(lambda: taker.names == ["tree/b.png"])


async def test_a_folder_that_takes_an_empty_ones_place_is_followed(tmp_path: Path):
    """Nothing is told of the end of the one that was there."""
    watched = tmp_path / "watched"
    (watched / "tree").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    async with watching(watched) as taker:
        await taker.a_while()
        held = os.open(watched / "tree", os.O_RDONLY)  # somebody stands in it: it does not end before they leave
        (tmp_path / "other").rename(watched / "tree")
        await taker.a_while()
        (watched / "tree" / "a.png").write_bytes(b"picture")
        await taker.until(lambda: taker.names == ["tree/a.png"])
        os.close(held)


async def test_a_folder_that_is_made_and_filled_at_once_is_followed(tmp_path: Path):
    """What is written before anybody could watch it is found as well; so it is when all is made anew."""
    async with watching(tmp_path) as taker:
        await taker.a_while()
        for round_ in range(3):
            for number in range(20):
                folder = tmp_path / f"{number}" / "below" / "deeper"
                folder.mkdir(parents=True)
                (folder / f"{round_}.png").write_bytes(b"picture")
            await taker.until(lambda expected=20 * (round_ + 1): len(taker.names) == expected)
            for drop in taker.taken[-20:]:
                await taker.inbox.done(drop)
            for number in range(20):
                shutil.rmtree(tmp_path / f"{number}")
    assert len(set(taker.names)) == 60


@NO_EVENTS
async def test_a_file_that_is_moved_away_or_removed_is_not_offered(tmp_path: Path, events: bool):
    """Nor waited for, nor what was below a folder that is."""
    async with watching(tmp_path, events=events, rescan=60 if events else 0.1) as taker:
        await taker.a_while()
        (tmp_path / "b").mkdir()
        for name in ("a.png", "b/c.png"):
            (tmp_path / name).write_bytes(b"picture")
        await eventually(lambda: taker.inbox.waiting == 3)  # with the sentinel
        (tmp_path / "a.png").unlink()
        (tmp_path / "b").rename(tmp_path.parent / f"{tmp_path.name}-away")
        await eventually(lambda: taker.inbox.waiting == 1)
        await taker.a_while()
        assert taker.names == []


@NO_EVENTS
async def test_what_was_complete_is_not_offered_once_its_folder_is_moved_away(tmp_path: Path, events: bool):
    """Where it lies then is nobody's concern."""
    watched = tmp_path / "watched"
    (watched / "tree").mkdir(parents=True)
    (watched / "tree" / "a.png").write_bytes(b"picture")
    complete = asyncio.Event()
    opened = Inbox.open(
        watched,
        settle=SETTLE,
        after=After.MOVE,
        most=100,
        ready=complete.set,
        rescan=60 if events else 0.1,
        events=events,
    )
    async with opened as inbox:
        async with asyncio.timeout(SECONDS):
            await complete.wait()
        (watched / "tree").rename(tmp_path / "tree")
        await eventually(lambda: inbox.waiting == 0)
        assert inbox.take() == []


async def test_what_is_nothing_to_upload_is_offered_with_its_fault(tmp_path: Path):
    """And refused, it lies aside beside a note, without having been opened or followed."""
    (tmp_path / "watched").mkdir()
    watched = tmp_path / "watched"
    (tmp_path / "secret.png").write_bytes(b"elsewhere")
    async with watching(watched, most=1000) as taker:
        (watched / "empty.png").touch()
        (watched / "large.png").write_bytes(bytes(1001))
        (watched / "link.png").symlink_to(tmp_path / "secret.png")
        (watched / "folder").symlink_to(tmp_path)
        os.mkfifo(watched / "fifo.png")
        with socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(watched / "socket.png"))
        expected = {"empty.png", "large.png", "link.png", "folder", "fifo.png", "socket.png"}
        with suppress(PermissionError):  # not everybody may make one
            os.mknod(watched / "device.png", 0o20600, os.makedev(1, 3))
            expected.add("device.png")
        await taker.take(len(expected))
        assert {drop.name for drop in taker.taken if drop.fault} == expected
        for drop in taker.taken:
            assert drop.fault is not None
            await taker.inbox.refuse(drop, drop.fault, "drop a picture", {"sha256": None})
        assert taker.inbox.waiting == 0
    failed = watched / ".syncer/failed"
    assert {path.name for path in failed.iterdir()} == expected | {f"{name}.json" for name in expected}
    assert (failed / "link.png").is_symlink()
    note = json.loads((failed / "large.png.json").read_text())
    assert datetime.fromisoformat(note.pop("at")).tzinfo == UTC
    assert note == {
        "format": 1,
        "file": "large.png",
        "reason": "larger than limits.upload_bytes: 1,001 bytes, and 1,000 are allowed",
        "hint": "drop a picture",
        "sha256": None,
    }


async def test_a_refused_file_that_is_dropped_again_is_offered_again(tmp_path: Path):
    """What was refused lies apart."""
    async with watching(tmp_path) as taker:
        for _ in range(2):
            (tmp_path / "a.png").write_bytes(b"no picture")
            (drop,) = await taker.take()
            await taker.inbox.refuse(drop, "not a picture", "", {})
    names = {"a.png", "a.png.json", "a (2).png", "a (2).png.json"}
    assert tree(tmp_path) == {f".syncer/failed/{name}" for name in names}


@pytest.mark.parametrize("name", [b"a" * 251 + b".png", b"new\nline.png", b"\xff\xfe.png"])
async def test_any_name_can_be_dropped(tmp_path: Path, name: bytes):
    """And is offered under a name that can be printed."""
    async with watching(tmp_path) as taker:
        (tmp_path / os.fsdecode(name)).write_bytes(b"picture")
        (drop,) = await taker.take()
        assert drop.name.isprintable()
        assert await read(drop) == b"picture"
        moved = await taker.inbox.done(drop)
        assert moved is not None
        assert os.fsencode(moved.name) == name


@NO_EVENTS
async def test_a_file_that_is_kept_is_offered_once(tmp_path: Path, events: bool):
    """For as long as it stays as it is; changed, it is another."""
    async with watching(tmp_path, after=After.KEEP, events=events, rescan=0.1) as taker:
        path = tmp_path / "a.png"
        path.write_bytes(b"picture")
        (drop,) = await taker.take()
        assert await taker.inbox.done(drop) is None
        await taker.a_while()
        await taker.a_while()
        assert (taker.names, path.read_bytes()) == (["a.png"], b"picture")
        path.write_bytes(b"another picture")
        await taker.until(lambda: len(taker.names) == 2)
        assert await read(taker.taken[-1]) == b"another picture"


async def test_a_file_can_be_deleted_when_it_is_done(tmp_path: Path):
    """That very file only."""
    async with watching(tmp_path, after=After.DELETE) as taker:
        (tmp_path / "a.png").write_bytes(b"picture")
        (tmp_path / "b.png").write_bytes(b"picture")
        for drop in await taker.take(2):
            if drop.name == "b.png":
                drop.path.write_bytes(b"another picture")
            assert await taker.inbox.done(drop) is None
        assert tree(tmp_path) == {"b.png"}
        (again,) = await taker.take()
        assert await read(again) == b"another picture"


async def test_a_file_that_changed_in_hand_comes_round_again(tmp_path: Path):
    """It is not moved away, and offered as it is then; not before it is out of hand."""
    async with watching(tmp_path) as taker:
        path = tmp_path / "a.png"
        path.write_bytes(b"picture")
        (drop,) = await taker.take()
        path.write_bytes(b"another picture")
        await taker.a_while()
        assert taker.names == ["a.png"]
        assert await read(drop) is None
        assert await taker.inbox.done(drop) is None
        (again,) = await taker.take()
        assert again.path == path
        assert await read(again) == b"another picture"


async def test_a_file_that_is_given_back_is_offered_again_without_being_told_of(tmp_path: Path):
    """Whoever gives back knows when to ask; in hand, it is nobody else's."""
    async with watching(tmp_path, rescan=0.1) as taker:
        (tmp_path / "a.png").write_bytes(b"picture")
        (drop,) = await taker.take()
        await taker.a_while()
        assert taker.names == ["a.png"]
        taker.inbox.later(drop)
        assert taker.inbox.take() == [drop]
        assert taker.inbox.take() == []
        assert taker.inbox.waiting == 2  # in hand, with the sentinel


async def test_a_file_that_changed_before_it_was_given_back_is_not_offered_as_it_was(tmp_path: Path):
    """Nor one that is gone."""
    async with watching(tmp_path) as taker:
        for name in ("a.png", "b.png"):
            (tmp_path / name).write_bytes(b"picture")
        first, second = await taker.take(2)
        first.path.write_bytes(b"another picture")
        second.path.unlink()
        taker.inbox.later(first)
        taker.inbox.later(second)
        await eventually(lambda: taker.inbox.waiting == 1)
        await taker.until(lambda: [drop.name for drop in taker.taken].count(first.name) == 2)
        assert await read(taker.taken[-1]) == b"another picture"


async def test_an_error_of_the_block_is_raised_as_itself():
    """And one of the watching ends the block."""
    with pytest.raises(KeyError):
        async with watching(Path("/nowhere")):
            raise KeyError
