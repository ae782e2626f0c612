"""What the manifest remembers of verifications and of listings, and what `status` is told of them."""

from __future__ import annotations

import hashlib
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from manifest_parts import WS, failed, stored

from syncer.manifest import manifest as manifest_room
from syncer.manifest.manifest import Manifest
from syncer.manifest.reader import Reader, Verifications
from syncer.model import Gone, Verified


def looked(
    day: int, part: int = 1, parts: int = 1, *, damage: int = 0, quick: bool = False, resumed: bool = False
) -> Verified:
    at = f"2026-11-{day:02}T03:00:00.000Z"
    return Verified(part, parts, quick, resumed, 9, 900, damage, {"corrupt": damage} if damage else {}, at)


async def told(path: Path, *verified: Verified) -> Verifications:
    """Remember these, and ask as `status` does."""
    async with Manifest.open(path) as manifest:
        await manifest.record(verified)
    with Reader.open(path) as reader:
        return reader.verifications()


async def test_nothing_verified_is_nothing_told(tmp_path: Path):
    """Neither as a whole nor in part."""
    assert await told(tmp_path / "m.db") == Verifications(None, None)


async def test_the_last_one_and_the_last_whole_one_are_told(tmp_path: Path):
    """A part is not the whole, and a quick look has hashed nothing."""
    found = await told(
        tmp_path / "m.db", looked(1, damage=2), looked(2, damage=1), looked(3, 2, 30), looked(4, quick=True)
    )

    assert found.whole == {"verified_at": "2026-11-02T03:00:00.000Z", "parts": 1, "damage": 1}
    assert found.last is not None
    assert (found.last["verified_at"], found.last["quick"]) == ("2026-11-04T03:00:00.000Z", 1)


async def test_all_parts_together_are_the_whole(tmp_path: Path):
    """As old as the part that was looked at the longest ago; what each part's last look found is added up."""
    parts = [looked(day, part, 3, damage=damage) for day, part, damage in [(5, 1, 9), (6, 2, 1), (8, 1, 0), (9, 2, 0)]]
    assert (await told(tmp_path / "m.db", *parts)).whole is None

    found = await told(tmp_path / "m.db", looked(7, 3, 3, damage=4), looked(7, 4, 5), looked(1))

    assert found.whole == {"verified_at": "2026-11-07T03:00:00.000Z", "parts": 3, "damage": 4}


async def test_what_was_resumed_is_not_the_whole_as_of_now(tmp_path: Path):
    """Nobody knows from it when its first pictures were hashed; the damage that it found counts."""
    assert (await told(tmp_path / "m.db", looked(1, resumed=True))).whole is None

    found = await told(tmp_path / "m.db", looked(2), looked(9, damage=3, resumed=True))

    assert found.whole == {"verified_at": "2026-11-02T03:00:00.000Z", "parts": 1, "damage": 3}


@pytest.mark.parametrize("row", range(2))
async def test_learning_it_twice_is_learning_it_once(tmp_path: Path, row: int):
    """Catching up may meet what was told already."""
    found = await told(tmp_path / "m.db", *[looked(1)] * (row + 1))
    assert found.last is not None
    async with Manifest.open(tmp_path / "m.db") as manifest:
        assert (await manifest.sizes())["verifications"] == 1


async def test_a_manifest_of_before_there_were_any_can_be_read(tmp_path: Path):
    """It is a version older, and nothing is written to it."""
    path = tmp_path / "m.db"
    async with Manifest.open(path):
        pass
    with closing(sqlite3.connect(path)) as db:
        db.execute("drop table verifications")
        db.execute("pragma user_version = 2")
    before = path.read_bytes()

    with Reader.open(path) as reader:
        assert reader.verifications() == Verifications(None, None)
    assert path.read_bytes() == before


@pytest.mark.parametrize("at_once", [1, 2, 3, 5000])
async def test_what_a_listing_showed_is_counted_and_hashed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at_once: int
):
    """Held, deleted since, owed, or named besides, each once; sorted by their bytes; of this workspace only."""
    monkeypatch.setattr(manifest_room, "IDS_AT_ONCE", at_once)
    async with Manifest.open(tmp_path / "m.db") as manifest:
        await manifest.folder(WS, None, "ws")
        held = [stored(name) for name in ("b", "ä", "Z", "\U0001f600", "\uffff", "unseen")]
        await manifest.record([*held, stored("elsewhere", workspace="other"), Gone(WS, "b", "2026-11-01")])
        await manifest.record([failed("owed"), failed("b"), failed("unseen too")])
        seen = {"b", "ä", "Z", "\U0001f600", "\uffff", "owed", "gone again", "elsewhere"}

        count, sha256 = await manifest.listed(WS, lambda ids: [one for one in ids if one in seen], ["gone again"])

    shown = sorted((seen - {"elsewhere"}), key=str.encode)
    assert count == len(shown)
    assert sha256 == hashlib.sha256("".join(f"{name}\n" for name in shown).encode()).hexdigest()
