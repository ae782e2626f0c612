"""`verify` finds every bit that flips, wherever in the archive it is."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from verifying import verified

from syncer.manifest.audit import TOLD

MADE = (
    "select type, name, tbl_name, sql from sqlite_master",
    "select migration_set, name from _sqlite_migrations",
    "pragma user_version",
    "pragma integrity_check",
)


def content(manifest: Path) -> object:
    """All that a manifest tells and something else tells as well, and how it is read and written."""
    with closing(sqlite3.connect(f"{manifest.as_uri()}?immutable=1", uri=True)) as db:
        db.text_factory = bytes
        told = [list(db.execute(f"select * from {table} order by {','.join(key)}")) for table, key in TOLD.items()]
        runs = [row[1:] for row in db.execute("select * from runs order by id")]
        made = [list(db.execute(sql)) for sql in MADE]
    return told, runs, made, manifest.read_bytes()[18:20]


def says_the_same(manifest: Path, before: object) -> bool:
    """Whether a flipped bit changed nothing that is said: free bytes of a page, a counter, a run's number."""
    with suppress(sqlite3.Error, UnicodeDecodeError):
        return content(manifest) == before
    return False


def flips(archive: Path, count: int, seed: int) -> Iterator[tuple[Path, int, int]]:
    """Choose places: each kind of file as often as any other, so that the small ones get their share."""
    chance = random.Random(seed)
    kinds: dict[str, list[Path]] = {}
    for path in sorted(archive.rglob("*")):
        if path.is_file() and ".staging" not in path.parts:
            kinds.setdefault(path.suffix if path.parent != archive else path.name, []).append(path)
    for _ in range(count):
        path = chance.choice(kinds[chance.choice(sorted(kinds))])
        yield path, chance.randrange(path.stat().st_size), chance.randrange(8)


async def check(archive: Path, count: int, seed: int) -> None:
    with closing(sqlite3.connect(archive / "manifest.db")) as db:
        db.execute("pragma journal_mode = delete")
    before = content(archive / "manifest.db")
    assert content(archive / "manifest.db.backup") == before
    archive.joinpath("manifest.db-shm").unlink(missing_ok=True)
    assert (await verified(archive)).findings == []
    seen = 0
    for path, at, bit in flips(archive, count, seed):
        whole = path.read_bytes()
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :])
        try:
            if path.name.startswith("manifest.db") and says_the_same(path, before):
                continue
            name = str(path.relative_to(archive))
            found = await verified(archive)
            assert name in {finding.path for finding in found.findings}, f"{name}: byte {at}, bit {bit}: {found}"
            assert found.result.damage
            seen += 1
        finally:
            path.write_bytes(whole)
    assert seen > count / 2


async def test_a_flipped_bit_is_found_wherever_it_is(archive: Path):
    """Pictures, sidecars, journals, marker, manifest: each flip is found, and the file it is in is named."""
    await check(archive, 60, seed=1)


@pytest.mark.slow
async def test_two_thousand_flipped_bits_are_found(archive: Path):
    """The same, often enough to believe it."""
    await check(archive, 2000, seed=2)
