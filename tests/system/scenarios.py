"""What `kill_sweep` strikes: commands, each over a service and an archive in which it finds all kinds of work.

A scenario prepares the archive as it is before the run, and leaves the service as it is during all of its runs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from one_backup import COPIES, perform
from soundness import MANIFEST
from support import back_up, configure, rows, settings_of

from syncer.archive.layout import JOURNAL
from syncer.simulator import faults
from syncer.simulator.server import Simulator

PAGE = 4096  # bytes of SQLite's


@dataclass(frozen=True)
class Scenario:
    """A command, and how the archive is made that it works on: None for one into a folder that does not exist.

    `harmed`: something is wrong with the archive before, `lasting`: and something still is after. The names are of
    other files whose bytes may not be lost, the tables of others that end as undisturbed in every value. `then` is the
    command that goes on after a fault, where that is not the same one again.
    """

    command: str
    archive: Callable[[Simulator, Path], Awaitable[Path]] | None = None
    harmed: bool = False
    lasting: bool = False
    names: tuple[str, ...] = ()
    tables: tuple[str, ...] = ()
    then: str | None = None


def shelf_of(sim: Simulator) -> str:
    """The id of the workspace that is backed up."""
    return next(iter(sim.workspaces))


async def _grown(sim: Simulator, folder: Path) -> Path:
    """Back up twice, so that there is a past; then change the service: new, changed, gone, restored, failing, good."""
    shelf = sim.workspaces[shelf_of(sim)]
    settings = settings_of(configure(sim, folder, [shelf.id], limits={"retries": 0}))
    bytes_, more_bytes, words, more_words, gone, also_gone, returning, failing, good = shelf.ids[:9]
    owed = sim.faults.on("content", faults.status(403), image=good)
    await back_up(settings)
    shelf.delete(returning)
    await back_up(settings)

    owed.left = 0
    shelf.restore(returning)
    for image in (bytes_, more_bytes, failing):
        shelf.repaint(image)
    for image in (words, more_words):
        shelf.change(image, prompt="reworded")
    for image in (gone, also_gone):
        shelf.delete(image)
    *_, broken = shelf.add_many(4)
    for image in (failing, broken):
        sim.faults.on("content", faults.status(403), image=image)
    return folder / "archive"


async def _past(sim: Simulator, folder: Path) -> Path:
    """Back up what has grown as well: an archive of three runs, with every kind of row."""
    archive = await _grown(sim, folder)
    await perform("backup", folder / "syncer.toml")
    return archive


async def _damaged(sim: Simulator, folder: Path) -> Path:
    """Spoil pictures and sidecars; one of the pictures is gone at the service, so that it is lost for good."""
    shelf = sim.workspaces[shelf_of(sim)]
    archive = await _past(sim, folder)
    flipped, cut, missing, altered, sidecar, both, gone, *_ = rows(archive, "images", "state = 'live'")
    shelf.delete(gone["image_id"])
    for row in (flipped, both, gone):
        (archive / row["path"]).write_bytes(b"x" * row["bytes"])
    (archive / cut["path"]).write_bytes((archive / cut["path"]).read_bytes()[:100])
    for row in (altered, both):
        whole = (archive / row["sidecar"]).read_bytes()
        (archive / row["sidecar"]).write_bytes(whole.replace(b'"prompt"', b'"promqt"'))
    for path in (missing["path"], sidecar["sidecar"]):
        (archive / path).unlink()
    return archive


async def _noise(sim: Simulator, folder: Path) -> Path:
    """Spoil pages of a manifest that a crash left with its log."""
    archive = await _past(sim, folder)
    manifest, log = archive / MANIFEST, archive / f"{MANIFEST}-wal"
    with closing(sqlite3.connect(manifest)) as db:
        db.execute("update workspaces set name = 'in the log'")
        db.commit()
        kept = [(path, path.read_bytes()) for path in (manifest, log)]
    for path, data in kept:
        path.write_bytes(data)
    data = manifest.read_bytes()
    manifest.write_bytes(data[: 4 * PAGE] + b"noise..." * (2 * PAGE // 8) + data[6 * PAGE :])
    return archive


async def _forgotten(sim: Simulator, folder: Path) -> Path:
    """Remove the manifest and its copy, and the last run's journal: nothing but the pairs themselves tell of it."""
    archive = await _past(sim, folder)
    for path in (*archive.glob(f"{MANIFEST}*"), max((archive / JOURNAL).iterdir())):
        path.unlink()
    return archive


async def _beside(sim: Simulator, folder: Path) -> Path:
    """Back up, then add images; most of them lie in a folder of this machine, one of them with other bytes."""
    shelf = sim.workspaces[shelf_of(sim)]
    await back_up(settings_of(configure(sim, folder, [shelf.id], limits={"retries": 0})))
    copies = folder.parent / COPIES / "by another tool"
    copies.mkdir(parents=True)
    *same, other, _ = shelf.add_many(8)
    for image in same:
        (copies / f"{image}.png").write_bytes(shelf[image].body)
    (copies / "damaged.png").write_bytes(shelf[other].body[:-1] + b"\0")
    return folder / "archive"


SCENARIOS = {
    "first": Scenario("backup"),
    "next": Scenario("backup", _grown),
    "repair": Scenario("repair", _damaged, harmed=True, lasting=True),
    "rebuild": Scenario("rebuild", _noise, harmed=True, names=(MANIFEST, f"{MANIFEST}-wal"), tables=("runs",)),
    "rebuild-without": Scenario("rebuild", _forgotten, harmed=True),
    "adopt": Scenario("adopt", _beside),
    "verify": Scenario("verify", _past, then="backup"),
}
