"""Bytes, then journal, then rows: with the real rooms, and with each of them failing."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from PIL import Image as Picture

from syncer.archive.commit import Staged
from syncer.archive.journal import Journal, JournalLine, read
from syncer.archive.store import Archive
from syncer.errors import ArchiveUnwritable, SyncerError
from syncer.manifest.manifest import Manifest
from syncer.model import Content, Failed, Gone, Image, Outcome, Reason, Stored
from syncer.operations import ledger as module
from syncer.operations.ledger import Ledger

WS, NOON = "ws", "2026-11-22T12:00:00Z"
PROMPT = "the words of a customer"


@dataclass
class Desk:
    """A ledger in its rooms; `settled` is what it has told as done, `time` what its clock shows."""

    archive: Archive
    journal: Journal
    manifest: Manifest
    settled: list[Outcome] = field(default_factory=list)
    time: float = 0.0

    def ledger(self) -> Ledger:
        return Ledger(self.archive, self.journal, self.manifest, self.settled.append, lambda: self.time)

    async def picture(self, name: str) -> tuple[Stored, Staged]:
        """Stage a picture, as a download does."""
        image = Image(name, WS, NOON, created_at=NOON, prompt=PROMPT, document=json.dumps({"prompt": PROMPT}).encode())
        drawn = io.BytesIO()
        Picture.new("RGB", (4, 4), sum(name.encode())).save(drawn, "PNG")

        async def chunks() -> AsyncIterator[bytes]:
            yield drawn.getvalue()

        staged = await self.archive.stage(image, Content(chunks()), folder=WS, entry=None, run="r")
        return Stored(image, staged.revision, Reason.NEW), staged

    def files(self) -> set[str]:
        """The names of the pictures and sidecars under their final names."""
        return {path.name for path in (self.archive.root / WS).rglob("*") if path.is_file()}

    def events(self) -> list[tuple[str, object]]:
        """What the journal tells, and of which image."""
        lines = [line for line in read(self.archive.root) if isinstance(line, JournalLine)]
        return [(line.event, line.facts["image"]) for line in lines]

    async def known(self, *ids: str) -> set[str]:
        return set(await self.manifest.entries(WS, ids))


@asynccontextmanager
async def furnished(root: Path) -> AsyncIterator[Desk]:
    async with (
        Archive.open(root, reserve=0, image_bytes=1 << 20) as archive,
        Manifest.open(root / "manifest.db") as manifest,
        Journal.open(root, "r") as journal,
    ):
        yield Desk(archive, journal, manifest)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    async with furnished(tmp_path / "archive") as furnished_desk:
        yield furnished_desk


def failed(name: str) -> Failed:
    return Failed(WS, name, "no answer", NOON)


async def test_what_is_settled_is_in_all_three(desk: Desk):
    """Files under their names, a line an outcome in order, rows; and only then it is told as done."""
    async with desk.ledger() as ledger:
        await ledger.settle(*await desk.picture("a"))
        await ledger.settle(failed("b"))
        await ledger.settle(Gone(WS, "c", NOON))
        assert (desk.files(), desk.events(), desk.settled) == (set(), [], [])

    assert desk.files() == {"a.png", "a.json"}
    assert desk.events() == [("image.stored", "a"), ("image.failed", "b"), ("image.gone", "c")]
    assert await desk.known("a") == {"a"}
    assert await desk.manifest.owed(WS) == ["b"]
    assert [type(outcome).__name__ for outcome in desk.settled] == ["Stored", "Failed", "Gone"]


async def test_the_journal_keeps_no_words(desk: Desk):
    """It has to survive a lawful erasure."""
    async with desk.ledger() as ledger:
        await ledger.settle(*await desk.picture("a"))

    assert PROMPT in (desk.archive.root / WS / "2026/11/22/a.json").read_text()
    assert PROMPT not in desk.journal.path.read_text()


# --- when a batch is full -----------------------------------------------------------------------------


async def test_a_full_batch_settles_itself(desk: Desk):
    """So that a crash costs little, however long the run is."""
    async with desk.ledger() as ledger:
        for number in range(module.BATCH - 1):
            await ledger.settle(failed(str(number)))
        assert desk.settled == []

        await ledger.settle(failed("the last"))

        assert len(desk.settled) == module.BATCH


async def test_a_heavy_batch_settles_itself(desk: Desk):
    """Staged bytes are work that a crash would cost."""
    async with desk.ledger() as ledger:
        stored, staged = await desk.picture("a")
        heavy = replace(stored, revision=replace(stored.revision, size=module.BATCH_BYTES))
        await ledger.settle(heavy, staged)

        assert desk.settled == [heavy]


async def test_an_old_batch_is_settled_by_the_next_outcome(desk: Desk):
    """Its age counts from its first outcome."""
    async with desk.ledger() as ledger:
        await ledger.settle(failed("a"))
        desk.time = module.BATCH_SECONDS - 0.1
        await ledger.settle(failed("b"))
        assert desk.settled == []

        desk.time = module.BATCH_SECONDS
        await ledger.settle(failed("c"))
        assert len(desk.settled) == 3

        await ledger.settle(failed("d"))
        assert len(desk.settled) == 3


# --- a room that fails --------------------------------------------------------------------------------


async def no_bytes(desk: Desk) -> tuple[Stored, Staged]:
    """The staged file is not there any more when it is to be made durable."""
    stored, staged = await desk.picture("bad")
    assert staged.part is not None
    Path(staged.part).unlink()
    return stored, staged


async def no_journal(desk: Desk) -> tuple[Stored, Staged]:
    """Something that is not a folder stands where the journal belongs."""
    (desk.archive.root / "journal").write_text("in the way")
    return await desk.picture("bad")


async def no_row(desk: Desk) -> tuple[Stored, Staged]:
    """A value that the manifest cannot take."""
    stored, staged = await desk.picture("bad")
    return replace(stored, revision=replace(stored.revision, run=None)), staged  # type: ignore[arg-type]


Spoil = Callable[[Desk], Awaitable[tuple[Stored, Staged]]]


@pytest.mark.parametrize(
    ("spoil", "bytes_there", "told"),
    [(no_bytes, False, []), (no_journal, True, []), (no_row, True, [("image.stored", "bad"), ("image.failed", "b")])],
)
async def test_what_comes_behind_a_failure_does_not_happen(
    tmp_path: Path, spoil: Spoil, bytes_there: bool, told: list[tuple[str, str]]
):
    """No line without its bytes, no row without its line, and nothing is told as done (promise 1).

    The error is the one that every later attempt meets: nothing is written behind a gap.
    """
    with pytest.raises(SyncerError) as raised:
        async with furnished(tmp_path / "archive") as desk:
            bad = await spoil(desk)
            with pytest.raises(SyncerError) as first:
                async with desk.ledger() as ledger:
                    await ledger.settle(*bad)
                    await ledger.settle(failed("b"))
                    try:
                        await ledger.flush()
                    finally:
                        with pytest.raises(SyncerError) as later:
                            await ledger.flush()
            assert later.value is first.value
            assert ("bad.json" in desk.files()) == bytes_there
            assert desk.events() == told
            assert await desk.known("bad") == set()
            assert await desk.manifest.owed(WS) == []
            assert desk.settled == []
            raise first.value
    assert isinstance(raised.value, ArchiveUnwritable)


async def test_an_earlier_batch_is_none_the_worse(desk: Desk):
    """What was settled before the failure stays settled."""
    with pytest.raises(ArchiveUnwritable):
        async with desk.ledger() as ledger:
            await ledger.settle(*await desk.picture("good"))
            await ledger.flush()
            await ledger.settle(*await no_bytes(desk))

    assert await desk.known("good", "bad") == {"good"}
    assert desk.files() == {"good.png", "good.json"}


# --- a waiter that is cancelled -------------------------------------------------------------------------


@pytest.fixture
def held(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, asyncio.Event]:
    """Stop every commit when it begins; gives the event that it has begun, and the one that lets it go on."""
    begun, let_go = asyncio.Event(), asyncio.Event()
    commit = desk.archive.commit

    async def slow(batch: list[Staged]) -> None:
        begun.set()
        await let_go.wait()
        await commit(batch)

    monkeypatch.setattr(desk.archive, "commit", slow)
    return begun, let_go


async def test_a_batch_outlives_its_waiter(desk: Desk, held: tuple[asyncio.Event, asyncio.Event]):
    """Who is stopped in the middle keeps what was finished; leaving waits for the batch."""
    begun, let_go = held
    async with desk.ledger() as ledger:
        await ledger.settle(*await desk.picture("a"))
        waiting = asyncio.create_task(ledger.flush())
        await begun.wait()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert desk.settled == []
        let_go.set()

    assert await desk.known("a") == {"a"}
    assert len(desk.settled) == 1


async def test_leaving_on_an_error_settles_what_is_finished(desk: Desk):
    """An error elsewhere is no reason to fetch again what is here already."""
    with pytest.raises(LookupError):
        async with desk.ledger() as ledger:
            await ledger.settle(*await desk.picture("a"))
            raise LookupError

    assert await desk.known("a") == {"a"}


async def test_a_failure_without_a_waiter_is_not_lost(desk: Desk, held: tuple[asyncio.Event, asyncio.Event]):
    """It is raised to whoever comes next."""
    begun, let_go = held
    with pytest.raises(ArchiveUnwritable):
        async with desk.ledger() as ledger:
            await ledger.settle(*await no_bytes(desk))
            waiting = asyncio.create_task(ledger.flush())
            await begun.wait()
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            let_go.set()


async def test_batches_do_not_overtake_each_other(desk: Desk, held: tuple[asyncio.Event, asyncio.Event]):
    """While one is settled the next gathers; both come in order."""
    begun, let_go = held
    async with desk.ledger() as ledger:
        await ledger.settle(failed("a"))
        first = asyncio.create_task(ledger.flush())
        await begun.wait()
        await ledger.settle(failed("b"))
        second = asyncio.create_task(ledger.flush())
        let_go.set()
        await asyncio.gather(second, first)

        assert desk.events() == [("image.failed", "a"), ("image.failed", "b")]
        assert desk.settled == [failed("a"), failed("b")]


async def test_who_waited_for_a_batch_leaves_the_few_that_came_meanwhile(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    """Each batch costs the same syncs, however few are in it; what is left waits until it is worth one, or the end."""
    monkeypatch.setattr(module, "BATCH", 2)
    monkeypatch.setattr(module, "MOST", 2)
    began, go, sizes = asyncio.Semaphore(0), asyncio.Semaphore(0), []
    commit = desk.archive.commit

    async def slow(batch: list[Staged]) -> None:
        sizes.append(len(batch))
        began.release()
        await go.acquire()
        await commit(batch)

    monkeypatch.setattr(desk.archive, "commit", slow)
    pictures = [await desk.picture(name) for name in "abcdef"]
    async with desk.ledger() as ledger:
        await ledger.settle(*pictures[0])
        full = [asyncio.create_task(ledger.settle(*pictures[1]))]
        await began.acquire()
        await ledger.settle(*pictures[2])
        full += [asyncio.create_task(ledger.settle(*one)) for one in pictures[3:5]]
        go.release()
        await began.acquire()
        await ledger.settle(*pictures[5])
        for _ in range(2):
            go.release()
        await asyncio.gather(*full)
        assert sizes == [2, 3]

    assert sizes == [2, 3, 1]


@asynccontextmanager
async def behind_a_batch(
    desk: Desk, held: tuple[asyncio.Event, asyncio.Event]
) -> AsyncIterator[tuple[Ledger, asyncio.Task[None]]]:
    """A ledger whose first batch of two is on its way to the disk for the block; gives who waits for it, too."""
    begun, let_go = held
    async with desk.ledger() as ledger:
        await ledger.settle(failed("a"))
        first = asyncio.create_task(ledger.settle(failed("b")))
        await begun.wait()
        try:
            yield ledger, first
        finally:
            let_go.set()
        await first


async def returned(*settling: asyncio.Task[None]) -> list[bool]:
    """Give each some turns of the loop; says which have returned."""
    for _ in range(20):
        await asyncio.sleep(0)
    return [one.done() for one in settling]


async def test_a_slow_disk_holds_nobody_up_at_first(
    desk: Desk, held: tuple[asyncio.Event, asyncio.Event], monkeypatch: pytest.MonkeyPatch
):
    """Behind a batch that is being settled the next one grows, full and old as it may be."""
    monkeypatch.setattr(module, "BATCH", 2)
    async with behind_a_batch(desk, held) as (ledger, _):
        others = [asyncio.create_task(ledger.settle(failed(name))) for name in "cde"]
        desk.time = 10 * module.BATCH_SECONDS
        others.append(asyncio.create_task(ledger.settle(failed("f"))))

        assert await returned(*others) == [True] * 4
        assert desk.settled == []

    assert desk.settled == [failed(name) for name in "abcdef"]


async def test_only_one_waits_for_a_batch_that_begins(
    desk: Desk, held: tuple[asyncio.Event, asyncio.Event], monkeypatch: pytest.MonkeyPatch
):
    """Who brings more in the same moment goes on, although the batch has not begun to move yet."""
    monkeypatch.setattr(module, "BATCH", 2)
    _, let_go = held
    async with desk.ledger() as ledger:
        done = await returned(*[asyncio.create_task(ledger.settle(failed(name))) for name in "abcd"])
        let_go.set()

    assert done == [True, False, True, True]


@pytest.mark.parametrize("full", ["outcomes", "bytes"])
async def test_a_slow_disk_holds_up_what_would_be_too_much(
    desk: Desk, held: tuple[asyncio.Event, asyncio.Event], monkeypatch: pytest.MonkeyPatch, full: str
):
    """What gathers behind a batch is bounded: in number, and in bytes that a crash would cost."""
    monkeypatch.setattr(module, "BATCH", 2)
    monkeypatch.setattr(module, "MOST", 4)
    stored, staged = await desk.picture("p")
    heavy = replace(stored, revision=replace(stored.revision, size=module.BATCH_BYTES))
    more = [(failed(name), None) for name in "cdef"] if full == "outcomes" else [(failed("c"), None), (heavy, staged)]
    async with behind_a_batch(desk, held) as (ledger, _):
        done = await returned(*[asyncio.create_task(ledger.settle(*one)) for one in more])

    assert done == [*[True] * (len(more) - 1), False]
