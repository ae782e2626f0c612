"""`stillness`: which files are complete, given events, looks and a clock."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hypothesis import given
from hypothesis import strategies as st

from syncer.inbox.drop import Signature
from syncer.inbox.stillness import Look, Stillness, Writer

SETTLE = 2.0
FILE = Signature(1, 1, 100, 0)


def judged(stillness: Stillness[str], at: float, signature: Signature = FILE, writer: Writer = Writer.NOBODY) -> bool:
    """Look at the one file."""
    return stillness.judged("a", Look(signature, None, writer), at)


def test_a_file_that_rests_is_complete():
    """Not before it has been still for as long as is asked."""
    stillness: Stillness[str] = Stillness(SETTLE)
    stillness.seen("a", FILE, 10)
    assert stillness.next_due() == 12
    assert stillness.due(11.9) == []
    assert stillness.due(12) == ["a"]
    assert judged(stillness, 12)
    assert "a" not in stillness


def test_a_change_begins_anew():
    """Another size, another time, another file of the same name."""
    for other in (replace(FILE, size=101), replace(FILE, mtime_ns=1), replace(FILE, inode=2), replace(FILE, device=2)):
        stillness: Stillness[str] = Stillness(SETTLE)
        stillness.seen("a", FILE, 10)
        assert not judged(stillness, 12, other)
        assert stillness.due(13.9) == []
        assert judged(stillness, 14, other)


def test_a_file_that_is_open_for_writing_is_not_complete():
    """However long it has been still; the time runs from when nobody has it open any more."""
    stillness: Stillness[str] = Stillness(SETTLE)
    stillness.seen("a", FILE, 0)
    assert not judged(stillness, 100, writer=Writer.SOMEBODY)
    assert not judged(stillness, 101)
    assert judged(stillness, 102)


def test_events_say_who_is_writing_where_nobody_else_does():
    """A file that was written to and not closed waits for its close."""
    stillness: Stillness[str] = Stillness(SETTLE)
    stillness.touched("a", FILE, 0, closed=False)
    assert not judged(stillness, 100, writer=Writer.UNKNOWN)
    stillness.touched("a", FILE, 101, closed=True)
    assert not judged(stillness, 102, writer=Writer.UNKNOWN)
    assert judged(stillness, 103, writer=Writer.UNKNOWN)


def test_what_is_known_outweighs_what_events_say():
    """A link and a truncation are told without a close: where nobody has the file open, it is complete."""
    stillness: Stillness[str] = Stillness(SETTLE)
    stillness.touched("a", FILE, 0, closed=False)
    assert judged(stillness, 2, writer=Writer.NOBODY)


def test_no_close_is_waited_for_for_ever():
    """Where nobody knows who has it open, a file that has not changed for ten minutes is complete."""
    stillness: Stillness[str] = Stillness(SETTLE)
    stillness.touched("a", FILE, 0, closed=False)
    assert not judged(stillness, 599, writer=Writer.UNKNOWN)
    assert judged(stillness, 600, writer=Writer.UNKNOWN)


def test_a_close_that_was_lost_is_not_waited_for():
    """After events were lost, stillness alone decides."""
    stillness: Stillness[str] = Stillness(SETTLE)
    stillness.touched("a", FILE, 0, closed=False)
    stillness.unsure()
    assert judged(stillness, 2, writer=Writer.UNKNOWN)


def test_another_file_is_not_held_open_by_the_one_before():
    """What events told of a file does not count for the one that took its place."""
    stillness: Stillness[str] = Stillness(SETTLE)
    stillness.touched("a", FILE, 0, closed=False)
    other = replace(FILE, inode=2)
    assert not judged(stillness, 2, other, Writer.UNKNOWN)
    assert judged(stillness, 4, other, Writer.UNKNOWN)


def test_a_file_that_is_gone_is_forgotten():
    """It is not due, and begins anew when it is back."""
    stillness: Stillness[str] = Stillness(SETTLE)
    stillness.seen("a", FILE, 0)
    stillness.forget("a")
    assert (len(stillness), stillness.next_due(), stillness.paths()) == (0, None, [])
    stillness.seen("a", FILE, 3)
    assert not judged(stillness, 4)


@dataclass(frozen=True)
class Step:
    """One thing that happens to a file, some time after the one before."""

    after: float
    path: str
    what: str


steps = st.lists(
    st.builds(
        Step,
        st.sampled_from([0.0, 0.1, 0.7, 1.9, 2.0, 2.1, 5.0]),
        st.sampled_from("abc"),
        st.sampled_from(["write quietly", "write", "close", "replace", "remove", "look", "hold", "release"]),
    ),
    max_size=60,
)


@given(steps)
def test_no_file_is_complete_within_its_time_and_each_that_rests_becomes_so(happening: list[Step]):
    """Whatever is written, closed, replaced, removed and looked at, in any order, with events or without."""
    stillness: Stillness[str] = Stillness(SETTLE)
    files: dict[str, Signature] = {}
    changed: dict[str, float] = {}
    held: set[str] = set()
    at = 0.0

    def look() -> None:
        for path in stillness.due(at):
            if path not in files:
                stillness.forget(path)
                continue
            writer = Writer.SOMEBODY if path in held else Writer.NOBODY
            if stillness.judged(path, Look(files[path], None, writer), at):
                assert at - changed[path] >= SETTLE
                assert path not in held
                del files[path]

    for serial, step in enumerate(happening, 1):
        at += step.after
        path = step.path
        match step.what:
            case "write quietly":
                files[path] = replace(files.get(path, FILE), mtime_ns=serial)
                changed[path] = at
            case "write" | "close":
                if step.what == "write" or path not in files:
                    files[path] = replace(files.get(path, FILE), mtime_ns=serial)
                    changed[path] = at
                stillness.touched(path, files[path], at, closed=step.what == "close")
            case "replace":
                files[path] = Signature(1, serial, 100, 0)
                changed[path] = at
            case "remove":
                files.pop(path, None)
            case "hold":
                held.add(path)
            case "release":
                held.discard(path)
            case _:
                look()
    held.clear()
    for path, signature in files.items():  # a walk comes by
        stillness.seen(path, signature, at)
    for _ in range(3):
        at += SETTLE
        look()
    assert files == {}
    assert len(stillness) == 0
