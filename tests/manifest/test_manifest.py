"""The one writer: what it remembers, that a batch is whole or not there, and what it refuses."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifest_parts import APRIL, MARCH, MAY, WS, failed, stored

from syncer.errors import ArchiveUnwritable, ConfigError
from syncer.manifest import rows, schema
from syncer.manifest.manifest import Manifest
from syncer.manifest.reader import Filter, Reader
from syncer.model import Entry, Gone, Outcome, Report, State, Vanished, Workspace


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "manifest.db"


@pytest.fixture
async def manifest(path: Path) -> AsyncIterator[Manifest]:
    async with Manifest.open(path) as opened:
        yield opened


def query(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Ask the database as any other program would."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


# --- images -------------------------------------------------------------------------------------------


async def test_what_was_stored_is_remembered(manifest: Manifest):
    """The entry says which revision we hold and where; an id that is not known is simply not there."""
    outcome = stored("a", 2)
    await manifest.record([outcome])

    kept = outcome.revision
    assert await manifest.entries(WS, ["a", "b"]) == {
        "a": Entry("a", State.LIVE, 2, MARCH, kept.sha256, kept.size, "image/png", kept.path, kept.sidecar)
    }
    assert await manifest.entries("another workspace", ["a"]) == {}


async def test_many_at_once_are_remembered_one_by_one(manifest: Manifest, path: Path):
    """However many are stored in a batch: each has its rows and no debt, and of one image the later revision counts."""
    ids = [str(number) for number in range(2 * rows.AT_ONCE + 3)]
    await manifest.record([failed(image_id) for image_id in (*ids, "owed")])

    await manifest.record([*map(stored, ids), failed("0"), stored("0", 2), stored("1", 2), stored("1", 3)])

    assert query(path, "select count(*), sum(revision) from images") == [(len(ids), len(ids) + 1 + 2)]
    assert query(path, "select count(*) from revisions") == [(len(ids) + 3,)]
    assert await manifest.owed(WS) == ["owed"]


async def test_first_sight_stays_the_first(manifest: Manifest, path: Path):
    """A later revision replaces what is known of the image, but not when it was first seen; both revisions stay."""
    await manifest.record([stored("a", 1, at=MARCH, prompt="one")])
    await manifest.record([stored("a", 2, at=APRIL, prompt="two")])

    assert query(path, "select revision, prompt, first_seen from images") == [(2, "two", MARCH)]
    assert query(path, "select revision, fetched_at from revisions order by revision") == [(1, MARCH), (2, APRIL)]


async def test_gone_is_a_mark_that_a_return_takes_away(manifest: Manifest, path: Path):
    """What is gone keeps its row and its path, is no longer counted as live, and may come back."""
    await manifest.record([stored("a"), stored("b"), Gone(WS, "a", APRIL)])

    assert query(path, "select image_id, state, gone_since from images order by 1") == [
        ("a", "gone", APRIL),
        ("b", "live", None),
    ]
    assert (await manifest.entries(WS, ["a"]))["a"].state is State.GONE
    assert await manifest.live(WS) == 1
    assert await manifest.absent(WS, set()) == ["b"]

    await manifest.record([stored("a", 2, at=MAY)])

    assert query(path, "select state, gone_since, first_seen from images where image_id = 'a'") == [
        ("live", None, MARCH)
    ]


async def test_absent_are_the_live_ones_not_seen(manifest: Manifest):
    """Other workspaces' images are never among them."""
    await manifest.record([stored("a"), stored("b"), stored("c"), stored("d", workspace="other")])

    assert await manifest.absent(WS, {"b"}) == ["a", "c"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1), unique=True),
    st.text(st.characters(exclude_categories=["Cs"])),
)
def test_any_text_comes_out_as_it_went_in(ids: list[str], prompt: str):
    """Quotes, emoji, case twins, Unicode twins: each id is itself alone. The service lets no id with a NUL in."""

    async def there_and_back() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "manifest.db"
            async with Manifest.open(path) as manifest:
                await manifest.record([stored(one, prompt=prompt) for one in ids])
                assert set(await manifest.entries(WS, ids)) == set(ids)
                assert await manifest.absent(WS, set(ids[1:])) == ids[:1]
            with Reader.open(path) as reader:
                assert {(row["image_id"], row["prompt"]) for row in reader.images(Filter())} == {
                    (one, prompt) for one in ids
                }

    asyncio.run(there_and_back())


# --- what is owed ---------------------------------------------------------------------------------------


async def test_a_debt_counts_its_tries_until_it_is_made_good(manifest: Manifest, path: Path):
    """The first try's time stays, so that the longest owed come first; storing the image settles it."""
    await manifest.record([failed("b", at=MARCH)])
    await manifest.record([failed("a", at=APRIL), failed("b", "cut", at=MAY)])

    assert await manifest.owed(WS) == ["b", "a"]
    assert query(path, "select reason, attempts, first_tried, last_tried from failures where image_id = 'b'") == [
        ("cut", 2, MARCH, MAY)
    ]

    await manifest.record([stored("b")])

    assert await manifest.owed(WS) == ["a"]


@pytest.mark.parametrize("outcome", [Gone(WS, "a", MAY), Vanished(WS, "a", MAY)], ids=["gone", "vanished"])
async def test_what_the_service_does_not_have_is_not_owed(manifest: Manifest, outcome: Outcome):
    """Whether we hold it or never could: a deleted image cannot be fetched any more."""
    await manifest.record([failed("a"), failed("b")])

    await manifest.record([outcome])

    assert await manifest.owed(WS) == ["b"]


async def test_debts_can_be_forgiven(manifest: Manifest):
    """Only those named, and only of this workspace."""
    await manifest.record([failed("a"), failed("b"), failed("a", workspace="other")])

    await manifest.forgive(WS, ["a"])

    assert (await manifest.owed(WS), await manifest.owed("other")) == (["b"], ["a"])


# --- workspaces and runs ----------------------------------------------------------------------------------


async def test_a_workspace_keeps_its_first_folder(manifest: Manifest):
    """Its name may change, and a missing name does not erase the one that is known."""
    assert await manifest.folder(WS, "Brand", "brand@ws") == "brand@ws"
    assert await manifest.folder(WS, "Fresh", "fresh@ws") == "brand@ws"
    assert await manifest.folder(WS, None, "ws") == "brand@ws"

    assert await manifest.workspaces() == [Workspace(WS, "Fresh")]


async def test_a_hole_is_remembered(manifest: Manifest):
    """Until it is filled; a workspace that is not known has none."""
    assert not await manifest.hole(WS)
    await manifest.folder(WS, None, "ws")
    assert not await manifest.hole(WS)

    await manifest.set_hole(WS, True)
    assert await manifest.hole(WS)

    await manifest.set_hole(WS, False)
    assert not await manifest.hole(WS)


async def test_a_run_is_a_row_from_its_beginning(manifest: Manifest, path: Path):
    """One that is killed has no end and is not complete; one that ends has its counts and reasons."""
    report = Report(workspace_id=WS, run="r1", started=MARCH)
    await manifest.start_run(report)
    row = await manifest.start_run(report)

    await manifest.end_run(row, replace(report, ended=APRIL, listed=3, new=2, failed=1, why=["1 failed", "more"]))

    assert query(path, "select started, ended, listed, new, failed, complete, why from runs order by id") == [
        (MARCH, None, None, None, None, None, None),
        (MARCH, APRIL, 3, 2, 1, 0, "1 failed; more"),
    ]


async def test_a_manifest_knows_its_archive(path: Path):
    """The id is kept from the first binding on."""
    async with Manifest.open(path) as manifest:
        assert await manifest.archive_id() is None
        await manifest.bind("archive-1", MARCH)
    async with Manifest.open(path) as manifest:
        assert await manifest.archive_id() == "archive-1"


# --- a batch is whole, or not there -----------------------------------------------------------------------


async def test_a_batch_that_fails_leaves_nothing(manifest: Manifest, path: Path):
    """One row that cannot be written undoes those before it, and the next batch is none the worse."""
    bad = stored("b")
    bad = replace(bad, revision=replace(bad.revision, sha256=None))  # type: ignore[arg-type]

    with pytest.raises(ArchiveUnwritable):
        await manifest.record([stored("a"), failed("x"), bad, stored("c")])

    assert query(path, "select * from images") == query(path, "select * from failures") == []
    await manifest.record([stored("d")])
    assert set(await manifest.entries(WS, ["a", "b", "c", "d"])) == {"d"}


class Held(list[Outcome]):
    """A batch that stops the manifest's thread, when it is reached, until it is let go."""

    def __init__(self, outcomes: list[Outcome]) -> None:
        super().__init__(outcomes)
        self.reached, self.let_go = threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[Outcome]:
        self.reached.set()
        assert self.let_go.wait(10)
        return super().__iter__()


async def test_a_cancelled_waiter_does_not_undo_the_write(manifest: Manifest):
    """Neither a write that has begun nor one that is still in the queue depends on who waits for it."""
    batch = Held([stored("a")])
    begun = asyncio.create_task(manifest.record(batch))
    await asyncio.to_thread(batch.reached.wait, 10)
    queued = asyncio.create_task(manifest.record([stored("b")]))
    await asyncio.sleep(0)
    for task in (begun, queued):
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    batch.let_go.set()

    assert set(await manifest.entries(WS, ["a", "b"])) == {"a", "b"}


async def test_a_reader_does_not_hold_up_the_writer(manifest: Manifest, path: Path):
    """Who is in the middle of reading sees what was there when it began; the writer goes on meanwhile."""
    await manifest.record([stored("a"), stored("b")])
    with Reader.open(path) as reader:
        rows = reader.images(Filter())
        next(rows)

        await manifest.record([stored("c")])

        assert len(list(rows)) == 1
        assert len(list(reader.images(Filter()))) == 3


# --- opening ------------------------------------------------------------------------------------------------


async def test_the_version_counts_the_migrations(manifest: Manifest, path: Path):
    """It stands where any SQLite tool shows it."""
    assert len(query(path, "select * from _sqlite_migrations")) == schema.VERSION
    assert query(path, "pragma user_version") == [(schema.VERSION,)]


async def test_opening_again_changes_nothing(path: Path):
    """What is there stays, and is migrated only once."""
    async with Manifest.open(path) as manifest:
        await manifest.record([stored("a")])
    before = path.read_bytes()
    async with Manifest.open(path) as manifest:
        assert set(await manifest.entries(WS, ["a"])) == {"a"}
    assert path.read_bytes() == before


async def test_a_newer_manifest_is_refused(path: Path):
    """Rather than guessed at; and it is left as it is."""
    async with Manifest.open(path):
        pass
    connection = sqlite3.connect(path)
    connection.execute(f"pragma user_version = {schema.VERSION + 1}")
    connection.close()
    before = path.read_bytes()

    with pytest.raises(ConfigError) as raised:
        async with Manifest.open(path):
            pass

    assert raised.value.exit_code == 2
    assert raised.value.hint
    assert path.read_bytes() == before


def garbage_header(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"This is no database, whatever it was before.")


def overwritten_page(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xa5" * 4096)


def cut_short(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize("damage", [garbage_header, overwritten_page, cut_short])
async def test_damage_is_seen_when_it_is_opened(path: Path, damage: Callable[[Path], None]):
    """Before anything is written on top of it; the way out is said."""
    async with Manifest.open(path) as manifest:
        await manifest.record([stored(f"img-{number}", document=b'"%s"' % (b"x" * 200)) for number in range(200)])
    damage(path)

    with pytest.raises(ArchiveUnwritable, match="damaged") as raised:
        async with Manifest.open(path):
            pass

    assert "syncer rebuild" in raised.value.hint


async def test_a_dry_opening_makes_nothing(tmp_path: Path, path: Path):
    """Where there is no manifest it is an empty one; where there is one it is read, with nothing made beside it."""
    async with Manifest.open(path, dry=True) as manifest:
        assert await manifest.entries(WS, ["a"]) == {}
    assert list(tmp_path.iterdir()) == []

    async with Manifest.open(path) as manifest:
        await manifest.record([stored("a")])
    before = path.read_bytes()
    async with Manifest.open(path, dry=True) as manifest:
        assert set(await manifest.entries(WS, ["a"])) == {"a"}
        assert list(tmp_path.iterdir()) == [path]
        with pytest.raises(ArchiveUnwritable):
            await manifest.record([stored("b")])
    assert path.read_bytes() == before


@contextmanager
def read_only(folder: Path) -> Iterator[Callable[[], None]]:
    """A folder that can be made unwritable, for root too: by a mount of its own. Skips where that is not allowed."""
    if os.geteuid() != 0:
        yield lambda: folder.chmod(0o555)
        folder.chmod(0o755)
        return
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", folder], capture_output=True).returncode:
        pytest.skip("root, and no right to mount")
    try:
        yield lambda: subprocess.run(["mount", "-o", "remount,ro", folder], check=True) and None
    finally:
        subprocess.run(["umount", folder], check=True)


async def test_a_medium_that_cannot_be_written_can_be_read(tmp_path: Path):
    """Readers and dry runs work there; the writer says at once that it cannot."""
    folder = tmp_path / "medium"
    folder.mkdir()
    path = folder / "manifest.db"
    with read_only(folder) as seal:
        async with Manifest.open(path) as manifest:
            await manifest.record([stored("a")])
        seal()

        with Reader.open(path) as reader:
            assert [row["image_id"] for row in reader.images(Filter())] == ["a"]
        async with Manifest.open(path, dry=True) as manifest:
            assert await manifest.live(WS) == 1
        with pytest.raises(ArchiveUnwritable, match="cannot be written"):
            async with Manifest.open(path) as manifest:
                await manifest.record([stored("b")])
