"""`verify` and `rebuild` on what a manifest says of itself: its version, its tables, its header, its runs."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from rebuilding import rebuilt, tables
from verifying import verified

from syncer.errors import ConfigError
from syncer.manifest import schema

BOTH = ("manifest.db", "manifest.db.backup")


def execute(database: Path, sql: str) -> None:
    with closing(sqlite3.connect(database)) as db, db:
        db.executescript(sql)


def flip(path: Path, at: int, bit: int) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


def later(database: Path) -> None:
    """Make of a manifest what a later syncer would leave."""
    execute(
        database,
        "create table stars (image_id text); insert into _sqlite_migrations (migration_set, name, applied_at)"
        f" values ('syncer', 'm{schema.VERSION + 1:03}_stars', ''); pragma user_version = {schema.VERSION + 1};",
    )


# --- versions -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [0, 1, 2, 99])
@pytest.mark.parametrize("name", BOTH)
async def test_a_version_that_is_not_that_of_the_tables_is_damage(archive: Path, name: str, version: int):
    """A flipped bit makes a manifest neither older nor newer; it can be made anew."""
    execute(archive / name, f"pragma user_version = {version}")

    assert (await verified(archive)).told == [("manifest", name)]
    await rebuilt(archive)
    assert (await verified(archive)).told == []


@pytest.mark.parametrize("name", BOTH)
async def test_a_newer_manifest_is_not_called_damaged(archive: Path, name: str):
    """An older program cannot judge it, and says which one can."""
    later(archive / name)

    with pytest.raises(ConfigError, match="newer syncer") as refused:
        await verified(archive)
    assert "newest syncer" in refused.value.hint


@pytest.mark.parametrize("name", BOTH)
async def test_a_newer_manifest_is_not_rebuilt_by_an_older_program(archive: Path, name: str):
    """It would lose what only the newer one knows; not a byte is changed."""
    later(archive / name)
    before = (archive / name).read_bytes()

    with pytest.raises(ConfigError, match="newer syncer"):
        await rebuilt(archive)

    assert (archive / name).read_bytes() == before
    assert not [*archive.glob("manifest.db.new*")]


async def test_a_newer_manifest_whose_version_is_still_in_its_log_is_not_rebuilt(archive: Path):
    """A program that was killed leaves its last changes there."""
    database = archive / "manifest.db"
    with closing(sqlite3.connect(database)) as db:
        db.execute("pragma journal_mode = wal")
        db.execute("pragma wal_autocheckpoint = 0")
        db.executescript(
            "insert into _sqlite_migrations (migration_set, name, applied_at)"
            f" values ('syncer', 'm{schema.VERSION + 1:03}_stars', ''); pragma user_version = {schema.VERSION + 1};"
        )
        left = {suffix: shutil.copy(f"{database}{suffix}", f"{archive}.db{suffix}") for suffix in ("", "-wal")}
    for suffix, kept in left.items():
        shutil.copy(kept, f"{database}{suffix}")

    with pytest.raises(ConfigError, match="newer syncer"):
        await rebuilt(archive)


# --- tables and header ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        "type = 'uable' where name = 'images'",
        "type = 'ifdex' where name = 'sqlite_autoindex_images_1'",
        "tbl_name = 'imagds' where name = 'images'",
        "sql = replace(sql, '[prompt]', '[pronpt]') || ' ' where name = 'images'",
    ],
)
@pytest.mark.parametrize("name", BOTH)
async def test_a_definition_that_is_not_as_it_was_made_is_named(archive: Path, name: str, change: str):
    """Whatever word of it: SQLite's own check passes over some of them."""
    execute(archive / name, f"pragma writable_schema = on; update sqlite_master set {change};")

    assert {*(await verified(archive)).told} == {("manifest", name)}


@pytest.mark.parametrize("at", [18, 19])
@pytest.mark.parametrize("bit", range(8))
async def test_a_manifest_that_could_not_be_written_any_more_is_found(archive: Path, at: int, bit: int):
    """The header says how the file is written and read; another way is one that SQLite does not know."""
    path = archive / "manifest.db"
    flip(path, at, bit)

    assert {*(await verified(archive)).told} == {("manifest", "manifest.db")}


# --- runs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["listed = listed + 1", "run = run || '.'", "started = 'x'", "complete = null"])
@pytest.mark.parametrize("name", BOTH)
async def test_runs_that_manifest_and_copy_do_not_tell_the_same_are_found(archive: Path, name: str, change: str):
    """Nothing else tells of them, so either may be wrong."""
    execute(archive / name, f"update runs set {change} where id = 2")

    found = await verified(archive)

    assert {*found.told} == {("manifest", one) for one in BOTH}
    assert {finding.detail for finding in found.findings} == {
        f"runs 2: the manifest and its copy do not tell the same: {change.split()[0]}"
    }


async def test_runs_that_are_counted_anew_are_not_those_of_the_copy(archive: Path):
    """After a rebuild without any manifest the first run has the number of another one: that is no damage."""
    execute(
        archive / "manifest.db",
        "update runs set run = 'x' || id, started = '2027' || id, ended = '2027' || id; delete from runs where id = 3",
    )
    assert len(tables(archive)["runs"]) == 2

    assert (await verified(archive)).told == []
