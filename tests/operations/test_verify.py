"""`verify`: each kind of damage by its name, and no alarm where there is none."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from support import back_up, rows
from verifying import verified

from syncer.archive import journal
from syncer.archive import lock as lock_room
from syncer.errors import AlreadyRunning, SafetyStop
from syncer.model import Harm
from syncer.operations.verification import Part
from syncer.settings import Settings
from syncer.simulator import faults
from syncer.simulator.server import Simulator


def first(archive: Path) -> dict[str, object]:
    """The row of an image that never changed."""
    return rows(archive, "images", "revision = 1 and state = 'live'")[0]


def one_picture(archive: Path) -> Path:
    return archive / str(first(archive)["path"])


def one_sidecar(archive: Path) -> Path:
    return archive / str(first(archive)["sidecar"])


def execute(archive: Path, sql: str) -> None:
    with closing(sqlite3.connect(archive / "manifest.db")) as db, db:
        assert db.execute(sql).rowcount


async def test_a_whole_archive_has_no_findings(archive: Path):
    """After backups with changes and deletions there is nothing to find, and every file was looked at."""
    found = await verified(archive)

    assert found.told == []
    files = [path for path in archive.rglob("*/[0-9]*/*") if path.is_file()]
    assert found.result.pictures + found.result.sidecars == len(files)
    assert found.result.bytes == sum(path.stat().st_size for path in files)


async def test_nothing_is_written(archive: Path):
    """Not a file is made or changed, in the archive of a team or on an auditor's copy."""
    before = {path: path.stat().st_mtime_ns for path in archive.rglob("*")}
    await verified(archive)
    assert {path: path.stat().st_mtime_ns for path in archive.rglob("*")} == before


async def test_other_bytes_are_corrupt(archive: Path):
    """A picture of the same size with other bytes is named, with its image; a look at sizes does not see it."""
    picture = one_picture(archive)
    data = picture.read_bytes()
    picture.write_bytes(data[:-9] + b"!" + data[-8:])

    found = await verified(archive)

    (finding,) = found.findings
    assert (finding.harm, finding.path) == (Harm.CORRUPT, first(archive)["path"])
    assert (finding.image_id, finding.revision) == (first(archive)["image_id"], 1)
    assert (await verified(archive, quick=True)).told == []


@pytest.mark.parametrize("quick", [False, True])
async def test_a_cut_picture_is_corrupt(archive: Path, quick: bool):
    """A picture of another size is found by its size."""
    picture = one_picture(archive)
    picture.write_bytes(picture.read_bytes()[:-1])
    assert (await verified(archive, quick=quick)).told == [("corrupt", first(archive)["path"])]


@pytest.mark.parametrize("quick", [False, True])
async def test_what_is_not_there_is_missing(archive: Path, quick: bool):
    """Each missing file is named: a picture, a sidecar."""
    names = [str(first(archive)["path"]), str(first(archive)["sidecar"])]
    for name in names:
        (archive / name).unlink()
    assert (await verified(archive, quick=quick)).told == sorted(("missing", name) for name in names)


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("where", ["note.txt", "{folder}/copy.png", "{folder}/copy.json", "new/a.png", "journal/x.txt"])
async def test_what_nothing_tells_of_is_a_stray(archive: Path, where: str, quick: bool):
    """A file that nobody put there is named, wherever it lies, even if it is a copy of a good one."""
    name = where.format(folder=one_picture(archive).parent.relative_to(archive))
    (archive / name).parent.mkdir(exist_ok=True)
    shutil.copyfile(one_sidecar(archive) if name.endswith(".json") else one_picture(archive), archive / name)
    assert (await verified(archive, quick=quick)).told == [("stray", name)]


async def test_names_that_sort_around_a_slash_stay_in_step(archive: Path):
    """A folder's files and those of a folder whose name goes on after it are compared in one order."""
    folder = next(path for path in archive.iterdir() if "@" in path.name or (path.name[0].isalnum() and path.is_dir()))
    (archive / f"{folder.name}-b").mkdir()
    (archive / f"{folder.name}-b" / "x.png").write_bytes(b"x")
    (archive / f"{folder.name}.png").write_bytes(b"x")
    told = (await verified(archive)).told
    assert told == [("stray", f"{folder.name}-b/x.png"), ("stray", f"{folder.name}.png")]


async def test_what_cannot_be_read_is_unreadable(archive: Path):
    """What stands in a picture's place and is no file is told apart from one with other bytes."""
    picture = one_picture(archive)
    picture.unlink()
    picture.symlink_to("/nowhere")
    assert (await verified(archive)).told == [("unreadable", first(archive)["path"])]


async def test_an_altered_sidecar_is_named(archive: Path):
    """A sidecar that says something else, or spells it differently, is not the one that was written."""
    sidecar = one_sidecar(archive)
    whole = sidecar.read_bytes()
    for altered in (whole.replace(b'"prompt": "', b'"prompt": "no '), whole.replace(b"  ", b" ", 1), b"{", b""):
        sidecar.write_bytes(altered)
        assert (await verified(archive)).told == [("altered_sidecar", first(archive)["sidecar"])]


async def test_a_changed_line_of_the_journal_is_named_where_it_is(archive: Path):
    """One finding, in the file and at the line that was changed, and no picture is blamed for it."""
    for path in sorted((archive / "journal").iterdir()):
        whole = path.read_bytes()
        for line, part in enumerate(whole.splitlines(keepends=True)):
            changed = part.replace(b'"n":', b'"m":', 1) if line % 2 else part.replace(b'"sha256":"', b'"sha256":"0', 1)
            if changed == part:
                continue
            path.write_bytes(whole.replace(part, changed))
            found = await verified(archive)
            assert found.told == [("broken_chain", f"journal/{path.name}")]
            assert found.findings[0].detail.startswith(f"line {line + 1}:")
            if line > 5:
                break
        path.write_bytes(whole)


@pytest.mark.parametrize("which", [0, -1])
async def test_a_journal_that_is_gone_is_missed(archive: Path, which: int):
    """The first one is missed by the second, the last one by the manifest; the pictures are looked at all the same."""
    sorted((archive / "journal").iterdir())[which].unlink()
    found = await verified(archive)
    assert {harm for harm, _ in found.told} == {"broken_chain"}
    assert found.result.pictures == len({row["path"] for row in rows(archive, "revisions")})


async def test_without_any_journal_the_manifest_speaks(archive: Path):
    """The journal is missed, and damage is still found against the manifest."""
    shutil.rmtree(archive / "journal")
    one_sidecar(archive).write_bytes(one_sidecar(archive).read_bytes().replace(b'"format"', b'"formad"'))
    one_picture(archive).write_bytes(b"")
    found = await verified(archive)
    assert found.told == sorted(
        [
            ("altered_sidecar", first(archive)["sidecar"]),
            ("broken_chain", "journal"),
            ("corrupt", first(archive)["path"]),
        ]
    )


async def test_without_a_manifest_the_journal_speaks(archive: Path):
    """An auditor may have only files: the manifest is missed, and all else is looked at as ever."""
    picture = one_picture(archive)
    (archive / "manifest.db").unlink()
    found = await verified(archive)
    assert found.told == [("missing", "manifest.db")]
    assert found.result.sidecars
    picture.write_bytes(b"x" * picture.stat().st_size)
    assert (await verified(archive)).told == [
        ("corrupt", str(picture.relative_to(archive))),
        ("missing", "manifest.db"),
    ]


async def test_pictures_and_sidecars_alone_are_looked_at(archive: Path):
    """With neither manifest nor journal each sidecar still speaks for its picture."""
    picture = one_picture(archive)
    for path in archive.glob("manifest.db*"):
        path.unlink()
    shutil.rmtree(archive / "journal")
    assert (await verified(archive)).told == [("missing", "journal"), ("missing", "manifest.db")]
    picture.write_bytes(b"x" * picture.stat().st_size)
    assert ("corrupt", str(picture.relative_to(archive))) in (await verified(archive)).told


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("update images set prompt = prompt || '.' where revision = 1", "images"),
        ("update images set state = 'gone' where revision = 1", "state"),
        ("update images set width = width + 1", "width"),
        ("update revisions set document = replace(document, ':', ': ')", "document"),
        ("update revisions set fetched_at = '2026-01-01'", "fetched_at"),
        ("update workspaces set name = 'other'", "name"),
        ("update workspaces set hole = 1", "hole"),
        ("delete from images where revision = 2", "missing"),
        ("delete from revisions where revision = 2", "missing"),
        ("insert into failures values ('w', 'i', 'r', 1, 'a', 'b')", "does not tell"),
        ("update archive set archive_id = 'other'", "archive"),
        ("update archive set seal = 'other'", "line"),
        ("update revisions set sidecar = 'nowhere.json' where revision = 2", "sidecar"),
    ],
)
async def test_a_changed_value_of_the_manifest_is_named(archive: Path, sql: str, named: str):
    """Whatever value is changed, the finding says which; SQLite's own check would have seen none of these."""
    execute(archive, sql)
    found = await verified(archive)
    assert {(harm, path) for harm, path in found.told} == {("manifest", "manifest.db")}
    assert all(named in finding.detail for finding in found.findings)


@pytest.mark.parametrize("damage", [b"", b"not a database at all", None])
async def test_a_manifest_that_cannot_be_read_is_named(archive: Path, damage: bytes | None):
    """Empty, overwritten or torn: it is named, and the files are looked at all the same."""
    path = archive / "manifest.db"
    whole = path.read_bytes()
    path.write_bytes(damage if damage is not None else whole[:4096] + b"\xff" * 4096 + whole[8192:])
    found = await verified(archive)
    assert {(harm, name) for harm, name in found.told} == {("manifest", "manifest.db")}
    assert found.result.pictures


async def test_the_copy_of_the_manifest_is_looked_at(archive: Path):
    """It says what the manifest says; damaged or changed, it is named and not the manifest."""
    copy = archive / "manifest.db.backup"
    whole = copy.read_bytes()
    with closing(sqlite3.connect(copy)) as db, db:
        db.execute("update images set prompt = 'other'")
    assert {*(await verified(archive)).told} == {("manifest", copy.name)}
    copy.write_bytes(whole[:5000])
    assert {*(await verified(archive)).told} == {("manifest", copy.name)}


async def test_an_older_copy_of_the_manifest_is_fine(sim: Simulator, shelf: str, settings: Settings):
    """A copy is made after a run that changed something, where there is room; an older one is no damage."""
    await back_up(settings)
    archive = settings.archive.path
    older = (archive / "manifest.db.backup").read_bytes()
    await back_up(settings)
    assert (archive / "manifest.db.backup").read_bytes() == older
    sim.workspaces[shelf].add()
    await back_up(settings)
    assert (archive / "manifest.db.backup").read_bytes() != older
    (archive / "manifest.db.backup").write_bytes(older)
    assert (await verified(archive)).told == []


async def test_the_marker_is_looked_at(archive: Path):
    """Another marker, a changed one, one that cannot be read, none at all."""
    marker = archive / "syncer-archive.json"
    whole = marker.read_bytes()
    fields = json.loads(whole)
    for altered in (
        whole.replace(b"20", b"21", 1),
        b"{}",
        b"\xff",
        json.dumps(fields).encode(),
    ):
        marker.write_bytes(altered)
        assert (await verified(archive)).told == [("marker", "syncer-archive.json")]
    marker.unlink()
    assert (await verified(archive)).told == [("missing", "syncer-archive.json")]


async def test_a_folder_without_an_archive_is_not_clean(tmp_path: Path):
    """A disk that is not mounted does not pass for a whole archive."""
    with pytest.raises(SafetyStop):
        await verified(tmp_path)


async def test_the_parts_together_are_the_whole(archive: Path):
    """Each image is in exactly one of the parts, the same one every time, and damage is found by that part alone."""
    picture = one_picture(archive)
    picture.write_bytes(b"x" * picture.stat().st_size)
    parts = [await verified(archive, part=Part(number, 5)) for number in range(1, 6)]
    again = [await verified(archive, part=Part(number, 5)) for number in range(1, 6)]
    assert sum(part.result.pictures for part in parts) == (await verified(archive)).result.pictures
    assert [part.result.pictures for part in parts] == [part.result.pictures for part in again]
    assert sum(len(part.findings) for part in parts) == 1


async def test_a_backup_and_a_verification_exclude_each_other(archive: Path, monkeypatch: pytest.MonkeyPatch):
    """What is just being committed would look like a stray."""
    monkeypatch.setattr(lock_room, "PATIENCE", 0)
    with (archive / ".staging" / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(AlreadyRunning):
            await verified(archive)


async def test_after_a_crash_there_is_no_false_alarm(sim: Simulator, shelf: str, settings: Settings):
    """Rows that were not written yet are told as what the next backup takes up, and it does; nothing is damage."""
    await back_up(settings)
    archive = settings.archive.path
    before = (archive / "manifest.db").read_bytes()
    images = sim.workspaces[shelf]
    images.add()
    images.delete(images.ids[3])
    sim.faults.on("content", faults.status(404), image=images.add())
    await back_up(settings)
    (archive / "manifest.db").write_bytes(before)  # as if it had been killed before its rows were written
    found = await verified(archive)
    assert found.told == [("behind", "manifest.db")]
    assert found.result.damage == 0

    await back_up(settings)
    assert (await verified(archive)).told == []
    assert rows(archive, "failures")[0]["attempts"] == 2


async def test_a_pair_that_nothing_tells_of_is_no_damage(sim: Simulator, shelf: str, settings: Settings):
    """A run that was killed right after its pictures were committed leaves a pair; the next backup takes it up."""
    await back_up(settings)
    archive = settings.archive.path
    journals, manifest = set((archive / "journal").iterdir()), (archive / "manifest.db").read_bytes()
    sim.workspaces[shelf].add()
    await back_up(settings)
    for path in {archive / "manifest.db.backup", *(archive / "journal").iterdir()} - journals:
        path.unlink()
    (archive / "manifest.db").write_bytes(manifest)
    found = await verified(archive)
    assert [harm for harm, _ in found.told] == ["unrecorded"]
    assert found.result.damage == 0

    await back_up(settings)
    assert (await verified(archive)).told == []


async def test_a_commit_that_was_killed_is_no_damage(archive: Path):
    """Pictures that have their names while their sidecars are still staged wait for the next backup."""
    row = first(archive)
    staged = archive / ".staging" / "1.json"
    one_sidecar(archive).rename(staged)
    (archive / ".staging" / "2.plan").write_text(json.dumps({"1.json": row["sidecar"]}))
    for path in (*(archive / "journal").iterdir(), *archive.glob("manifest.db*")):
        path.unlink()
    found = await verified(archive)
    assert ("stray", row["path"]) not in found.told
    assert ("unrecorded", row["path"]) in found.told or ("missing", "journal") in found.told


async def test_a_manifest_of_an_earlier_version_is_no_damage(archive: Path):
    """It is checked as far as it goes; the next backup brings it up to date."""
    with closing(sqlite3.connect(archive / "manifest.db")) as db, db:
        db.executescript(
            "drop table verifications; drop table losses; alter table archive drop column seal;"
            " delete from _sqlite_migrations where name not like 'm001%'; pragma user_version = 1"
        )
    assert (await verified(archive)).told == [("behind", "manifest.db")]


async def test_an_archive_without_sidecars_is_verified(configured, sim: Simulator, shelf: str):
    """Where sidecars are switched off, pictures are looked at by the journal, and none of them is missed."""
    settings = configured(archive={"sidecars": False})
    await back_up(settings)
    archive = settings.archive.path
    assert (await verified(archive)).told == []
    one_picture(archive).write_bytes(b"x")
    assert (await verified(archive)).told == [("corrupt", first(archive)["path"])]


async def test_a_read_only_copy_is_verified(archive: Path, monkeypatch: pytest.MonkeyPatch):
    """As an auditor without the right to write; nothing of the manifest's log is passed over, nothing is made."""
    copy = archive.parent / "copy"
    with closing(sqlite3.connect(archive / "manifest.db")) as writer:
        writer.execute("pragma wal_autocheckpoint = 0")
        writer.execute("update images set prompt = 'only in the log' where revision = 2")
        writer.commit()
        shutil.copytree(archive, copy)
    for path in [copy, *copy.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write everywhere
    before = sorted(os.walk(copy))
    assert {name for _, name in (await verified(copy)).told} == {"manifest.db"}
    assert sorted(os.walk(copy)) == before


async def test_an_old_journal_is_read_to_its_end(archive: Path):
    """Each line of the journal is counted."""
    found = await verified(archive)
    assert found.result.lines == len([*journal.read(archive)])
