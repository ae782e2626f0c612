"""`names`: what is passed over, and how names are spelled."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from syncer.inbox.names import ignored, numbered, printable

names = st.binary(min_size=1, max_size=255).map(lambda raw: os.fsdecode(raw.replace(b"/", b"_").replace(b"\0", b"_")))


@pytest.mark.parametrize(
    "name",
    [".hidden.png", ".syncer", "a.part", "a.PNG.Part", "a.tmp", "a.png~", "a.crdownload", "a.Download", "a.filepart"],
)
def test_hidden_and_unfinished_names_are_passed_over(name: str):
    """With a reason."""
    assert ignored(name)


@pytest.mark.parametrize("name", ["a.png", "part", "a.part.png", "tmp", "~a.png", "a~b.png", "a", "a.jpeg"])
def test_other_names_are_not(name: str):
    """A word inside a name says nothing."""
    assert ignored(name) is None


def test_ordinary_names_are_spelled_as_they_are():
    """Letters of any script, and spaces of any kind: a macOS screenshot's too."""
    name = "Füße/画像 9.41\u202fAM.png"
    assert printable(Path(name)) == name


def test_what_cannot_be_printed_is_escaped():
    """A newline, a byte that is not UTF-8, a mark that reverses the text."""
    assert printable(os.fsdecode(b"a\nb\xff")) == r"a\u000ab\xff"
    assert printable("a\u202egnp.exe") == r"a\u202egnp.exe"
    assert printable("a\\b") == r"a\\b"


@given(names, names)
def test_two_names_are_never_spelled_the_same(one: str, other: str):
    """Whatever bytes they are made of, and each is one line that can be encoded."""
    assume(one != other)
    assert printable(one) != printable(other)
    assert len(printable(one).encode().splitlines()) <= 1


@given(names, st.integers(1, 10**6), st.sampled_from([250, 255]))
def test_a_numbered_name_is_one_that_fits(name: str, number: int, longest: int):
    """It is never longer than it may be, keeps its extension, and no two numbers give the same."""
    spelled = numbered(name, number, longest)
    assert 0 < len(os.fsencode(spelled)) <= longest
    assert "/" not in spelled
    assert spelled != numbered(name, number + 1, longest)


def test_a_number_goes_before_the_extension():
    """As a person would name a copy."""
    assert numbered("a.b.png", 1) == "a.b.png"
    assert numbered("a.b.png", 2) == "a.b (2).png"
    assert numbered("a", 3) == "a (3)"
    assert numbered("ä" * 125 + "b.png", 2) == "ä" * 123 + " (2).png"
