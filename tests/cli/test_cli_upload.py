"""`syncer upload`: what it takes, what it prints, for people and for programs, and its exit code.

The uploading itself has its own tests.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import random
from pathlib import Path

import pytest
from cli_parts import Syncer
from PIL import Image
from support import configure

from syncer.archive.lock import held
from syncer.simulator import faults
from syncer.simulator.server import Simulator
from syncer.simulator.uploads import as_png, quota

NO_SHA = "0" * 64


def drawn(folder: Path, name: str, seed: int = 0) -> Path:
    """A small picture of its own."""
    out = io.BytesIO()
    Image.frombytes("RGB", (8, 8), random.Random(seed).randbytes(192)).save(out, "PNG")
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(out.getvalue())
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# --- what becomes of files ----------------------------------------------------------------------------


def test_a_file_is_uploaded_once(syncer: Syncer, sim: Simulator, shelf: str, config: Path, tmp_path: Path):
    """Under whatever name it comes again; it stays where it is, and people are told on stderr."""
    file, copy = drawn(tmp_path, "kite.png"), drawn(tmp_path, "copy of kite.png")

    first = syncer("upload", file)
    second = syncer("upload", file, copy)

    assert (first.code, second.code, first.out, second.out) == (0, 0, "", "")
    assert "Complete. 1 uploaded" in first.err
    assert "Complete. 2 there already" in second.err
    assert [(one.workspace, one.sha256) for one in sim.uploads] == [(shelf, sha256(file))]
    assert file.exists()


def test_json_tells_of_each_and_ends_with_the_sums(
    syncer: Syncer, sim: Simulator, shelf: str, config: Path, tmp_path: Path
):
    """A line a file, whatever became of it; what is refused has a reason and a way out, and makes it exit with 3."""
    known, new = drawn(tmp_path, "known.png"), drawn(tmp_path, "new.png", 1)
    text, empty = tmp_path / "notes.txt", tmp_path / "empty.png"
    text.write_text("some notes")
    empty.write_bytes(b"")
    syncer("upload", known)

    ran = syncer("upload", known, new, text, empty, "--json")

    lines = {line["source"]: line for line in ran.lines}
    assert {source: line["outcome"] for source, line in lines.items()} == {
        str(known): "already",
        str(new): "uploaded",
        str(text): "refused",
        str(empty): "refused",
    }
    one = lines[str(new)]
    assert one == {
        "type": "upload",
        "workspace": shelf,
        "source": str(new),
        "outcome": "uploaded",
        "sha256": sha256(new),
        "image": sim.uploads[-1].image,
        "bytes": new.stat().st_size,
        "reencoded": False,
        "reason": "",
        "hint": "",
    }
    assert all(lines[str(path)]["reason"] and lines[str(path)]["hint"] for path in (text, empty))
    summary = ran.summary
    assert {name: summary[name] for name in ("command", "uploaded", "already", "refused", "pending", "undecided")} == {
        "command": "upload",
        "uploaded": 1,
        "already": 1,
        "refused": 2,
        "pending": 0,
        "undecided": 0,
    }
    assert (ran.code, summary["exit_code"], summary["complete"], summary["why"]) == (3, 3, False, ["2 refused"])
    assert summary["bytes"] == new.stat().st_size
    assert summary["requests"] > 0
    assert summary["seconds"] > 0


def test_people_are_told_of_what_is_not_there(syncer: Syncer, config: Path, tmp_path: Path):
    """Each with its reason and what to do."""
    (tmp_path / "notes.txt").write_text("some notes")

    ran = syncer("upload", drawn(tmp_path, "kite.png"), tmp_path / "notes.txt")

    told = ran.err.splitlines()
    (place,) = (number for number, line in enumerate(told) if line.startswith("✗"))
    assert "notes.txt" in told[place]
    assert "not a picture" in told[place]
    assert told[place + 1].strip().startswith("→ ")
    assert "Not complete. 1 uploaded" in ran.err
    assert ran.code == 3


def test_a_service_that_encodes_anew(syncer: Syncer, sim: Simulator, shelf: str, config: Path, tmp_path: Path):
    """Is said to do so, here and by `show` once the image has come down; and it is no failure."""
    sim.workspaces[shelf].recode = as_png
    file = drawn(tmp_path, "kite.png")

    ran = syncer("upload", file, "--json")
    syncer("backup")

    (line,) = ran.lines
    assert (ran.code, line["reencoded"]) == (0, True)
    shown = syncer("show", line["image"]).out
    assert f"uploaded from  {file}, sha256 {sha256(file)}" in shown
    assert "the same picture in other bytes" in shown


def test_a_dry_run_sends_and_writes_nothing(syncer: Syncer, sim: Simulator, config: Path, tmp_path: Path):
    """It says of each file what would become of it."""
    (tmp_path / "notes.txt").write_text("some notes")
    files = drawn(tmp_path, "kite.png"), tmp_path / "notes.txt"
    before = set(tmp_path.rglob("*"))

    told = syncer("upload", *files, "--dry-run")
    ran = syncer("upload", *files, "--dry-run", "--json")

    assert "kite.png  would be uploaded" in told.err
    assert "nothing was sent" in told.err
    assert [line["would"] for line in ran.lines] == ["uploaded", "refused"]
    assert ran.summary["dry_run"] is True
    assert (told.code, ran.code) == (3, 3)
    assert sim.uploads == []
    assert set(tmp_path.rglob("*")) == before


def test_again_sends_what_is_there(syncer: Syncer, sim: Simulator, config: Path, tmp_path: Path):
    """As somebody wants who has deleted it at the service."""
    file = drawn(tmp_path, "kite.png")
    syncer("upload", file)

    assert syncer("upload", file, "--again").code == 0

    assert len(sim.uploads) == 2


def test_a_dry_run_tells_what_again_would_send(syncer: Syncer, sim: Simulator, config: Path, tmp_path: Path):
    """What is there already, too; and nothing is sent."""
    file = drawn(tmp_path, "kite.png")
    syncer("upload", file)

    ran = syncer("upload", file, "--again", "--dry-run", "--json")

    assert [line["would"] for line in ran.lines] == ["uploaded"]
    assert len(sim.uploads) == 1


def test_a_quota_is_no_failure_of_the_file(syncer: Syncer, sim: Simulator, config: Path, tmp_path: Path):
    """It is pending, with what the service says, and with what to do: exit code 3."""
    sim.faults.on("upload", quota())

    ran = syncer("upload", drawn(tmp_path, "kite.png"), "--json")

    assert ran.code == 3
    assert [line["outcome"] for line in ran.lines] == ["pending"]
    assert "quota" in json.dumps(ran.summary["why"])
    assert "Run the same command again to go on." in ran.err


def test_a_service_that_is_away(syncer: Syncer, sim: Simulator, config: Path, tmp_path: Path):
    """Nothing is refused for it, and it can be gone on with: exit code 8."""
    sim.faults.on("token", faults.reset())

    ran = syncer("upload", drawn(tmp_path, "kite.png"), "--set", "limits.retries=0")

    assert ran.code == 8
    assert sim.uploads == []


# --- addresses ----------------------------------------------------------------------------------------


def test_an_address_is_fetched_by_the_service(syncer: Syncer, sim: Simulator, config: Path):
    """Where it is allowed to; what stands behind the question mark is shown and kept nowhere."""
    address = f"{sim.url}/picture.png?signature=a-signature-of-theirs"

    refused = syncer("upload", address)
    ran = syncer("upload", address, "--allow-private", "--json")

    assert refused.code == 2
    assert "--allow-private" in refused.err
    assert [line["source"] for line in ran.lines] == [f"{sim.url}/picture.png"]
    assert "a-signature" not in refused.err + ran.out + ran.err
    assert ran.lines[0]["sha256"] == hashlib.sha256(address.encode()).hexdigest()
    for file in (config.parent / "archive").rglob("*"):
        assert not file.is_file() or b"a-signature" not in file.read_bytes()


# --- usage --------------------------------------------------------------------------------------------


def test_everything_is_looked_at_before_anything_is_sent(syncer: Syncer, sim: Simulator, config: Path, tmp_path: Path):
    """All that is wrong is told at once, each with a way out; no archive is made, and nobody is asked."""
    (tmp_path / "folder").mkdir()

    ran = syncer(
        "upload",
        drawn(tmp_path, "kite.png"),
        tmp_path / "missing.png",
        tmp_path / "folder",
        "ftp://example.com/kite.png",
        "https://me:word@example.com/kite.png",
    )

    assert ran.code == 2
    assert "4 of these cannot be uploaded; nothing was sent" in ran.err
    assert "missing.png: there is no such file" in ran.err
    assert "folder: a folder, not a file" in ran.err
    assert "argument 4: not an address" in ran.err
    assert "argument 5: an address with credentials" in ran.err
    assert "word" not in ran.err
    assert ran.err.count("→") == 4
    assert sim.counts.total() == 0
    assert not (tmp_path / "archive").exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ([], "nothing to upload"),
        (["--lost"], "want the SHA256"),
        (["--lost", "not-a-hash"], "want the SHA256"),
        (["--lost", NO_SHA, NO_SHA], "want the SHA256"),
        (["--lost", "--arrived", "x", NO_SHA], "exclude each other"),
        (["--lost", NO_SHA, "--dry-run"], "send nothing"),
        (["--arrived", "x", NO_SHA, "--again"], "send nothing"),
        (["kite.png", "--workspace", "*"], "one workspace is wanted"),
        (["kite.png", "--workspace", "nobody"], "no workspace 'nobody'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_meant(
    syncer: Syncer, sim: Simulator, config: Path, tmp_path: Path, words: list[str], complaint: str
):
    """Is a mistake in usage, with a way out, and nothing is sent."""
    drawn(tmp_path, "kite.png")

    ran = syncer("upload", *words)

    assert ran.code == 2
    assert complaint in ran.err
    assert "→" in ran.err
    assert sim.uploads == []


def test_the_workspace_has_to_be_clear(syncer: Syncer, sim: Simulator, tmp_path: Path):
    """One that is configured alone is meant; else an id or a name is wanted, also where "*" stands for one."""
    file = drawn(tmp_path, "kite.png")
    first, second = [one.id for one in sim.workspaces.values() if one.accessible][:2]
    configure(sim, tmp_path, [first, second])

    unclear = syncer("upload", file)
    clear = syncer("upload", file, "--workspace", second)
    configure(sim, tmp_path, ["*"])
    any_one = syncer("upload", file)
    by_name = syncer("upload", file, "-w", sim.workspaces[first].name)

    assert (unclear.code, clear.code, any_one.code, by_name.code) == (2, 0, 2, 0)
    assert first in unclear.err
    assert "--workspace" in any_one.err
    assert [one.workspace for one in sim.uploads] == [second, first]


def test_options_may_come_from_the_environment(syncer: Syncer, sim: Simulator, shelf: str, tmp_path: Path):
    """As those of every command."""
    configure(sim, tmp_path, ["*"])

    ran = syncer("upload", drawn(tmp_path, "kite.png"), env={"SYNCER_UPLOAD_WORKSPACE": shelf})

    assert ran.code == 0
    assert [one.workspace for one in sim.uploads] == [shelf]


def test_another_process_is_waited_for_a_little(
    syncer: Syncer, sim: Simulator, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Then it exits with 6, names the holder, and says how to go on; the credentials were fetched once."""
    config.write_text(f'{config.read_text()}\nname = "brand"\nwatch = "{tmp_path}/drop"')
    staging = tmp_path / "archive" / ".staging"
    staging.mkdir(parents=True)
    tries: list[float] = []

    async def sleep(seconds: float) -> None:
        tries.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    with held(staging / "lock", command="backup", since="2026-11-22T00:00:00Z"):
        ran = syncer("upload", drawn(tmp_path, "kite.png"), "--json")

    assert ran.code == ran.summary["exit_code"] == 6
    assert len(tries) > 1
    assert "command: backup" in ran.err
    assert f"drop the files into {tmp_path}/drop" in ran.err
    assert sim.uploads == []
