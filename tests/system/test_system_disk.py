"""Disks that are too small, missing or not what they were: exit 9, and what was kept stays kept."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from outside import Make, Outside, whole
from support import rows

from syncer.simulator.server import Simulator


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount small file systems in memory; where this user may not, the test is skipped."""
    places: list[Path] = []

    def mount(size: str, place: Path) -> Path:
        place.mkdir(exist_ok=True)
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True)
        if done.returncode:
            pytest.skip("only root can mount a small disk")
        places.append(place)
        return place

    yield mount
    for place in reversed(places):
        subprocess.run(["umount", place], check=True)


def remount(disk: Path, option: str) -> None:
    """Change a mounted disk."""
    subprocess.run(["mount", "-o", f"remount,{option}", disk], check=True)


async def test_a_full_disk_is_9_and_what_was_kept_stays(
    sim: Simulator, shelf: str, make: Make, mounted: Callable[..., Path], tmp_path: Path
):
    """ENOSPC in the middle: no half picture has a name or a row, and with room the next run does the rest."""
    disk = mounted("2m", tmp_path / "archive")
    outside = make()
    assert (await outside.backup()).code == 0
    before = outside.images()
    sim.workspaces[shelf].add_many(80)

    ran = await outside.backup()

    assert ran.code == 9
    assert "room" in ran.err
    assert not ran.summary["complete"]
    kept = outside.images()
    assert before.keys() <= kept.keys() < set(sim.workspaces[shelf].ids)
    for row in kept.values():
        assert (disk / row["path"]).read_bytes() == sim.workspaces[shelf][row["image_id"]].body
    assert (await outside("status")).code == 0

    remount(disk, "size=64m")
    ran = await outside.backup()
    assert ran.code == 0
    assert set(whole(outside)["images"]) == set(sim.workspaces[shelf].ids)


async def test_the_reserve_is_never_eaten(
    sim: Simulator, shelf: str, make: Make, mounted: Callable[..., Path], tmp_path: Path
):
    """The run stops with 9 while the disk still has its reserve."""
    sim.workspaces[shelf].add_many(60)
    disk = mounted("4m", tmp_path / "archive")
    outside = make(archive={"reserve": "3MiB"})

    ran = await outside.backup()

    assert ran.code == 9
    assert "reserve" in ran.err
    free = os.statvfs(disk)
    assert free.f_bavail * free.f_frsize > 2_500_000


@pytest.mark.slow
async def test_an_archive_that_is_read_only_is_9(
    sim: Simulator, make: Make, mounted: Callable[..., Path], tmp_path: Path
):
    """Nothing can be written: 9 with what to do, and looking still works."""
    disk = mounted("16m", tmp_path / "archive")
    outside = make()
    assert (await outside.backup()).code == 0
    remount(disk, "ro")

    ran = await outside.backup()

    assert ran.code == 9
    assert "mount" in ran.err
    assert [(await outside(command)).code for command in ("status", "list")] == [0, 0]
    assert (await outside("check")).code == 9


@pytest.mark.slow
async def test_a_path_that_cannot_be_an_archive_is_9(outside: Outside, tmp_path: Path):
    """A file where the folder should be, or above it: said with the path, for every command that would write."""
    (tmp_path / "archive").write_text("in the way")
    assert (await outside.backup()).code == 9
    outside.change("archive.path", str(tmp_path / "archive" / "below"))
    ran = await outside.backup()
    assert ran.code == 9
    assert "archive" in ran.err
    assert (await outside("check")).code == 9
    assert (tmp_path / "archive").read_text() == "in the way"


async def test_looking_at_a_path_that_cannot_be_an_archive_is_9(outside: Outside, tmp_path: Path):
    """A file where the folder should be is no archive that is merely empty."""
    (tmp_path / "archive").write_text("in the way")

    assert (await outside("status")).code == 9


async def test_what_is_in_the_folder_already_is_left_alone(sim: Simulator, outside: Outside):
    """A folder with somebody's files becomes an archive beside them."""
    outside.archive.mkdir()
    (outside.archive / "holiday.png").write_bytes(b"mine")
    (outside.archive / ".staging").mkdir()

    ran = await outside.backup()

    assert ran.code == 0
    assert (outside.archive / "holiday.png").read_bytes() == b"mine"
    assert rows(outside.archive, "images")
