"""One piece of work, and the words for how it ended: an exit code, a clause, and what is worth another try."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from support import CANARY, configure, rows, settings_of

from syncer.daemon import work
from syncer.daemon.work import Worker
from syncer.errors import ConfigError, SafetyStop
from syncer.operations.passes import Mode
from syncer.operations.verification import Part
from syncer.settings import Settings
from syncer.simulator import faults
from syncer.simulator.server import Simulator

RUN = "20261122-120000-abcdef"
IMPATIENT = {"retries": 0, "retry_seconds": 20, "stall_seconds": 5}


def unwatched(_event: object) -> None: ...


@asynccontextmanager
async def proven(settings: Settings) -> AsyncIterator[Worker]:
    """A worker whose archive has been made."""
    worker = Worker(settings, {})
    try:
        await worker.prove()
        yield worker
    finally:
        await worker.disconnect()


@pytest.fixture
def settings(configured: Callable[..., Settings]) -> Settings:
    return configured(limits=IMPATIENT)


@pytest.fixture
def both(sim: Simulator, tmp_path: Path) -> Settings:
    """A configuration for both workspaces, one by its id and the other as one of all others."""
    first = next(iter(sim.workspaces))
    return settings_of(configure(sim, tmp_path, [first, "*"], limits=IMPATIENT))


async def test_a_good_pass_sums_up_what_it_did(sim: Simulator, shelf: str, settings: Settings):
    """Code 0, under the run's own id, over one connection that is kept with its token."""
    async with proven(settings) as worker:
        before = worker.activity
        first = await worker.back_up(RUN, Mode.FULL, [shelf], unwatched)
        second = await worker.back_up(RUN, Mode.QUICK, [shelf], unwatched)
        count = len(sim.workspaces[shelf])

        assert (first.run, first.code, first.futile, first.whole) == (RUN, 0, False, {shelf})
        assert first.text == f"full pass over 1 workspace: {count} listed, {count} new, 0 changed, 0 gone"
        assert second.text.startswith("quick pass over 1 workspace: ")
        assert sim.counts["token"] == 1
        assert worker.activity > before
        assert worker.statuses[200] > 2
        assert worker.token_age is not None
    assert (worker.activity, worker.statuses, worker.token_age) == (0, {}, None)
    assert {row["mode"] for row in rows(settings.archive.path, "runs")} == {"full", "quick"}


async def test_an_incomplete_pass_names_what_is_complete(sim: Simulator, both: Settings):
    """`*` counts as complete only where all are that it stands for; that one image fails is no outage."""
    first, second, *_ = sim.workspaces
    async with proven(both) as worker:
        sim.faults.on("content", faults.status(404), image=sim.workspaces[first].ids[0])
        ended = await worker.back_up(RUN, Mode.FULL, [first, "*"], unwatched)
        assert (ended.code, ended.futile, ended.whole) == (3, False, {second, "*"})
        assert ended.text == "1 failed"

        sim.faults.clear()
        sim.faults.on("content", faults.status(404), image=sim.workspaces[second].add())
        ended = await worker.back_up(RUN, Mode.FULL, ["*"], unwatched)
        assert (ended.code, ended.whole) == (3, frozenset())


async def test_a_star_that_reaches_nothing_is_not_complete(sim: Simulator, tmp_path: Path):
    """The credentials may have lost everything: that is not what "complete" means."""
    for one in sim.workspaces.values():
        one.accessible = False
    async with proven(settings_of(configure(sim, tmp_path, ["*"], limits=IMPATIENT))) as worker:
        ended = await worker.back_up(RUN, Mode.FULL, ["*"], unwatched)
    assert (ended.code, ended.whole) == (3, frozenset())
    assert "reach no workspace" in ended.text


async def test_an_outage_is_worth_another_try(sim: Simulator, shelf: str, settings: Settings):
    """It came to nothing: code 8, with the address that does not answer and no more than that."""
    async with proven(settings) as worker:
        sim.faults.on("*", faults.status(503))
        ended = await worker.back_up(RUN, Mode.FULL, [shelf], unwatched)
    assert (ended.code, ended.futile) == (8, True)
    assert sim.url.removesuffix("/api") in ended.text


async def test_after_refused_credentials_they_are_fetched_anew(
    sim: Simulator, shelf: str, settings: Settings, tmp_path: Path
):
    """The connection with the old ones is let go; its secret is in no word."""
    async with proven(settings) as worker:
        sim.faults.on("token", faults.status(401), times=1)
        ended = await worker.back_up(RUN, Mode.FULL, [shelf], unwatched)
        assert (ended.code, ended.futile) == (7, True)
        assert ended.hint
        assert CANARY not in f"{ended}"

        (tmp_path / "client_secret").write_text("other")
        assert (await worker.back_up(RUN, Mode.FULL, [shelf], unwatched)).code == 7
        (tmp_path / "client_secret").unlink()
        assert (await worker.back_up(RUN, Mode.FULL, [shelf], unwatched)).code == 2
        (tmp_path / "client_secret").write_text(CANARY)
        (tmp_path / "client_secret").chmod(0o600)
        assert (await worker.back_up(RUN, Mode.FULL, [shelf], unwatched)).code == 0


async def test_a_deletion_brake_needs_a_person_and_no_try(sim: Simulator, shelf: str, settings: Settings):
    """The pass was made and is not to be repeated at once; every image is kept as live."""
    async with proven(settings) as worker:
        await worker.back_up(RUN, Mode.FULL, [shelf], unwatched)
        for image in sim.workspaces[shelf].ids:
            sim.workspaces[shelf].delete(image)
        ended = await worker.back_up(RUN, Mode.FULL, [shelf], unwatched)
    assert (ended.code, ended.futile, ended.whole) == (5, False, frozenset())
    assert "--accept-deletions" in ended.hint


async def test_an_archive_that_is_gone_is_not_made_anew(shelf: str, settings: Settings):
    """Only `prove`, before the daemon is ready, makes one."""
    async with proven(settings) as worker:
        settings.archive.path.rename(settings.archive.path.with_name("moved"))
        for ended in (
            await worker.back_up(RUN, Mode.FULL, [shelf], unwatched),
            await worker.verify(RUN, Part(1, 2), unwatched),
        ):
            assert (ended.code, ended.futile) == (5, True)
    assert not settings.archive.path.exists()


async def test_a_bug_is_told_as_one(shelf: str, settings: Settings, monkeypatch: pytest.MonkeyPatch):
    """By its kind alone, for its words may hold anything; an error of ours inside a group is told as itself."""

    def failing(error: Exception) -> Callable[..., object]:
        async def fail(*_: object) -> None:
            raise error

        return fail

    async with proven(settings) as worker:
        monkeypatch.setattr(work, "backup", failing(ValueError("Bearer abc")))
        ended = await worker.back_up(RUN, Mode.FULL, [shelf], unwatched)
        assert (ended.code, ended.text, ended.futile) == (1, "a bug: ValueError", True)

        grouped = ExceptionGroup("tasks", [ExceptionGroup("more", [SafetyStop("the marker is gone")])])
        monkeypatch.setattr(work, "backup", failing(grouped))
        ended = await worker.back_up(RUN, Mode.FULL, [shelf], unwatched)
        assert (ended.code, ended.text) == (5, "the marker is gone")


async def test_a_verification_says_what_it_looked_at_and_found(shelf: str, settings: Settings):
    """And has the archive remember it, damage or none."""
    async with proven(settings) as worker:
        await worker.back_up(RUN, Mode.FULL, [shelf], unwatched)
        good = await worker.verify(RUN, Part(1, 1), unwatched)
        path = rows(settings.archive.path, "images")[0]["path"]
        (settings.archive.path / path).write_bytes(b"rot")
        bad = await worker.verify(RUN, Part(1, 1), unwatched)

    assert (good.code, bad.code, bad.futile) == (0, 4, False)
    assert good.text.startswith("no damage in part 1 of 1: ")
    assert bad.text.startswith("damage found: 1 corrupt (part 1 of 1: ")
    assert bad.hint == "run `syncer verify --repair`, and then `syncer verify`"
    assert [row["damage"] for row in rows(settings.archive.path, "verifications")] == [0, 1]


async def test_credentials_that_are_missing_keep_it_from_beginning(settings: Settings, tmp_path: Path):
    """Before there is an archive."""
    (tmp_path / "client_secret").unlink()
    with pytest.raises(ConfigError):
        async with proven(settings):
            pass
    with suppress(FileNotFoundError):
        assert not list(settings.archive.path.iterdir())
