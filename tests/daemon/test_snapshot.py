"""What the daemon knows at a moment: read from a real manifest, judged with plain values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from snapshot_parts import BRAND, HOUR, NOW, degraded, snapshot, workspace

from syncer.daemon.snapshot import (
    LONGEST_RUN,
    Cause,
    Expected,
    LastRun,
    Remembered,
    Running,
    State,
    WorkspaceState,
    judged,
    remembered,
    stale,
)
from syncer.errors import (
    AlreadyRunning,
    ArchiveUnwritable,
    ConfigError,
    SafetyStop,
    ServiceDown,
    StorageFull,
    SyncerError,
    Unauthorized,
)
from syncer.manifest.manifest import Manifest
from syncer.manifest.reader import Reader
from syncer.model import Failed, Introduced, Lost, Report, Verified

MINUTE = 60.0
WS = "ws"


# --- staleness ----------------------------------------------------------------------------------------


def test_a_good_run_that_is_too_long_ago_is_stale():
    """Quick passes every quarter of an hour that fail for half an hour."""
    assert not stale(NOW - 30 * MINUTE, 30 * MINUTE, since=0, at=NOW)
    assert stale(NOW - 30 * MINUTE - 1, 30 * MINUTE, since=0, at=NOW)


def test_what_is_not_scheduled_is_never_stale():
    """Who runs passes by hand is not reminded."""
    assert not stale(None, None, since=0, at=NOW)


def test_before_the_first_good_run_the_time_counts_from_the_start():
    """A daemon that never had a good run is found out, and not at once."""
    assert not stale(None, HOUR, since=NOW - HOUR, at=NOW)
    assert stale(None, HOUR, since=NOW - HOUR - 1, at=NOW)


def test_a_clock_that_was_wrong_does_not_silence_us():
    """A good run in the year 2099 is no reason to be content until then."""
    assert stale(NOW + 1e9, HOUR, since=NOW - 2 * HOUR, at=NOW)


def test_the_time_that_a_run_takes_is_not_held_against_anybody():
    """A full pass of three hours keeps the quick ones waiting: that is no alarm, while it lasts a day at most."""
    known = {BRAND: WorkspaceState(BRAND, last_success=NOW - 3 * HOUR)}
    expected = {BRAND: Expected(stale_after=HOUR)}

    def verdict(due: float) -> bool:
        (one,) = judged(known, expected, since=0, at=NOW, running=Running("full", due=due, began=NOW - 1))
        return one.stale

    assert not verdict(NOW - 2.5 * HOUR)
    assert verdict(NOW - 1.5 * HOUR)  # it was too late already when this run fell due
    known = {BRAND: WorkspaceState(BRAND, last_success=NOW - LONGEST_RUN - 2 * MINUTE)}
    assert not verdict(NOW - LONGEST_RUN)
    assert verdict(NOW - LONGEST_RUN - 1)


def test_workspaces_are_judged_by_their_own_schedule():
    """In the configuration's order; what is not configured any more is left out, what is not known yet is there."""
    known = {name: WorkspaceState(name, name=name.title(), last_success=NOW - 2 * HOUR) for name in ("a", "b", "old")}
    expected = {
        "new": Expected("fresh", HOUR),
        "b": Expected("bee", HOUR, {"full": NOW + 1}),
        "a": Expected("ay", 3 * HOUR),
    }

    new, b, a = judged(known, expected, since=NOW - MINUTE, at=NOW)

    assert (new.workspace_id, new.name, new.live, new.stale) == ("new", "fresh", 0, False)
    assert (b.workspace_id, b.name, b.next_run, b.stale) == ("b", "B", {"full": NOW + 1}, True)
    assert (a.workspace_id, a.stale_after, a.stale) == ("a", 3 * HOUR, False)


def test_a_star_stands_for_all_without_an_entry():
    """And for itself before anything is known, so that a first run that never succeeds is found out."""
    expected = {"a": Expected(stale_after=None), "*": Expected(stale_after=HOUR)}

    known = {name: WorkspaceState(name, last_success=NOW - 2 * HOUR) for name in ("a", "b", "c")}
    assert [(w.workspace_id, w.stale) for w in judged(known, expected, since=0, at=NOW)] == [
        ("a", False),
        ("b", True),
        ("c", True),
    ]
    assert [(w.workspace_id, w.stale) for w in judged({}, expected, since=0, at=NOW)] == [("a", False), ("*", True)]


# --- health -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", State)
def test_a_daemon_is_healthy_while_it_can_work(state: State):
    """Not while it starts or stops; being paused is no illness, until something gets stale by it."""
    assert snapshot(state=state).healthy == (state not in {State.STARTING, State.STOPPING})
    assert not snapshot(state=state, ready=False).healthy
    assert not snapshot(state=state, workspaces=(workspace(), workspace(stale=True))).healthy


@pytest.mark.parametrize("cause", Cause)
def test_trouble_that_may_pass_is_given_the_schedules_patience(cause: Cause):
    """An outage counts once a workspace is stale; what needs a person counts at once, also beside an outage."""
    passing = {Cause.INCOMPLETE, Cause.LOCKED, Cause.SERVICE, Cause.UPLOADS}
    assert degraded(cause).healthy == (cause in passing)
    assert degraded(cause, Cause.SERVICE).healthy == (cause in passing)
    assert not degraded(cause, workspaces=(workspace(stale=True),)).healthy


@pytest.mark.parametrize(
    ("raised", "cause"),
    [
        (SyncerError, Cause.BUG),
        (ConfigError, Cause.CONFIGURATION),
        (SafetyStop, Cause.SAFETY_STOP),
        (AlreadyRunning, Cause.LOCKED),
        (Unauthorized, Cause.CREDENTIALS),
        (ServiceDown, Cause.SERVICE),
        (ArchiveUnwritable, Cause.ARCHIVE),
        (StorageFull, Cause.ARCHIVE),
    ],
)
def test_a_cause_is_what_the_exit_code_means(raised: type[SyncerError], cause: Cause):
    """So an error's own code and a run's are enough to tell it."""
    assert Cause.of(raised.exit_code) is cause


def test_a_run_that_ended_well_or_was_stopped_has_no_cause():
    """3 is a run that is not complete, 4 damage."""
    assert [Cause.of(code) for code in (0, 3, 4, 130, 143)] == [None, Cause.INCOMPLETE, Cause.DAMAGE, None, None]


# --- from the manifest --------------------------------------------------------------------------------


@pytest.fixture
async def manifest(tmp_path: Path) -> Path:
    """A new manifest that knows one workspace."""
    path = tmp_path / "manifest.db"
    async with Manifest.open(path) as opened:
        await opened.record([Introduced(WS, "Mine", "mine@ws")])
    return path


def hour(number: int) -> str:
    return f"2026-11-20T{number:02}:00:00Z"


def epoch(number: int) -> float:
    return 1_795_132_800.0 + number * HOUR


async def ran(path: Path, *runs: tuple[str, int, bool], workspace_id: str = WS) -> None:
    """Note runs: their mode, the hour of their end, and whether they were complete."""
    async with Manifest.open(path) as opened:
        for mode, ended, complete in runs:
            report = Report(workspace_id=workspace_id, run=f"r{ended}", mode=mode, started=hour(ended))
            row = await opened.start_run(report)
            await opened.end_run(row, replace(report, ended=hour(ended), complete=complete))


async def began(path: Path, mode: str, started: int) -> None:
    async with Manifest.open(path) as opened:
        await opened.start_run(Report(workspace_id=WS, run="killed", mode=mode, started=hour(started)))


def known(path: Path) -> Remembered:
    with Reader.open(path) as reader:
        return remembered(reader)


async def test_a_workspace_without_runs_has_never_succeeded(manifest: Path):
    """It is there, with its name."""
    assert known(manifest).workspaces == {WS: WorkspaceState(WS, "Mine")}


async def test_the_last_run_of_each_mode_is_told_with_its_counts(manifest: Path):
    """Whether it was complete or not; one under way does not count."""
    await ran(manifest, ("full", 1, True), ("quick", 2, True))
    counted = Report(
        workspace_id=WS, run="r", mode="quick", started=hour(3), ended=hour(4), seconds=2.5, bytes=77, requests=9,
        listed=10, new=1, changed=2, unchanged=3, filtered=0, failed=4, gone=5, restored=6, owed=4,
    )  # fmt: skip
    async with Manifest.open(manifest) as opened:
        await opened.end_run(await opened.start_run(counted), counted)
    await began(manifest, "quick", 5)

    told = known(manifest).workspaces[WS].last_run

    assert set(told) == {"full", "quick"}
    counts = {"new": 1, "changed": 2, "unchanged": 3, "filtered": 0, "failed": 4, "gone": 5, "restored": 6}
    assert told["quick"] == LastRun(epoch(4), 2.5, complete=False, counts=counts, bytes=77, requests=9)
    assert (told["full"].ended, told["full"].complete) == (epoch(1), True)


@pytest.mark.parametrize(
    ("runs", "success", "full"),
    [
        ([("full", 1, True), ("quick", 2, True)], 2, 1),
        ([("full", 1, True), ("quick", 2, True), ("quick", 3, False)], 2, 1),
        ([("full", 1, True), ("full", 2, False), ("quick", 3, True)], 1, 1),
        ([("full", 1, False), ("quick", 2, True)], None, None),
        ([("full", 1, False), ("quick", 2, True), ("full", 3, True)], 3, 3),
        ([("full", 9, True), ("quick", 3, True)], 3, 9),
    ],
    ids=["quick", "failing", "full-incomplete", "never-full", "mended", "clock-stepped-back"],
)
async def test_quick_passes_are_good_only_after_a_complete_full_one(
    manifest: Path, runs: list[tuple[str, int, bool]], success: int | None, full: int | None
):
    """As in `syncer status`; and the last good run is the last in order, whatever the clock was."""
    await ran(manifest, *runs)

    told = known(manifest).workspaces[WS]

    assert told.last_success == (None if success is None else epoch(success))
    assert told.last_full == (None if full is None else epoch(full))


async def test_a_full_pass_that_was_killed_spoils_the_quick_ones(manifest: Path):
    """It did not end, and others came after it."""
    await ran(manifest, ("full", 1, True))
    await began(manifest, "full", 2)
    await ran(manifest, ("quick", 3, True))

    assert known(manifest).workspaces[WS].last_success == epoch(1)


async def test_what_is_held_owed_lost_and_verified_is_told(manifest: Path):
    """Each as the manifest counts it."""
    async with Manifest.open(manifest) as opened:
        await opened.record(
            [
                Failed(WS, "owed", "cut", hour(1)),
                Lost(WS, "lost", 1, "a/b.png", "missing", hour(1)),
                Verified(1, 2, False, False, 10, 100, 3, {"missing": 3}, hour(1)),
                Verified(2, 2, False, False, 10, 100, 0, {}, hour(2)),
                Verified(1, 1, True, False, 10, 0, 1, {"missing": 1}, hour(3)),
            ]
        )

    told = known(manifest)

    assert told.workspaces[WS].owed == told.lost == 1
    assert told.bytes == 0
    assert told.verified is not None and told.verified_whole is not None
    assert (told.verified.ended, told.verified.damage, told.verified.part) == (epoch(3), 1, 1)
    whole = told.verified_whole
    assert (whole.ended, whole.damage, whole.parts, whole.part) == (epoch(1), 3, 2, 0)


async def test_two_workspaces_are_kept_apart(manifest: Path):
    """Each with its own runs."""
    async with Manifest.open(manifest) as opened:
        await opened.record([Introduced("other", "Yours", "yours@other")])
    await ran(manifest, ("full", 1, True))
    await ran(manifest, ("full", 2, False), workspace_id="other")

    told = known(manifest).workspaces

    assert (told[WS].last_success, told["other"].last_success) == (epoch(1), None)
    assert told["other"].last_run["full"].complete is False
