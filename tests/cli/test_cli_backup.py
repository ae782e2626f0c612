"""`syncer backup`: what it prints, for people and for programs, and its exit code. The copying has its own tests."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_parts import Syncer
from support import configure, rows

from syncer.archive.lock import held
from syncer.simulator import faults
from syncer.simulator.server import Simulator

PARTS = ("new", "changed", "unchanged", "filtered", "failed")


def test_people_are_told_on_stderr(syncer: Syncer, sim: Simulator, shelf: str, config: Path):
    """What was copied, that it is complete, and where it lies; stdout is for data."""
    ran = syncer("backup")

    assert ran.code == 0
    assert ran.out == ""
    assert f"{len(sim.workspaces[shelf])} listed = {len(sim.workspaces[shelf])} new" in ran.err
    assert "Complete." in ran.err
    assert str(config.parent / "archive") in ran.err


def test_json_lines_end_with_the_summary(syncer: Syncer, sim: Simulator, shelf: str, config: Path):
    """A line an image that changed anything, a line a workspace, and sums that balance."""
    ran = syncer("backup", "--json")

    images = [line for line in ran.lines if line["type"] == "image"]
    (workspace,) = (line for line in ran.lines if line["type"] == "workspace")
    summary = ran.summary
    assert ran.code == summary["exit_code"] == 0
    assert {line["image"] for line in images} == set(sim.workspaces[shelf].ids)
    assert all((config.parent / "archive" / line["path"]).stat().st_size == line["bytes"] for line in images)
    assert summary["complete"] is True
    assert summary["listed"] == sum(summary[part] for part in PARTS) == len(images)
    assert summary["bytes"] == sum(line["bytes"] for line in images)
    assert [workspace["listed"]] == [one["listed"] for one in summary["workspaces"]]
    assert summary["requests"] > len(images)
    assert summary["why"] == []


def test_nothing_new_is_said_too(syncer: Syncer, config: Path):
    """A second backup has nothing to add, and is complete."""
    syncer("backup")
    ran = syncer("backup", "--json")

    assert ran.summary["unchanged"] == ran.summary["listed"] > 0
    assert [line["type"] for line in ran.lines] == ["workspace"]
    assert "0 images added" in ran.err


def test_a_failure_is_named_and_the_code_is_3(syncer: Syncer, sim: Simulator, shelf: str, config: Path):
    """Never "complete": the image and the reason are in the data, the debt is told to people."""
    lost = sim.workspaces[shelf].ids[0]
    sim.faults.on("content", faults.status(404), image=lost)

    ran = syncer("backup", "--json")

    assert ran.code == ran.summary["exit_code"] == 3
    assert ran.summary["complete"] is False
    assert ran.summary["why"] == ["1 failed"]
    (line,) = (line for line in ran.lines if line.get("outcome") == "failed")
    assert line["image"] == lost
    assert "Not complete." in ran.err
    assert "1 image owed" in ran.err


def test_quick_and_full_exclude_each_other(syncer: Syncer, config: Path):
    """Exit code 2, before anything is asked or written."""
    ran = syncer("backup", "--quick", "--full")

    assert ran.code == 2
    assert "exclude each other" in ran.err
    assert not (config.parent / "archive").exists()


@pytest.mark.parametrize("how", [["--quick"], []])
def test_the_mode_is_in_the_data(syncer: Syncer, config: Path, how: list[str]):
    """Full when nothing is said."""
    assert syncer("backup", "--json", *how).summary["workspaces"][0]["mode"] == ("quick" if how else "full")


def test_options_have_twins_in_the_environment(syncer: Syncer, config: Path):
    """As a container or a unit file sets them."""
    ran = syncer("backup", env={"SYNCER_BACKUP_QUICK": "1", "SYNCER_BACKUP_JSON": "true"})

    assert ran.code == 0
    assert ran.summary["workspaces"][0]["mode"] == "quick"
    assert "warning" not in ran.err


def test_workspaces_are_chosen_by_name_or_id(syncer: Syncer, sim: Simulator, tmp_path: Path):
    """Only those named are backed up; an unknown one is a mistake in usage, with a suggestion."""
    configure(sim, tmp_path, ["*"])
    first, second = (shelf for shelf in sim.workspaces.values() if shelf.accessible)

    by_name = syncer("backup", first.name, "--json")
    by_id = syncer("backup", second.id, "--json")
    unknown = syncer("backup", first.name[:-1], "--json")

    assert [one["workspace_id"] for one in by_name.summary["workspaces"]] == [first.id]
    assert [one["workspace_id"] for one in by_id.summary["workspaces"]] == [second.id]
    assert unknown.code == 2
    assert f"did you mean {first.name!r}" in unknown.err
    assert unknown.summary["complete"] is False


def test_a_dry_run_writes_nothing(syncer: Syncer, sim: Simulator, shelf: str, config: Path):
    """It says what would be done, image by image."""
    ran = syncer("backup", "--dry-run", "--json")

    assert ran.code == 0
    assert ran.summary["dry_run"] is True
    assert {line["image"]: line["would"] for line in ran.lines if line["type"] == "image"} == dict.fromkeys(
        sim.workspaces[shelf].ids, "new"
    )
    assert "nothing was written" in ran.err
    assert not (config.parent / "archive").exists()


def test_a_dry_run_tells_of_deletions(syncer: Syncer, sim: Simulator, shelf: str, config: Path):
    """And marks nothing."""
    syncer("backup")
    gone = sim.workspaces[shelf].ids[0]
    sim.workspaces[shelf].delete(gone)

    ran = syncer("backup", "-n", "--json")

    assert [(line["image"], line["would"]) for line in ran.lines if line["type"] == "image"] == [(gone, "gone")]
    assert rows(config.parent / "archive", "images", "state = 'gone'") == []


def test_what_ends_the_run_has_its_code(syncer: Syncer, config: Path):
    """And a summary all the same, which says why."""
    secret = config.parent / "wrong"
    secret.write_text("not-the-secret")
    secret.chmod(0o600)

    refused = syncer("backup", "--json", "--set", f"service.client_secret_file={secret}")
    staging = config.parent / "archive" / ".staging"
    with held(staging / "lock", command="backup", since="2026-11-22T00:00:00Z"):
        second = syncer("backup", "--json")

    for ran, code in ((refused, 7), (second, 6)):
        assert ran.code == ran.summary["exit_code"] == code
        assert ran.summary["complete"] is False
        assert ran.summary["why"]
        assert "Complete" not in ran.err


def test_a_safety_stop_says_the_way_out(syncer: Syncer, sim: Simulator, shelf: str, config: Path):
    """The brake holds with code 5 and names the flag; the flag lets go of it."""
    syncer("backup")
    for image in sim.workspaces[shelf].ids:
        sim.workspaces[shelf].delete(image)

    held_back = syncer("backup", "--json")
    accepted = syncer("backup", "--json", "--accept-deletions")

    assert held_back.code == 5
    assert "--accept-deletions" in held_back.err
    assert held_back.summary["gone"] == 0
    assert accepted.code == 0
    assert accepted.summary["gone"] > 0


def test_the_log_is_for_machines_where_asked(syncer: Syncer, sim: Simulator, shelf: str, config: Path):
    """One JSON object an event between the words for people."""
    ran = syncer("backup", env={"SYNCER_LOG_FORMAT": "json"})

    events = [json.loads(line) for line in ran.err.splitlines() if line.startswith("{")]
    assert [event["event"] for event in events].count("image.stored") == len(sim.workspaces[shelf])
    assert events[-1]["event"] == "pass.ended"
    assert events[-1]["complete"] is True


def test_a_log_level_can_be_chosen(syncer: Syncer, config: Path):
    """On the command line or in the environment; one that is not known is a mistake in usage."""
    assert "image.stored" not in syncer("--log-level", "warning", "backup").err
    assert "page.listed" in syncer("backup", env={"SYNCER_LOG_LEVEL": "DEBUG"}).err
    assert syncer("backup", "--log-level", "loud").code == 2
