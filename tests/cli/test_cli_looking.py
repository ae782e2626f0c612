"""`syncer status`, `list` and `show`: looking into an archive, with no service anywhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cli_parts import Syncer
from sqlite_utils import Database
from support import rows

ESCAPES = "\x1b\x07\u202e"


def images(config: Path, where: str | None = None) -> list[str]:
    return [row["image_id"] for row in rows(config.parent / "archive", "images", where)]


# --- status -------------------------------------------------------------------------------------------


def test_status_before_the_first_backup(syncer: Syncer, archive: Path, tmp_path: Path):
    """Each configured workspace is shown with nothing held; it is stale for any age that is asked for."""
    empty = ["--set", f"archive.path={tmp_path / 'empty'}"]

    ran = syncer("status", *empty)

    assert ran.code == 0
    assert ran.out.count("never") == 6
    assert syncer("status", "--max-age", "26h", *empty).code == 3
    assert not (tmp_path / "empty").exists()


def test_status_tells_what_is_held_and_owed(syncer: Syncer, archive: Path):
    """For people: what is held, how the last run went, and each failure with its reason."""
    ran = syncer("status")

    (owed,) = rows(archive.parent / "archive", "failures")
    assert ran.code == 0
    assert "not complete: 1 failed" in ran.out
    assert "1 of the images deleted at the service, kept here" in ran.out
    assert "1 image owed" in ran.out
    assert owed["image_id"] in ran.out
    assert "1 try," in ran.out


def test_status_for_programs(syncer: Syncer, archive: Path):
    """A line a workspace, a line a failure, and the sums; one debt anywhere means not complete."""
    ran = syncer("status", "--json")

    workspaces = [line for line in ran.lines if line["type"] == "workspace"]
    assert [line["type"] for line in ran.lines] == ["workspace", "workspace", "failure"]
    assert ran.summary["complete"] is False
    assert ran.summary["stale"] is False
    assert ran.summary["owed"] == 1
    assert ran.summary["gone"] == 1
    for name in ("live", "bytes", "revisions"):
        assert ran.summary[name] == sum(line[name] for line in workspaces) > 0
    assert all(line["age_seconds"] >= 0 for line in workspaces)


def test_status_finds_out_that_it_stopped(syncer: Syncer, archive: Path):
    """An age is measured from the last complete run; a run since that was not complete does not count."""
    fresh = syncer("status", "--max-age", "26h")
    stale = syncer("status", "--max-age", "0s", "--json")

    assert fresh.code == 0
    assert stale.code == 3
    assert stale.summary["stale"] is True
    assert "stale" in syncer("status", "--max-age", "0s").out


@pytest.mark.parametrize("later", [False, True])
def test_a_run_under_a_wrong_clock_silences_no_monitor(syncer: Syncer, archive: Path, later: bool):
    """One that ends in years is no good run of now; and a good one after it counts."""
    runs(archive, ("full", True), ("full", True))
    db = Database(archive.parent / "archive" / "manifest.db")
    with db.conn:
        where = "run = '1'" if later else "1"
        db.execute(f"update runs set ended = '2099-01-01T00:00:00Z' where {where}")
    db.close()

    ran = syncer("status", "--max-age", "26h")

    assert ran.code == (0 if later else 3)
    assert ("stale" in ran.out) is not later


def test_an_age_that_cannot_be_read(syncer: Syncer, archive: Path):
    """Is a mistake in usage: a monitor that checks nothing must not be silent."""
    ran = syncer("status", "--max-age", "often")

    assert ran.code == 2
    assert "--max-age" in ran.err


def runs(archive: Path, *modes_and_ends: tuple[str, bool | None]) -> None:
    """Give each workspace these runs instead of its own, an hour apart, the last one now; None did not end."""
    now = datetime.now(UTC)
    db = Database(archive.parent / "archive" / "manifest.db")
    with db.conn:
        db.table("runs").delete_where()
        for row in list(db.table("workspaces").rows):
            for place, (mode, complete) in enumerate(modes_and_ends, start=1):
                at = (now - timedelta(hours=len(modes_and_ends) - place)).isoformat(timespec="seconds")
                ended = None if complete is None else at
                values = {"workspace_id": row["workspace_id"], "mode": mode, "started": at, "ended": ended}
                db.table("runs").insert({"run": f"{place}", **values, "complete": complete, "why": ""})
        db.table("failures").delete_where()
    db.close()


@pytest.mark.parametrize(
    ("history", "code", "complete"),
    [
        ([("full", True), ("quick", True)], 0, True),
        ([("full", True), ("full", False), ("quick", True), ("quick", True)], 3, False),
        ([("full", False), ("quick", True)], 3, False),
        ([("full", True), ("full", None), ("quick", True)], 3, False),
        ([("full", False), ("full", True), ("quick", True)], 0, True),
        ([("quick", True), ("quick", False)], 0, False),
        ([("quick", True), ("quick", True)], 0, True),
    ],
    ids=["good", "stopped", "never good", "killed", "good again", "quick ones only, failed", "quick ones only"],
)
def test_quick_passes_do_not_hide_a_full_one_that_was_not_complete(
    syncer: Syncer, archive: Path, history: list[tuple[str, bool | None]], code: int, complete: bool
):
    """A nightly full pass that stops at the deletion brake is seen, whatever runs every 15 minutes."""
    runs(archive, *history)

    ran = syncer("status", "--max-age", "5400s", "--json")

    assert (ran.code, ran.summary["stale"], ran.summary["complete"]) == (code, code == 3, complete)
    told = "the latest full pass was not complete" in syncer("status").out
    assert told == any(line["full_incomplete"] for line in ran.lines if line["type"] == "workspace") == (code == 3)


def test_a_full_pass_under_way_is_not_held_against_it(syncer: Syncer, archive: Path):
    """It has not stopped: the passes before it still count for the age, though nothing says "complete" yet."""
    runs(archive, ("full", True), ("quick", True), ("full", None))

    ran = syncer("status", "--max-age", "5400s", "--json")

    assert (ran.code, ran.summary["complete"]) == (0, False)


def test_a_workspace_that_is_not_configured_any_more_is_not_stale(syncer: Syncer, archive: Path):
    """It is shown, and said to be so; with "*" every workspace that is held counts."""
    folder = archive.parent / "archive"
    removed, kept = (row["workspace_id"] for row in rows(folder, "workspaces"))
    runs(archive, ("full", True))
    db = Database(folder / "manifest.db")
    with db.conn:
        db.conn.execute("update runs set complete = 0 where workspace_id = ?", [removed])
    db.close()
    text = archive.read_text()
    archive.write_text(text.replace(f'[[workspaces]]\nid = "{removed}"', ""))

    ran = syncer("status", "--max-age", "26h", "--json")

    assert (ran.code, ran.summary["stale"]) == (0, False)
    told = {line["workspace_id"]: line["configured"] for line in ran.lines if line["type"] == "workspace"}
    assert told == {removed: False, kept: True}
    assert syncer("status").out.count("not configured any more") == 1
    archive.write_text(text.replace(f'id = "{removed}"', 'id = "*"'))
    assert syncer("status", "--max-age", "26h").code == 3


# --- list ---------------------------------------------------------------------------------------------


def test_list_for_a_pipe(syncer: Syncer, archive: Path):
    """A line an image with tabs between seven fields, the newest first; the count goes to stderr."""
    ran = syncer("list")

    lines = [line.split("\t") for line in ran.out.splitlines()]
    assert ran.code == 0
    assert sorted(line[0] for line in lines) == sorted(images(archive))
    assert {len(line) for line in lines} == {7}
    assert {line[1] for line in lines} == {"live", "gone"}
    times = [line[2] for line in lines]
    assert times == sorted(times, reverse=True)
    assert f"{len(lines)} images" in ran.err


def test_list_narrows(syncer: Syncer, archive: Path):
    """By workspace, state, model, words and number; nothing that matches is no error."""
    (gone,) = images(archive, "state = 'gone'")
    first = rows(archive.parent / "archive", "images")[0]
    mine = images(archive, f"workspace_id = '{first['workspace_id']}'")

    assert [line["image_id"] for line in syncer("list", "--state", "gone", "--json").lines] == [gone]
    assert sorted(line["image_id"] for line in syncer("list", first["workspace_id"], "--json").lines) == sorted(mine)
    assert all(line["model"] == first["model"] for line in syncer("list", "--model", first["model"], "--json").lines)
    assert len(syncer("list", "--text", "kite", "--json").lines) == 1
    assert len(syncer("list", "--limit", "2", "--json").lines) == 2
    assert syncer("list", env={"SYNCER_LIST_LIMIT": "1"}).out.count("\n") == 1
    nothing = syncer("list", "--text", "no such words", "--json")
    assert (nothing.code, nothing.lines, nothing.summary["images"]) == (0, [], 0)


@pytest.mark.parametrize("wrong", [["nobody"], ["--limit", "-1"], ["--limit", "many"], ["--state", "lost"]])
def test_list_refuses_what_it_does_not_know(syncer: Syncer, archive: Path, wrong: list[str]):
    """With exit code 2, and without a line of output."""
    ran = syncer("list", *wrong)

    assert (ran.code, ran.out) == (2, "")


# --- show ---------------------------------------------------------------------------------------------


def test_show_tells_all_that_is_kept(syncer: Syncer, archive: Path):
    """By the beginning of its id: the file, every revision, and the service's document."""
    (row,) = rows(archive.parent / "archive", "images", "path like '%.r2.%'")

    ran = syncer("show", row["image_id"][:13])

    assert ran.code == 0
    assert row["image_id"] in ran.out
    assert f"{archive.parent / 'archive'}/{row['path']}" in ran.out
    assert Path(row["path"]).name in ran.out
    assert row["sha256"] in ran.out
    assert '"generationId"' in ran.out
    assert ran.out.count("sha256 ") >= 2


def test_show_for_programs(syncer: Syncer, archive: Path):
    """The row, the document as JSON, and the revisions with theirs."""
    (row,) = rows(archive.parent / "archive", "images", "path like '%.r2.%'")

    (line,) = syncer("show", row["image_id"], "--json").lines

    assert line["image_id"] == line["document"]["id"] == row["image_id"]
    assert [one["revision"] for one in line["revisions"]] == [1, 2]
    assert line["revisions"][0]["sha256"] != line["revisions"][1]["sha256"] == line["sha256"]


def test_show_wants_one_image(syncer: Syncer, archive: Path):
    """Several that begin so are named, with exit code 2; none at all is 3."""
    several = syncer("show", "")
    none = syncer("show", "no-such-image")

    assert several.code == 2
    assert all(image in several.err for image in images(archive))
    assert none.code == 3
    assert "syncer list" in none.err


@pytest.mark.parametrize("number", ["1e999", "9" * 5000], ids=["beyond a float", "5,000 digits"])
def test_show_takes_numbers_of_any_size(syncer: Syncer, archive: Path, number: str):
    """As the service wrote them for people; for programs as text, where no number of theirs could hold them."""
    image = images(archive)[0]
    db = Database(archive.parent / "archive" / "manifest.db")
    with db.conn:
        document = '{"id":"x","big":%s,"small":[7,-0.5]}' % number  # noqa: UP031  braces all around
        db.conn.execute("update revisions set document = ? where image_id = ?", [document, image])
    db.close()

    assert f'"big": {number},' in syncer("show", image).out
    (line,) = syncer("show", image, "--json").lines
    assert line["document"] == {"id": "x", "big": number, "small": [7, -0.5]}


# --- all of them --------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["list", "show"])
def test_control_characters_are_harmless(syncer: Syncer, archive: Path, command: str):
    """A prompt cannot colour, beep, turn round or forge a line: not on a terminal, and not in a pipe."""
    (image,) = images(archive, "prompt like '%Kite%'")

    ran = syncer(command, *([image] if command == "show" else []))
    as_json = syncer(command, *([image] if command == "show" else []), "--json")

    assert "Kite" in ran.out
    assert not any(escape in ran.out for escape in ESCAPES)
    assert "[bold]on" in ran.out
    assert "\x1b" not in as_json.out
    assert any(line.get("prompt") == "A\x1b[31mKite\x07\n[bold]on \u202ea line[/]" for line in as_json.lines)


def without_marker(folder: Path) -> None:
    (folder / "syncer-archive.json").unlink()


def without_manifest(folder: Path) -> None:
    (folder / "manifest.db").unlink()


def damaged(folder: Path) -> None:
    (folder / "manifest.db").write_bytes(b"no database" * 999)


@pytest.mark.parametrize("command", [["status"], ["list"], ["show", "x"]], ids=" ".join)
@pytest.mark.parametrize(("spoil", "code"), [(without_marker, 5), (without_manifest, 5), (damaged, 9)])
def test_an_archive_that_is_not_whole_is_never_an_empty_one(
    syncer: Syncer, archive: Path, command: list[str], spoil: Callable[[Path], None], code: int
):
    """A disk that is not mounted, a file that was lost: said, with its own exit code, and a way out."""
    spoil(archive.parent / "archive")

    ran = syncer(*command)

    assert (ran.code, ran.out) == (code, "")
    assert "→" in ran.err


@pytest.mark.parametrize("command", [["status"], ["list"], ["show", "no-such-image"]], ids=" ".join)
def test_json_is_json(syncer: Syncer, archive: Path, command: list[str]):
    """Every line on stdout is an object with a type."""
    for line in syncer(*command, "--json").out.splitlines():
        assert json.loads(line)["type"]
