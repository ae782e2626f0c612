"""Files that are here already are used instead of being downloaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support import pictures, rows

from syncer import app
from syncer.errors import ConfigError
from syncer.operations import adopt as local
from syncer.operations.adopt import LocalCopies
from syncer.operations.backup import Backup, backup
from syncer.operations.passes import Options
from syncer.settings import Settings
from syncer.simulator import faults
from syncer.simulator.server import Simulator


async def adopt(settings: Settings, folder: Path) -> tuple[Backup, LocalCopies]:
    from dataclasses import replace

    copies, result = LocalCopies.below(folder), Backup()
    async with app.opened(settings, {}, "test", make=True) as rooms:
        await backup(replace(rooms, copies=copies), (), Options(), lambda _: None, result)
    return result, copies


async def test_what_is_the_same_by_size_and_hash_is_not_downloaded(
    sim: Simulator, shelf: str, settings: Settings, tmp_path: Path
):
    """The archive ends the same; a file of the same size and other bytes, and one unknown, are downloaded."""
    folder = tmp_path / "old" / "by another tool"
    folder.mkdir(parents=True)
    held = sim.workspaces[shelf]
    same, other, *_ = held.ids
    (folder / "whatever it was called").write_bytes(held[same].body)
    (folder / "damaged.png").write_bytes(held[other].body[:-1] + b"\0")

    result, copies = await adopt(settings, tmp_path / "old")

    assert result.complete
    assert (copies.used, copies.saved) == (1, len(held[same].body))
    assert sorted(pictures(settings.archive.path).values()) == sorted(held[image].body for image in held.ids)
    assert len(rows(settings.archive.path, "images")) == len(held)


async def test_without_a_hash_from_the_service_everything_is_downloaded(
    sim: Simulator, shelf: str, settings: Settings, tmp_path: Path
):
    """A size alone is no proof."""
    folder = tmp_path / "old"
    folder.mkdir()
    held = sim.workspaces[shelf]
    (folder / "a").write_bytes(held[held.ids[0]].body)
    sim.faults.on("content", faults.headers({"Content-MD5": None}))

    result, copies = await adopt(settings, folder)

    assert result.complete
    assert copies.used == 0


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.unlink() or path.mkdir()])
async def test_a_file_that_fails_between_hash_and_copy_costs_no_image(
    sim: Simulator,
    shelf: str,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Path], object],
):
    """It is passed over from then on, whatever its hash was, and the image is downloaded."""
    folder = tmp_path / "old"
    folder.mkdir()
    held = sim.workspaces[shelf]
    file = folder / "a"
    file.write_bytes(held[held.ids[0]].body)
    hashed: dict[Path, bytes] = {}

    def digest(path: Path, algorithm: str) -> bytes:
        if path not in hashed:
            hashed[path] = whole(path, algorithm)
            spoil(path)
        return hashed[path]

    whole = local._digest
    monkeypatch.setattr(local, "_digest", digest)

    result, copies = await adopt(settings, folder)

    assert hashed
    assert result.complete
    assert (copies.used, copies.saved) == (0, 0)
    assert sorted(pictures(settings.archive.path).values()) == sorted(held[image].body for image in held.ids)


def test_a_folder_that_is_not_there_is_a_mistake(tmp_path: Path):
    """It is said plainly, before anything begins."""
    with pytest.raises(ConfigError, match="cannot read"):
        LocalCopies.below(tmp_path / "nowhere")
