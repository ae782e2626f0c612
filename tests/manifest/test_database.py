"""One connection: what counts at once, what counts together, and what sqlite-utils sees of it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from syncer.manifest.database import Database


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = Database(sqlite3.connect(tmp_path / "one.db"))
    opened.execute("create table words (word text primary key)")
    yield opened
    opened.close()


def seen_by_others(tmp_path: Path) -> list[tuple[str]]:
    connection = sqlite3.connect(tmp_path / "one.db")
    try:
        return connection.execute("select word from words order by word").fetchall()
    finally:
        connection.close()


def test_a_statement_alone_counts_at_once(db: Database, tmp_path: Path):
    """Nobody has to remember to commit it."""
    db.execute("insert into words values ('a')")

    assert seen_by_others(tmp_path) == [("a",)]


def test_a_block_that_fails_leaves_nothing(db: Database, tmp_path: Path):
    """And what comes after it is not caught in its transaction."""
    with pytest.raises(sqlite3.IntegrityError), db.atomic():
        db.execute("insert into words values ('a')")
        assert seen_by_others(tmp_path) == []
        db.execute("insert into words values ('a')")
    db.execute("insert into words values ('b')")

    assert seen_by_others(tmp_path) == [("b",)]


def test_rows_come_by_name(db: Database):
    """Also those of a question that has none."""
    db.execute("insert into words values ('a')")

    assert list(db.query("select word, length(word) as length from words")) == [{"word": "a", "length": 1}]
    assert list(db.query("select word from words where word = ?", ["b"])) == []


def test_the_tables_of_sqlite_utils_belong_to_the_same_transaction(db: Database, tmp_path: Path):
    """So that a migration is whole or not there."""
    with pytest.raises(ZeroDivisionError), db.atomic():
        db.table("words").insert({"word": "a"})
        db.table("more").create({"word": str})
        raise ZeroDivisionError

    assert seen_by_others(tmp_path) == []
    assert (db.has("words"), db.has("more")) == (True, False)
