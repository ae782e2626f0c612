"""What `status` and `show` tell of uploads, with no service anywhere; and what `check` says of the watch folders."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_parts import Ran, Syncer
from sqlite_utils import Database
from support import rows

from syncer.model import UploadState

UNSETTLED = [state for state in UploadState if not state.settled]


def sent(archive: Path, state: str, number: int = 1, **columns: Any) -> dict[str, Any]:
    """Have an upload to the archive's first workspace in the manifest, and return its row."""
    folder = archive.parent / "archive"
    row: dict[str, Any] = {
        "workspace_id": rows(folder, "workspaces")[0]["workspace_id"],
        "sha256": f"{number:064x}",
        "state": str(state),
        "source": f"picture {number}.png",
        "bytes": 3 * 2**20,
        "image_id": None,
        "served_sha256": None,
        "reason": None,
        "intended_at": f"2026-11-22T10:{number:02}:00Z",
        "settled_at": f"2026-11-22T11:{number:02}:00Z",
    } | columns
    db = Database(folder / "manifest.db")
    with db.conn:
        db.table("uploads").insert(row)
    db.close()
    return row


# --- status -------------------------------------------------------------------------------------------


def test_status_counts_uploads(syncer: Syncer, archive: Path):
    """Each workspace's, by state: in words for people, by the state's own name for programs, and all in the summary."""
    for number, state in enumerate(UploadState):
        sent(archive, state, number)

    told = syncer("status").out
    ran = syncer("status", "--json")

    line = next(line for line in told.splitlines() if line.strip().startswith("uploads "))
    assert line.split(maxsplit=1)[1] == (
        "1 done, 1 done in other bytes, 1 pending, 1 uploaded but not proven yet, 2 unknown, 1 undecided, 1 refused"
    )
    counts = dict.fromkeys(UploadState, 1)
    assert [line["uploads"] for line in ran.lines if line["type"] == "workspace"].count(counts) == 1
    assert ran.summary["uploads"] == counts


def test_status_lists_the_uploads_that_are_not_settled(syncer: Syncer, archive: Path):
    """With their reasons, a person's business first; what is done is counted only."""
    stored = [sent(archive, state, number, reason=f"because {number}") for number, state in enumerate(UploadState)]

    told = syncer("status").out
    ran = syncer("status", "--json")

    assert f"{len(UNSETTLED)} uploads are not settled, 1 of them for you to decide:" in told
    below = told.partition("not settled")[2]
    first = next(row for row in stored if row["state"] == "undecided")
    assert below.splitlines()[1].strip().startswith(f"{first['source']}  undecided: because")
    assert all((row["source"] in below) == (row["state"] in UNSETTLED) for row in stored)
    as_json = [line for line in ran.lines if line["type"] == "upload"]
    assert {line["state"] for line in as_json} == set(UNSETTLED)
    assert all({**row, "type": "upload"} in as_json for row in stored if row["state"] in UNSETTLED)


def test_status_prints_the_two_commands_that_settle_an_upload(syncer: Syncer, archive: Path, tmp_path: Path):
    """Ready to be copied into a shell: with the configuration in use, and the image where only one can be meant."""
    row = sent(archive, UploadState.UNDECIDED, 1)
    known = sent(archive, UploadState.UNDECIDED, 2, image_id="img 2")
    here = tmp_path / "a folder" / "syncer.toml"
    here.parent.mkdir()
    here.write_text(archive.read_text())

    plain, named = syncer("status").out, syncer("status", "--config", here).out

    where = ["--workspace", row["workspace_id"]]
    arrived = ["syncer", "upload", "--arrived", "IMAGE", row["sha256"], *where]
    lost = ["syncer", "upload", "--lost", row["sha256"], *where]
    assert {shlex.join(arrived), shlex.join(lost)} <= commands(plain)
    assert shlex.join(["syncer", "upload", "--arrived", "img 2", known["sha256"], *where]) in commands(plain)
    assert {shlex.join([*words, "--config", str(here)]) for words in (arrived, lost)} <= commands(named)


def commands(told: str) -> set[str]:
    """What stands behind the arrows."""
    return {line.partition(":  ")[2] for line in told.splitlines() if "→" in line}


def test_status_lists_no_more_than_a_person_reads(syncer: Syncer, archive: Path):
    """Twenty, those to be decided among them, and how many more there are; programs are given all of them."""
    for number in range(24):
        sent(archive, UploadState.REFUSED, number)
    sent(archive, UploadState.UNDECIDED, 24)

    told = syncer("status").out

    assert told.count("picture ") == 20
    assert "undecided" in told
    assert "and 5 more" in told
    assert len([line for line in syncer("status", "--json").lines if line["type"] == "upload"]) == 25


def test_an_undecided_upload_is_no_fault_of_the_backup(syncer: Syncer, archive: Path):
    """It changes neither what is complete, nor what is stale, nor the exit code."""
    sent(archive, UploadState.UNDECIDED)
    db = Database(archive.parent / "archive" / "manifest.db")
    with db.conn:
        db.conn.execute("update runs set complete = 1")
        db.conn.execute("delete from failures")
    db.close()

    ran = syncer("status", "--json", "--max-age", "26h")

    assert (ran.code, ran.summary["complete"], ran.summary["stale"]) == (0, True, False)
    assert ran.summary["uploads"] == {"undecided": 1}


def test_what_an_upload_is_called_is_harmless(syncer: Syncer, archive: Path):
    """The name of a dropped file, and the service's words, cannot forge a line or colour one."""
    sent(archive, UploadState.REFUSED, source="a\x1b[31m\n[bold]b.png", reason="no\x07\r[/]")

    told = syncer("status").out

    assert not any(char in told for char in "\x1b\x07\r")
    assert "[bold]b.png" in told


def test_uploads_of_an_older_manifest(syncer: Syncer, archive: Path):
    """There are none: a manifest that has not been migrated yet is looked into all the same."""
    db = Database(archive.parent / "archive" / "manifest.db")
    with db.conn:
        db.conn.execute("delete from _sqlite_migrations where name like 'm004%'")
        db.conn.execute("pragma user_version = 3")
    db.close()

    ran = syncer("status", "--json")

    assert ran.code == 0
    assert ran.summary["uploads"] == {}


# --- show ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (UploadState.DONE, ""),
        (UploadState.REENCODED, "; the service serves the same picture in other bytes"),
        (UploadState.UPLOADED, "; not proven yet"),
        (UploadState.REFUSED, "; not the same picture: it is upside down"),
    ],
)
def test_show_tells_what_an_image_was_made_of(syncer: Syncer, archive: Path, state: UploadState, words: str):
    """The file's name and hash and when it was uploaded, in words and as JSON."""
    workspace = rows(archive.parent / "archive", "workspaces")[0]["workspace_id"]
    image = rows(archive.parent / "archive", "images", f"workspace_id = '{workspace}'")[0]["image_id"]
    row = sent(archive, state, image_id=image, reason="it is upside down")

    told = " ".join(syncer("show", image).out.split())
    (line,) = syncer("show", image, "--json").lines

    assert f"uploaded from picture 1.png, sha256 {row['sha256']}, on 2026-11-22T10:01:00{words} revisions" in told
    assert line["uploads"] == [row]


def test_show_of_an_image_that_was_not_uploaded(syncer: Syncer, archive: Path):
    """Says nothing of uploads."""
    image = rows(archive.parent / "archive", "images")[0]["image_id"]

    assert "uploaded" not in syncer("show", image).out
    assert syncer("show", image, "--json").lines[0]["uploads"] == []


# --- check --------------------------------------------------------------------------------------------


def watched(config: Path, folder: Path) -> Path:
    """Give the configuration's workspace a name and this folder to watch."""
    config.write_text(f'{config.read_text()}\nname = "brand"\nwatch = {json.dumps(str(folder))}')
    return folder


def checked(ran: Ran) -> dict[str, Any]:
    (line,) = (line for line in ran.lines if line["name"] == "watch brand")
    return line


def test_a_watch_folder_that_can_be_used(syncer: Syncer, config: Path, tmp_path: Path):
    """Has its line, and nothing is written there: somebody may be watching."""
    folder = watched(config, tmp_path / "drop")
    folder.mkdir()
    before = folder.stat().st_mtime_ns

    ran = syncer("check", "--json")

    assert ran.code == 0
    assert checked(ran)["ok"]
    assert folder.stat().st_mtime_ns == before


def missing(folder: Path) -> None:
    pass


def a_file(folder: Path) -> None:
    folder.write_text("")


def in_the_archive_by_a_link(folder: Path) -> None:
    (folder.parent / "archive" / "inside").mkdir(parents=True)
    folder.symlink_to(folder.parent / "archive" / "inside")


@pytest.mark.parametrize(
    ("make", "words", "code"),
    [(missing, "is not there", 3), (a_file, "is not a folder", 3), (in_the_archive_by_a_link, "overlap", 2)],
)
def test_a_watch_folder_that_cannot_be_used(
    syncer: Syncer, config: Path, tmp_path: Path, make: Callable[[Path], None], words: str, code: int
):
    """Is told, with what to do; the service is looked at all the same."""
    make(watched(config, tmp_path / "drop"))

    ran = syncer("check", "--json")

    assert ran.code == code
    assert words in checked(ran)["detail"]
    assert checked(ran)["hint"]
    assert "clock" in {line["name"] for line in ran.lines}


@pytest.mark.parametrize(
    ("call", "after", "words", "code"),
    [
        ("scandir", "keep", "cannot be read", 3),
        ("access", "move", "cannot be written", 3),
        ("access", "keep", "what is refused stays", 0),
    ],
)
def test_a_watch_folder_without_the_rights(
    syncer: Syncer,
    config: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    after: str,
    words: str,
    code: int,
):
    """Is told: root, as whom tests may run, is never refused anything, so it is refused here in the kernel's place."""
    folder = watched(config, tmp_path / "drop")
    config.write_text(f'{config.read_text()}\nwatch_after = "{after}"')
    folder.mkdir()
    real = getattr(os, call)

    def refuse(path: Any, *arguments: Any, **options: Any) -> Any:
        if path != folder:
            return real(path, *arguments, **options)
        if call == "access":
            return False
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, call, refuse)

    ran = syncer("check", "--json")

    assert ran.code == code
    assert words in checked(ran)["detail"]
