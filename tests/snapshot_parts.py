"""Builders for what the daemon knows at a moment: one of everything, so that every metric has a sample."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from syncer.daemon.snapshot import Cause, LastRun, Running, Snapshot, State, Verification, WorkspaceState

NOW = 1_800_000_000.0
HOUR, DAY = 3600.0, 86400.0
BRAND = "5f0c0000-0000-4000-8000-000000000001"


def last_run(**fields: Any) -> LastRun:
    counts = {"new": 3, "changed": 1, "unchanged": 96, "filtered": 0, "failed": 0, "gone": 2, "restored": 0}
    return replace(LastRun(NOW - HOUR, 12.5, complete=True, counts=counts, bytes=4096, requests=17), **fields)


def workspace(**fields: Any) -> WorkspaceState:
    """A workspace whose last full pass was good, an hour ago."""
    good = WorkspaceState(
        workspace_id=BRAND,
        name="Brand",
        last_success=NOW - HOUR,
        last_full=NOW - HOUR,
        last_run={"full": last_run(), "quick": last_run(ended=NOW - 2 * HOUR)},
        live=98,
        gone=2,
        bytes=1_000_000,
        owed=0,
        uploads={"done": 7, "undecided": 1},
        next_run={"full": NOW + DAY, "quick": NOW + 900},
        stale_after=2 * HOUR,
    )
    return replace(good, **fields)


def snapshot(**fields: Any) -> Snapshot:
    """A daemon that is well and at work; every value that may be unknown is known."""
    well = Snapshot(
        at=NOW,
        version="1.2.3",
        started=NOW - DAY,
        ready=True,
        state=State.RUNNING,
        running=Running("quick", due=NOW - 10, began=NOW - 5),
        workspaces=(workspace(),),
        archive_bytes=1_000_000,
        archive_free_bytes=5_000_000_000,
        requests={200: 1234, 429: 5},
        token_age=120.5,
        verified=Verification(NOW - DAY, damage=0, parts=30, part=3),
        verified_whole=Verification(NOW - 30 * DAY, damage=0, parts=30),
        next_verification=NOW + DAY,
    )
    return replace(well, **fields)


def degraded(*causes: Cause, **fields: Any) -> Snapshot:
    """The same daemon with a trouble."""
    return snapshot(state=State.DEGRADED, running=None, causes=frozenset(causes), **fields)
