"""A verification that is interrupted goes on where it stopped."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import pytest
from support import back_up, pictures

from syncer.cli.resuming import Note, Stop
from syncer.model import Finding, Harm
from syncer.operations.verification import Options, Part, Verification
from syncer.operations.verify import verify
from syncer.settings import Settings

NOW = datetime(2026, 11, 22, 6, tzinfo=UTC)


async def test_what_was_hashed_is_not_hashed_again_and_the_rest_is(settings: Settings):
    """Damage behind the place is found; the bytes before it are not read again."""
    await back_up(settings)
    whole = Verification()
    await verify(settings.archive.path, Options(), lambda _: None, whole)
    names = sorted(pictures(settings.archive.path))
    assert whole.reached == names[-1]
    broken = settings.archive.path / names[-1]
    broken.write_bytes(broken.read_bytes()[:-1] + b"\0")

    rest = Verification()
    await verify(settings.archive.path, Options(after=names[-3]), lambda _: None, rest)

    assert rest.damage == 1
    assert rest.reached == names[-1]
    assert rest.bytes < whole.bytes


def test_a_note_says_how_far_it_came_until_it_is_dropped(tmp_path: Path):
    """It is kept for each archive and part by itself, and what cannot be read is the beginning."""
    environ = {"XDG_STATE_HOME": str(tmp_path)}
    note = Note.of(tmp_path / "a", Options(), environ)
    other = Note.of(tmp_path / "a", Options(part=Part(1, 2)), environ)

    note.save(Verification(reached="w/x.png", seal="f00d"), Stop("w/a.png", 2, "2026-11-20T00:00:00Z", "beef"))

    assert note.read() == Stop("w/x.png", 2, "2026-11-20T00:00:00Z", "f00d")
    assert other.read() == Stop()
    for path in (tmp_path / "syncer").iterdir():
        path.write_text("[]")
    assert note.read() == Stop()
    note.drop()
    assert list((tmp_path / "syncer").iterdir()) == []


def test_notes_are_written_now_and_then(tmp_path: Path):
    """A killed process loses some seconds of work."""
    now = 0.0
    note = Note(tmp_path / "note.json", clock=lambda: now, now=lambda: NOW)

    note.save_now_and_then(Verification(reached="a"), Stop())
    assert note.read() == Stop()
    now = 6.0
    note.save_now_and_then(Verification(reached="b"), Stop())
    assert note.read() == Stop("b", begun="2026-11-22T06:00:00.000Z")


def test_damage_is_counted_that_going_on_would_not_find_again(tmp_path: Path):
    """Found by hashing, at or before the place; not what is looked at again in any case."""
    note = Note(tmp_path / "note.json")
    for harm, path in [
        (Harm.CORRUPT, "w/a.png"),
        (Harm.UNREADABLE, "w/b.png"),
        (Harm.MISSING, "w/b.png"),
        (Harm.SIDECAR, "w/b.json"),
        (Harm.CORRUPT, "w/c.png"),
    ]:
        note.see(Finding(harm, path, "", "w", "i", 1))
    note.see(Finding(Harm.UNREADABLE, "w", "a folder"))

    note.save(Verification(reached="w/b.png"), Stop())

    assert note.read().damage == 2


@pytest.mark.parametrize(
    ("stop", "why"),
    [
        (Stop("w/x.png", 2), "not known when"),
        (Stop("w/x.png", 2, "yesterday"), "not known when"),
        (Stop("w/x.png", 2, "2026-11-21T00:00:00"), "not known when"),
        (Stop("w/x.png", 2, "2026-11-15T05:59:59Z"), "more than 7 days ago"),
        (Stop("w/x.png", 2, "2026-11-23T00:00:00Z"), "the clock was set back"),
        (Stop("w/x.png", 2, "2026-11-22T00:00:00Z", "f00d"), "another than it was"),
    ],
)
async def test_what_cannot_be_relied_on_is_begun_anew(settings: Settings, tmp_path: Path, stop: Stop, why: str):
    """Hashed too long ago, or of an archive with another history; said in a line."""
    await back_up(settings)
    said: list[str] = []
    path = tmp_path / "note.json"
    path.write_text(json.dumps(asdict(stop)))

    assert Note(path, now=lambda: NOW).stop_for(settings.archive.path, said.append) == Stop()

    (line,) = said
    assert line.startswith("Beginning anew: ")
    assert why in line


async def test_what_can_be_relied_on_is_gone_on_with(settings: Settings, tmp_path: Path):
    """Begun a week ago, of a journal that has grown since; resumed twice, it is as old as it was at first."""
    await back_up(settings)
    whole = Verification()
    await verify(settings.archive.path, Options(), lambda _: None, whole)
    begun = "2026-11-15T06:00:00Z"
    note = Note(tmp_path / "note.json", now=lambda: NOW)
    note.save(whole, Stop(begun=begun))
    await back_up(settings)

    stop = note.stop_for(settings.archive.path, pytest.fail)

    assert (stop.reached, stop.begun) == (whole.reached, begun)
    assert stop.seal == whole.seal != ""
    note.save(Verification(reached="z"), stop)
    assert note.read().begun == begun


def test_a_state_folder_that_cannot_be_written_is_no_reason_to_stop(tmp_path: Path):
    """The note is a help, not a need."""
    (tmp_path / "file").write_text("")

    Note(tmp_path / "file" / "note.json").save(Verification(reached="a"), Stop())
