"""What is asked of a million images comes in the order of an index: neither sorted nor looked up one by one."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from manifest_parts import APRIL, MARCH, MAY, WS, stored

from syncer.manifest import reader, rows
from syncer.manifest.manifest import Manifest
from syncer.manifest.reader import Filter, Reader
from syncer.model import Gone


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    path = tmp_path / "manifest.db"
    async with Manifest.open(path) as manifest:
        await manifest.folder(WS, "mine", "ws")
        await manifest.record([stored(name, created_at=at) for name, at in [("b", MAY), ("a", MAY), ("c", MARCH)]])
        await manifest.record([stored("gone", created_at=APRIL), Gone(WS, "gone", MAY), stored("d", created_at=None)])
        await manifest.record([stored("e", workspace="other", created_at=APRIL)])
    return path


def plan(path: Path, sql: str, *values: object) -> str:
    with closing(sqlite3.connect(path)) as db:
        return "\n".join(row[3] for row in db.execute(f"explain query plan {sql}", values))


async def test_the_newest_come_from_one_index_alone(path: Path):
    """Live ones of one workspace with a time, behind a place in the order, and what tells them unchanged."""
    async with Manifest.open(path) as manifest:
        first = await manifest.newest(WS, ("\U0010ffff", ""), 2)
        rest = await manifest.newest(WS, (MAY, "a"), 2)
        assert await manifest.created_at(WS, "a") == MAY
    assert list(first.items()) == [("b", MARCH), ("a", MARCH)]
    assert list(rest) == ["c"]
    told = plan(path, rows.SELECT_NEWEST, WS, MAY, "a", 2)
    assert "SEARCH images USING COVERING INDEX images_by_time" in told
    assert "B-TREE" not in told


def test_the_ids_held_come_from_one_index_alone(path: Path):
    """In order, and behind one of them."""
    told = plan(path, rows.SELECT_HELD_IDS, WS, "a", 2)
    assert "USING COVERING INDEX" in told
    assert "B-TREE" not in told


async def test_a_manifest_of_before_is_not_sorted_for_each_batch(path: Path):
    """A dry run opens it as it is, without the index: then nothing comes, and images are looked up by their ids."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("drop index images_by_time")
        db.execute("pragma user_version = 3")
    async with Manifest.open(path, dry=True) as manifest:
        assert await manifest.newest(WS, ("\U0010ffff", ""), 2) == {}


def test_what_a_workspace_holds_is_counted_without_reading_all_that_is_known_of_it(path: Path):
    """A status of a million images would else read half a gigabyte."""
    told = plan(path, reader._WORKSPACES)
    assert "SCAN images USING COVERING INDEX images_by_state" in told
    assert "SCAN r" not in told


@pytest.mark.parametrize("only", [Filter(limit=10), Filter(WS, limit=10)])
def test_the_first_images_of_a_list_are_there_at_once(path: Path, only: Filter):
    """Of all workspaces as well as of one: no sorting of all images to show ten."""
    asked: list[str] = []
    with Reader.open(path) as reader:
        reader._db.conn.set_trace_callback(asked.append)
        shown = [row["image_id"] for row in reader.images(only)]
    assert shown == [name for name in ["a", "b", "e", "gone", "c", "d"] if name != "e" or only.workspace_id is None]
    (sql,) = [one for one in asked if one.startswith("select * from images")]
    told = plan(path, sql)
    assert "USING INDEX images_" in told
    assert "B-TREE FOR ORDER BY" not in told


def test_names_alone_are_told_without_counting(path: Path):
    """What `list` needs to find a workspace by its name."""
    with Reader.open(path) as reader:
        assert reader.names() == [{"workspace_id": WS, "name": "mine"}]
