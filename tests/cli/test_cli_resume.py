"""A verification that is interrupted goes on where it stopped."""

from __future__ import annotations

from pathlib import Path

from support import back_up, pictures

from syncer.cli.resuming import Note, Stop
from syncer.operations.verification import Options, Part, Verification
from syncer.operations.verify import verify
from syncer.settings import Settings


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

    note.save(Verification(reached="w/x.png"), Stop("w/a.png", 2))

    assert note.read() == Stop("w/x.png", 2)
    assert other.read() == Stop()
    for path in (tmp_path / "syncer").iterdir():
        path.write_text("[]")
    assert note.read() == Stop()
    note.drop()
    assert list((tmp_path / "syncer").iterdir()) == []


def test_notes_are_written_now_and_then(tmp_path: Path):
    """A killed process loses some seconds of work."""
    now = 0.0
    note = Note(tmp_path / "note.json", clock=lambda: now)

    note.save_now_and_then(Verification(reached="a"), Stop())
    assert note.read() == Stop()
    now = 6.0
    note.save_now_and_then(Verification(reached="b"), Stop())
    assert note.read() == Stop("b")


def test_a_state_folder_that_cannot_be_written_is_no_reason_to_stop(tmp_path: Path):
    """The note is a help, not a need."""
    (tmp_path / "file").write_text("")

    Note(tmp_path / "file" / "note.json").save(Verification(reached="a"), Stop())
