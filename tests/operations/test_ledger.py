"""Bytes, then journal, then rows: with the real rooms, and with each of them failing."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from settling import NOON, PROMPT, WS, Desk, failed, furnished, returned

from syncer.archive.commit import Staged
from syncer.errors import ArchiveUnwritable, SyncerError
from syncer.model import Gone, Stored
from syncer.operations import ledger as module


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


async def test_who_is_stopped_while_leaving_leaves_when_the_batch_is_settled(
    desk: Desk, held: tuple[asyncio.Event, asyncio.Event]
):
    """The rooms are closed behind it: another process would have the archive while files are still being named."""
    begun, let_go = held

    async def work() -> None:
        async with desk.ledger() as ledger:
            await ledger.settle(*await desk.picture("a"))

    leaving = asyncio.create_task(work())
    await begun.wait()
    leaving.cancel()
    assert await returned(leaving) == [False]
    let_go.set()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    assert await desk.known("a") == {"a"}


async def test_a_failure_that_somebody_passed_over_is_raised_on_leaving(desk: Desk):
    """What came behind it is not kept, and nobody may take it for kept."""
    with pytest.raises(ArchiveUnwritable):
        async with desk.ledger() as ledger:
            await ledger.settle(*await no_bytes(desk))
            with suppress(SyncerError):
                await ledger.flush()
            await ledger.settle(failed("b"))


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
