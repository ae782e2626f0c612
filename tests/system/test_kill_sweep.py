"""Killed at any system call that changes the disk, what is left is sound, and the next run ends as if undisturbed.

A spread sample of the points; `python tests/system/kill_sweep.py` strikes at every one.
"""

from __future__ import annotations

import os
from pathlib import Path

import kill_sweep
import pytest
from kill_sweep import Point, points, prepared, spread
from soundness import lost

from syncer.archive.layout import EVIDENCE

SAMPLE = 6  # points of each scenario, and one of every kind of call


def needs_strace() -> None:
    """Skip where there is no strace; where everything has to be tested, fail instead."""
    if kill_sweep.STRACE is None:
        (pytest.fail if os.environ.get("SYNCER_CI") else pytest.skip)("strace is not installed")


@pytest.mark.slow
@pytest.mark.parametrize("scenario", kill_sweep.SCENARIOS)
async def test_killed_at_a_spread_of_points(tmp_path: Path, scenario: str):
    """The first run ever, one with every kind of change, repairs, rebuilds and adoptions: nothing is lost or stray."""
    needs_strace()
    async with prepared(tmp_path, scenario) as sweep:
        struck = await sweep.strike_all(spread(sweep.points, SAMPLE), "kill", jobs=2)

    assert len(sweep.points) > 30
    assert [one.point for one in struck if not one.fired] == []
    assert {one.point: one.wrong for one in struck if one.wrong} == {}


@pytest.mark.slow
async def test_killed_and_killed_again_while_it_recovers(tmp_path: Path):
    """A run that completes what the one before left can die as well."""
    needs_strace()
    async with prepared(tmp_path, "next") as sweep:
        struck = await sweep.strike_all(spread(sweep.points, SAMPLE)[::2], "kill", jobs=2, twice=True)

    assert [one.point for one in struck if not one.fired] == []
    assert {one.point: one.wrong for one in struck if one.wrong} == {}


@pytest.mark.slow
async def test_killed_while_threads_are_at_work(tmp_path: Path):
    """The same with downloads, syncs and the manifest in threads of their own."""
    needs_strace()
    async with prepared(tmp_path, "next", threads=True) as sweep:
        struck = await sweep.strike_all(spread(sweep.points, SAMPLE)[::2], "kill", jobs=2)

    assert any(one.fired for one in struck)
    assert {one.point: one.wrong for one in struck if one.wrong} == {}


@pytest.mark.slow
@pytest.mark.parametrize("scenario", ["repair", "rebuild"])
async def test_a_disk_that_fails_while_it_mends(tmp_path: Path, scenario: str):
    """A call that fails ends a repair or a rebuild with 9, or not at all; what was there is there still."""
    needs_strace()
    async with prepared(tmp_path, scenario) as sweep:
        struck = await sweep.strike_all(spread(sweep.points, SAMPLE)[::2], "EIO", jobs=2)

    assert [one.point for one in struck if not one.fired] == []
    assert {one.point: one.wrong for one in struck if one.wrong} == {}


def test_bytes_are_lost_that_are_neither_in_place_nor_evidence(tmp_path: Path):
    """What was moved aside is there still; what was written over or removed, or lies under another name, is not."""
    before, after = tmp_path / "before", tmp_path / "after"
    for name in ("same", "aside", "over", "gone", "moved"):
        (before / "w").mkdir(parents=True, exist_ok=True)
        (before / "w" / name).write_bytes(name.encode())
    (after / EVIDENCE / "run" / "w").mkdir(parents=True)
    (after / EVIDENCE / "run" / "w" / "aside").write_bytes(b"aside")
    (after / "w").mkdir()
    for name, data in (("same", b"same"), ("aside", b"mended"), ("over", b"other"), ("elsewhere", b"moved")):
        (after / "w" / name).write_bytes(data)
    (before / "manifest.db").write_bytes(b"rows")

    assert [word for line in lost(before, after) for word in line.split() if "/" in word] == [
        "w/gone",
        "w/moved",
        "w/over",
    ]
    assert "the bytes of manifest.db are lost" in lost(before, after, "manifest.db")


def test_points_are_the_calls_that_change_the_archive():
    """Counted by kind and thread as strace counts; reading, and what is written elsewhere, is no point."""
    trace = """\
7  openat(AT_FDCWD</>, "/etc/hosts", O_RDONLY|O_CLOEXEC) = 3</etc/hosts>
7  openat(AT_FDCWD</>, "/a/archive/x", O_RDONLY|O_CLOEXEC) = 3</a/archive/x>
7  openat(AT_FDCWD</>, "/a/archive/x", O_WRONLY|O_CREAT|O_EXCL, 0666) = 3</a/archive/x>
8  write(2</dev/null>, ""..., 5) = 5
8  write(3</a/archive/x>, ""..., 5 <unfinished ...>
7  fsync(4</a/archive>) = 0
8  <... write resumed>) = 5
"""
    assert points(trace, Path("/a/archive")) == {Point("openat", 3), Point("write", 2), Point("fsync", 1)}


def test_a_sample_has_every_kind_of_call():
    """However few points are chosen, no kind of call is left out."""
    every = [Point("fsync", n) for n in range(1, 90)] + [Point("unlink", 1)]

    assert {point.call for point in spread(every, 4)} == {"fsync", "unlink"}
