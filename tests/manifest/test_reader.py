"""Looking into a manifest: what `status`, `list` and `show` are told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from manifest_parts import APRIL, MARCH, MAY, WS, failed, stored

from syncer.errors import ArchiveUnwritable
from syncer.manifest.manifest import Manifest
from syncer.manifest.reader import Filter, Reader
from syncer.model import Gone, Report

MINE, YOURS = "mine", "yours"


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A manifest of two workspaces: one with images, debts and runs, one that is only known by name."""
    path = tmp_path / "manifest.db"
    async with Manifest.open(path) as manifest:
        await manifest.folder(WS, MINE, "mine@ws")
        await manifest.folder("other", YOURS, "yours@other")
        await manifest.record(
            [
                stored("older", created_at=MARCH, model="flux", prompt="A Red Kite, 100% wool"),
                stored("newest", created_at=MAY, model="dalle", prompt="ÄPFEL und Birnen"),
                stored("newer", created_at=APRIL, model="flux"),
                stored("undated", created_at=None, prompt=None),
                stored("newest", 2, at=MAY, created_at=MAY, model="dalle", prompt="ÄPFEL und Birnen"),
                Gone(WS, "older", MAY),
                failed("late", at=MAY),
                failed("early", at=MARCH),
                failed("late", "cut", at=MAY),
            ]
        )
        for mode, ended, complete in [
            ("full", MARCH, True),
            ("quick", APRIL, True),
            ("full", MAY, False),
        ]:
            report = Report(workspace_id=WS, run="r", mode=mode, started=ended)
            why = [] if complete else ["1 failed"]
            row = await manifest.start_run(report)
            await manifest.end_run(row, replace(report, ended=ended, complete=complete, why=why))
    return path


@pytest.fixture
def reader(path: Path) -> Iterator[Reader]:
    with Reader.open(path) as opened:
        yield opened


EVERYTHING = Filter()


def listed(reader: Reader, only: Filter = EVERYTHING) -> list[str]:
    return [row["image_id"] for row in reader.images(only)]


def test_images_come_newest_first(reader: Reader):
    """By the service's time; those without one come last."""
    assert listed(reader) == ["newest", "newer", "older", "undated"]


@pytest.mark.parametrize(
    ("only", "expected"),
    [
        (Filter(workspace_id="other"), []),
        (Filter(state="gone"), ["older"]),
        (Filter(model="flux"), ["newer", "older"]),
        (Filter(model="flux", state="live"), ["newer"]),
        (Filter(text="red kite"), ["older"]),
        (Filter(text="äpfel"), ["newest"]),
        (Filter(text="100%"), ["older"]),
        (Filter(text="%"), ["older"]),
        (Filter(text="'"), []),
        (Filter(limit=2), ["newest", "newer"]),
        (Filter(limit=0), []),
    ],
    ids=str,
)
def test_filters_narrow_together(reader: Reader, only: Filter, expected: list[str]):
    """Text is looked for whatever its case, in every alphabet, and means nothing but itself."""
    assert listed(reader, only) == expected


def test_an_image_is_found_by_its_id_or_its_beginning(reader: Reader):
    """An exact id wins over longer ones that begin with it; several are all shown."""

    def found(image_id: str) -> list[str]:
        return [row["image_id"] for row in reader.image(image_id)]

    assert found("newest") == ["newest"]
    assert found("newes") == ["newest"]
    assert found("new") == ["newer", "newest"]
    assert found("%") == found("NEW") == []


async def test_one_id_in_two_workspaces_is_two_images(path: Path):
    """Each with its own row."""
    async with Manifest.open(path) as manifest:
        await manifest.record([stored("newer", workspace="other")])
    with Reader.open(path) as reader:
        assert [row["workspace_id"] for row in reader.image("newer")] == ["other", WS]


def test_revisions_come_in_order(reader: Reader):
    """Each with the service's document as it was then."""
    told = [(row["revision"], row["fetched_at"], row["document"]) for row in reader.revisions(WS, "newest")]
    assert told == [(1, MARCH, '{"id":"img"}'), (2, MAY, '{"id":"img"}')]


def test_what_is_owed_the_longest_comes_first(reader: Reader):
    """With the number of tries and the last reason."""
    assert [(row["image_id"], row["attempts"], row["reason"]) for row in reader.failures()] == [
        ("early", 1, "no answer"),
        ("late", 2, "cut"),
    ]
    assert reader.failures("other") == []
    assert len(reader.failures(WS)) == 2


def test_workspaces_tell_what_is_held_and_how_it_went(reader: Reader):
    """A run that was not complete is the last one, and not the last good one."""
    mine, yours = reader.workspaces()

    assert (
        mine.items()
        >= {
            "name": MINE,
            "live": 3,
            "gone": 1,
            "revisions": 5,
            "bytes": 3 * 1001 + 1002,
            "owed": 2,
            "last_mode": "full",
            "last_ended": MAY,
            "last_complete": 0,
            "last_why": "1 failed",
            "last_good": APRIL,
            "last_full": MARCH,
        }.items()
    )
    assert yours.items() >= {"name": YOURS, "live": 0, "bytes": 0, "last_mode": None, "last_good": None}.items()


def test_reading_writes_nothing(path: Path):
    """The database is the same, byte for byte."""
    before = path.read_bytes()
    with Reader.open(path) as reader:
        assert listed(reader)
    assert path.read_bytes() == before


def test_a_damaged_manifest_is_told_as_one(path: Path):
    """Also where the damage shows only while it is read."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(b"\xa5" * (size - 8192))

    with pytest.raises(ArchiveUnwritable, match="damaged"), Reader.open(path) as reader:
        listed(reader)


def test_no_manifest_is_not_made(tmp_path: Path):
    """Looking for what is not there leaves nothing behind."""
    with pytest.raises(ArchiveUnwritable), Reader.open(tmp_path / "manifest.db"):
        pass
    assert list(tmp_path.iterdir()) == []
