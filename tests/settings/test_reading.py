"""Reading tables: every complaint at once, in the order of the tables, and nothing half read."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from syncer.settings.reading import Missing, Unfit, Unknown, read
from syncer.settings.values import text, whole

Word = Annotated[str, text]
Count = Annotated[int, whole(1)]


@dataclass(frozen=True)
class Inner:
    word: Word
    count: Count = 7


@dataclass(frozen=True)
class Outer:
    inner: Inner
    many: tuple[Inner, ...] = ()
    words: tuple[Word, ...] = ("so",)
    perhaps: Word | None = None
    other: Inner = field(default_factory=lambda: Inner("other"))


def test_what_is_not_given_is_as_the_table_says():
    """Lists become tuples, since what was read does not change any more."""
    raw = {"inner": {"word": "a"}, "many": [{"word": "b", "count": 2}], "perhaps": None}

    assert read(Outer, raw) == (Outer(Inner("a"), (Inner("b", 2),)), [])


def test_all_complaints_come_at_once():
    """In the order in which the tables name the values, each with its place; the unknown come last in theirs."""
    raw = {
        "words": ["so", " ", 3],
        "stars": 1,
        "many": [{"word": "b", "count": 0}, "c", {"size": 1}],
        "inner": {"count": "many", "size": 1},
        "perhaps": "",
        "other": None,
    }

    found, complaints = read(Outer, raw)

    assert found is None
    line = "want one line of text without spaces around it"
    assert complaints == [
        Missing("inner.word"),
        Unfit("inner.count", "want a whole number above 0", "many"),
        Unknown("inner.size"),
        Unfit("many[0].count", "want a whole number above 0", 0),
        Unfit("many[1]", "want a table", "c"),
        Missing("many[2].word"),
        Unknown("many[2].size"),
        Unfit("words[1]", line, " "),
        Unfit("words[2]", line, 3),
        Unfit("perhaps", line, ""),
        Unfit("other", "want a table", None),
        Unknown("stars"),
    ]


def test_a_text_is_no_list():
    """Its letters would be taken for the items."""
    assert read(Outer, {"inner": {"word": "a"}, "words": "so"}) == (None, [Unfit("words", "want a list", "so")])
