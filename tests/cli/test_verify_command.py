"""`syncer verify` and `syncer rebuild`: what they print, for people and for programs, and their exit codes."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path

import pytest
from cli_parts import Syncer
from support import configure, rows

from syncer.archive import lock as lock_room
from syncer.simulator import faults
from syncer.simulator.server import Simulator


def picture(config: Path) -> Path:
    folder = config.parent / "archive"
    return folder / str(rows(folder, "images", "state = 'live' and revision = 1")[0]["path"])


def test_a_whole_archive_is_told_in_a_line(syncer: Syncer, archive: Path):
    """No damage, how much was looked at, exit 0; stdout is for data. No credentials are asked for."""
    (archive.parent / "client_secret").unlink()
    ran = syncer("verify")
    assert ran.code == 0
    assert ran.out == ""
    assert "No damage." in ran.err
    files = {row["path"] for row in rows(archive.parent / "archive", "revisions")}
    assert f"{len(files)} pictures" in ran.err


def test_damage_is_told_and_ends_with_4(syncer: Syncer, archive: Path):
    """Each finding by kind and path, as a line for people and as one for programs; the last is the summary."""
    damaged = picture(archive)
    name = str(damaged.relative_to(archive.parent / "archive"))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    ran = syncer("verify", "--json")
    (finding,) = ran.lines
    assert ran.code == ran.summary["exit_code"] == 4
    assert (finding["type"], finding["finding"], finding["path"]) == ("finding", "corrupt", name)
    assert finding["damage"] is True
    assert ran.summary["damage"] == 1
    assert ran.summary["findings"] == {"corrupt": 1}
    assert name in ran.err
    assert syncer("verify", "--quick").code == 0


def test_the_parts_of_a_month(syncer: Syncer, archive: Path):
    """Thirty parts together look at every picture once."""
    whole = syncer("verify", "--json").summary
    parts = [syncer("verify", "--json", "--subset", f"{day}/5").summary for day in range(1, 6)]
    assert sum(part["pictures"] for part in parts) == whole["pictures"]
    assert sum(part["sidecars"] for part in parts) == whole["sidecars"]


def test_reading_can_be_slowed_down(syncer: Syncer, archive: Path):
    """So that a disk that others need stays theirs."""
    size = syncer("verify", "--json").summary["bytes"]
    started = time.monotonic()
    assert syncer("verify", "--bwlimit", f"{size}B").code == 0
    assert time.monotonic() - started > 0.7


@pytest.mark.parametrize("option", [("--subset", "0/3"), ("--subset", "4/3"), ("--subset", "x"), ("--bwlimit", "fast")])
def test_nonsense_is_usage(syncer: Syncer, archive: Path, option: tuple[str, str]):
    """Exit 2, with an example of what is understood."""
    ran = syncer("verify", *option)
    assert ran.code == 2
    assert "for example" in ran.err


def test_exit_codes_of_what_is_in_the_way(syncer: Syncer, archive: Path, monkeypatch: pytest.MonkeyPatch):
    """6 while a backup holds the archive, 5 where there is no archive."""
    monkeypatch.setattr(lock_room, "PATIENCE", 0)
    folder = archive.parent / "archive"
    with (folder / ".staging" / "lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert syncer("verify").code == 6
        assert syncer("rebuild").code == 6
    folder.rename(folder.with_name("elsewhere"))
    assert syncer("verify").code == 5
    assert syncer("rebuild").code == 5


def test_rebuild_tells_what_it_made(syncer: Syncer, archive: Path):
    """How many rows, and where the old manifest lies; without credentials; exit 0."""
    (archive.parent / "client_secret").unlink()
    folder = archive.parent / "archive"
    before = rows(folder, "images")
    ran = syncer("rebuild", "--json")
    assert ran.code == 0
    assert ran.summary["images"] == len(before)
    assert (folder / ran.summary["evidence"] / "manifest.db").exists()
    assert rows(folder, "images") == before
    assert "Rebuilt:" in ran.err


def test_rebuild_tells_what_it_could_not_believe(syncer: Syncer, archive: Path):
    """A damaged sidecar is named, and the exit code says damage."""
    folder = archive.parent / "archive"
    sidecar = rows(folder, "images")[0]["sidecar"]
    (folder / sidecar).write_bytes(b"{}")
    ran = syncer("rebuild", "--json")
    assert ran.code == ran.summary["exit_code"] == 4
    assert [line["path"] for line in ran.lines] == [sidecar]


def test_repair_tells_its_plan_and_what_became_of_it(syncer: Syncer, sim: Simulator, shelf: str, config: Path):
    """What is put back, what is lost for ever; a loss stays in `status`."""
    assert syncer("backup").code == 0
    folder = config.parent / "archive"
    held, gone = rows(folder, "images")[:2]
    (folder / held["path"]).write_bytes(b"damaged")
    (folder / gone["path"]).unlink()
    sim.workspaces[shelf].delete(gone["image_id"])

    ran = syncer("verify", "--repair", "--json")

    assert ran.code == 4
    told = [(line["repair"], line["path"]) for line in ran.lines if line["type"] == "repair"]
    assert sorted(told) == sorted(
        [
            ("will_repair", held["path"]),
            ("will_repair", gone["path"]),
            ("repaired", held["path"]),
            ("lost", gone["path"]),
        ]
    )
    assert (ran.summary["repaired"], ran.summary["lost"]) == (1, 1)
    status = syncer("status", "--json")
    assert [line["path"] for line in status.lines if line["type"] == "loss"] == [gone["path"]]
    assert status.summary["lost"] == 1
    assert gone["path"] in syncer("status").out


@pytest.mark.parametrize("command", [["verify", "--repair"], ["verify", "--remote"], ["rebuild"]], ids=" ".join)
def test_no_archive_is_made_where_none_is(syncer: Syncer, config: Path, command: list[str]):
    """A disk that is not mounted, a mistyped path: exit 5, and not one file or folder is made."""
    folder = config.parent / "archive"

    ran = syncer(*command)

    assert ran.code == 5
    assert "there is no archive here" in ran.err
    assert "mounted" in ran.err
    assert not folder.exists()

    folder.mkdir()  # an empty mount point
    assert syncer(*command).code == 5
    assert list(folder.iterdir()) == []
    assert syncer("backup").code == 0


@pytest.mark.parametrize("option", ["--repair", "--remote"])
def test_an_archive_without_its_marker_or_manifest_is_left_alone(syncer: Syncer, config: Path, option: str):
    """What is missing is named, with exit code 5."""
    assert syncer("backup").code == 0
    folder = config.parent / "archive"
    for name, told in (("manifest.db", "syncer rebuild"), ("syncer-archive.json", "the archive's marker is missing")):
        (folder / name).rename(config.parent / name)
        ran = syncer("verify", option)
        assert (ran.code, told in ran.err) == (5, True)
        assert not (folder / name).exists()
        (config.parent / name).rename(folder / name)
    assert syncer("verify", option).code == 0


def test_a_service_that_answers_nothing_is_8_for_a_comparison(syncer: Syncer, sim: Simulator, shelf: str, config: Path):
    """As for a backup; where only some images have no answer it is 3."""
    configure(sim, config.parent, [shelf], limits={"retries": 0})
    assert syncer("backup").code == 0
    sim.faults.on("*", faults.status(503))
    assert syncer("verify", "--remote").code == 8
    sim.faults.clear()
    sim.faults.on("content", faults.status(403), image=sim.workspaces[shelf].ids[0])
    assert syncer("verify", "--remote").code == 3
