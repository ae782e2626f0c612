"""What has to hold in an archive whatever stopped its writer, and what it holds, as values to compare.

`unsound` judges an archive as it was left, before anything has opened it again: the promises hold at every moment.
`lost` compares it with what was there before. `state` describes one that was closed in peace, and leaves out only what
differs between two runs that do the same: times, run ids, the archive's own id, and how often a failure was tried.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from syncer.archive import journal, layout, sidecar
from syncer.errors import Damaged
from syncer.model import Revision

Row = dict[str, Any]

MANIFEST = "manifest.db"
PASSING = {  # columns that differ between two runs that do the same
    "images": {"first_seen"},
    "revisions": {"fetched_at", "run"},
    "failures": {"attempts", "first_tried", "last_tried"},
    "workspaces": set[str](),
    "losses": {"found_at"},
}


def unsound(archive: Path, *, strays: bool = False) -> list[str]:
    """Say what breaks a promise in an archive whose writer may have died at any moment.

    `strays` allows pictures without a sidecar: a sync that failed leaves them, since then their batch is not believed.
    """
    tables, wrong = manifest(archive)
    told = set()
    for line in journal.read(archive):
        if isinstance(line, journal.Break):
            wrong.append(f"the journal's chain is broken: {line}")
        else:
            told.add((line.facts.get("image"), line.facts.get("revision")))
    if tables["archive"] and not (archive / layout.MARKER).exists():
        wrong.append("a manifest without a marker: no run would touch this archive again")

    kept = {}
    for row in tables["revisions"]:
        name = f"revision {row['revision']} of {row['image_id']}"
        kept[row["image_id"], row["revision"]] = row
        pair, trouble = _pair(archive, row["sidecar"])
        if pair is None or trouble:
            wrong.append(f"the row of {name} has no whole pair: {trouble}")
        elif (pair.image_id, pair.number, pair.sha256, pair.path, pair.size) != (
            row["image_id"], row["revision"], row["sha256"], row["path"], row["bytes"],
        ):  # fmt: skip
            wrong.append(f"the row of {name} does not say what its sidecar says")
        if (row["image_id"], row["revision"]) not in told:
            wrong.append(f"the row of {name} came before its line in the journal")
    for row in tables["images"]:
        revision = kept.get((row["image_id"], row["revision"]))
        if revision is None or any(row[name] != revision[name] for name in ("sha256", "path", "sidecar", "bytes")):
            wrong.append(f"the row of {row['image_id']} does not agree with its revision's")

    named = set()
    planned = _planned(archive)
    for place in files(archive):
        if place.endswith(".json"):
            pair, trouble = _pair(archive, place)
            wrong += [f"{place}: {trouble}"] if trouble else []
            named |= {place} | ({pair.path} if pair else set())
    for place in files(archive) - named:
        if not strays and _hash(archive / place) != planned.get(place):
            wrong.append(f"{place} is named by no sidecar, not even a staged one")
    return wrong


def lost(before: Path, archive: Path, *names: str) -> list[str]:
    """Say which bytes are not there any more: neither under the name they had before, nor below it in the evidence.

    Looked for are all that had final names, and the files of these other `names`.
    """
    evidence = [archive, *(archive / layout.EVIDENCE).glob("*")]
    return [
        f"the bytes of {place} are lost"
        for place in sorted(files(before) | set(names))
        if _hash(before / place) not in {_hash(folder / place) for folder in evidence}
    ]


def state(archive: Path, *more: str) -> dict[str, Any]:
    """Describe all that an archive holds; times, runs and its id left out. Nothing but the kept may lie there.

    `more` tables of the manifest are described whole.
    """
    tables, wrong = manifest(archive)
    assert wrong == []
    assert {path.name for path in (archive / layout.STAGING).iterdir()} == {"lock", "home"}
    # An unfinished copy of it stays until a run that changes something makes another one.
    assert {*archive.glob(f"{MANIFEST}*")} - {*archive.glob(f"{MANIFEST}.backup*")} == {archive / MANIFEST}
    named = {row[name] for row in tables["revisions"] for name in ("path", "sidecar")}
    assert files(archive) == named, f"files without a row, or rows without a file: {files(archive) ^ named}"
    held: dict[str, Any] = {
        table: [_lasting(row, passing) for row in tables[table]] for table, passing in PASSING.items()
    }
    held |= {table: tables[table] for table in more}
    held["files"] = {place: _content(archive / place) for place in sorted(named)}
    return held


def files(archive: Path) -> set[str]:
    """All pictures and sidecars under their final names, and whatever else lies there."""
    ours = (layout.STAGING, layout.EVIDENCE, layout.JOURNAL, layout.MARKER)
    found = (path.relative_to(archive) for path in archive.rglob("*") if path.is_file())
    return {str(path) for path in found if path.parts[0] not in ours and not path.parts[0].startswith(MANIFEST)}


def manifest(archive: Path) -> tuple[dict[str, list[Row]], list[str]]:
    """Read the tables of a manifest, and what SQLite finds wrong with it, from a copy: looking must not heal it.

    Of one that is damaged nothing is read.
    """
    tables: dict[str, list[Row]] = {name: [] for name in ("archive", *PASSING)}
    with tempfile.TemporaryDirectory() as folder:
        for path in archive.glob(f"{MANIFEST}*"):
            if not path.name.endswith("-shm"):
                shutil.copy(path, folder)
        with closing(sqlite3.connect(Path(folder) / MANIFEST)) as db:
            try:
                verdict = [line for (line,) in db.execute("pragma integrity_check")]
            except sqlite3.DatabaseError as error:
                verdict = [str(error)]
            if verdict != ["ok"]:
                return tables, [f"the manifest is damaged: {line}" for line in verdict]
            there = {name for (name,) in db.execute("select name from sqlite_master where type = 'table'")}
            db.row_factory = sqlite3.Row
            for name in there:
                rows = map(dict, db.execute(f"select * from {name}"))
                tables[name] = sorted(rows, key=lambda row: [str(value) for value in row.values()])  # the key is first
    return tables, []


def _pair(archive: Path, place: str) -> tuple[Revision | None, str]:
    """Read the sidecar at a place and see that its bytes stand."""
    try:
        pair = sidecar.read((archive / place).read_bytes(), place)
    except (OSError, Damaged):
        return None, "the sidecar cannot be read"
    return pair, "" if _hash(archive / pair.path) == pair.sha256 else "its bytes are not there, or others are"


def _planned(archive: Path) -> dict[str, str]:
    """The bytes that a crash left without their sidecar, which a plan in the staging folder promises: path and hash."""
    return {pair.path: pair.sha256 for pair in _staged(archive / layout.STAGING)}


def _staged(staging: Path) -> Iterator[Revision]:
    for plan in staging.glob("*.plan"):
        try:
            places = json.loads(plan.read_bytes())
            yield from (
                sidecar.read((staging / name).read_bytes(), place)
                for name, place in places.items()
                if (staging / name).exists()
            )
        except (ValueError, Damaged):  # cut: then nothing of it was renamed
            continue


def _hash(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def _lasting(row: Row, passing: set[str]) -> Row:
    kept = {name: value for name, value in row.items() if name not in passing}
    if "gone_since" in kept:
        kept["gone_since"] = kept["gone_since"] is not None
    return kept


def _content(path: Path) -> object:
    if path.suffix != ".json":
        return _hash(path)
    written = json.loads(path.read_bytes())
    return {name: value for name, value in written.items() if name not in {"fetched_at", "run"}}
