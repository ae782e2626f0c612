"""`layout`: names that are injective and safe everywhere."""

import re
import unicodedata

from hypothesis import example, given
from hypothesis import strategies as st

from syncer.archive.layout import day_folder, encode, stem, workspace_folder

# Surrogates included: an id may be any string that JSON can spell.
IDS = st.text(alphabet=st.characters(), max_size=200) | st.text(alphabet="aA-_.=+xX/ é", max_size=140)
TOKEN = re.compile(r"=[0-9a-f]{2}|\+[a-z]|[a-z0-9_-]")


def decode(name: str) -> str:
    """Read a name back that was not shortened."""
    raw = bytearray()
    for token in TOKEN.findall(name):
        match token[0]:
            case "=":
                raw.append(int(token[1:], 16))
            case "+":
                raw += token[1:].upper().encode()
            case _:
                raw += token.encode()
    return raw.decode("utf-8", "surrogatepass")


@given(IDS)
def test_short_names_read_back(key):
    """What is not shortened can be read back, so no two ids share a name."""
    name = encode(key)
    if "=x" not in name:
        assert decode(name) == key


@given(IDS, IDS)
@example("con", "=63on")
@example("A", "a")
@example("é", "e\u0301")
@example("", "=x")
def test_different_ids_differ_everywhere(one, other):
    """Names differ even where case and Unicode forms are folded."""
    folded = [unicodedata.normalize("NFC", encode(key).casefold()) for key in (one, other)]
    assert (folded[0] == folded[1]) == (one == other)


@given(IDS)
@example("CON")
@example("lpt1")
@example("-rf")
@example("..")
@example("é" * 100)
@example("a" * 58 + "É" * 40)
def test_names_are_safe(key):
    """Any id becomes a name of harmless characters and bounded length that no system keeps for itself."""
    name = encode(key)
    assert re.fullmatch(r"[a-z0-9_+=][a-z0-9_+=-]*", name)
    assert len(name) <= 126
    assert name not in {"con", "prn", "aux", "nul", "com0", "com1", "com9", "lpt0", "lpt9"}


def test_long_ids_keep_their_beginning():
    """A long id begins readably, is cut between two tokens, and stays distinct from one that begins alike."""
    one, other = encode("cat" * 9 + "é" * 100), encode("cat" * 9 + "é" * 101)
    assert one.startswith("cat" * 9 + "=c3=a9")
    assert re.fullmatch(r"(?:=[0-9a-f]{2}|[a-z])+=x[0-9a-f]{64}", one)
    assert one != other


def test_names_as_people_see_them():
    """Plain ids stay as they are; the rest is spelled out."""
    assert encode("5f0c-a_b") == "5f0c-a_b"
    assert encode("Ab/c.d") == "+ab=2fc=2ed"
    assert encode("nul") == "=6eul"
    assert encode("") == "=x"


def test_workspaces_never_take_the_archives_own_names():
    """A workspace called `journal`, or whose name spells `lost+found`, gets a folder of its own."""
    assert workspace_folder("journal") == "=6aournal"
    assert workspace_folder("lostFound") == "=6cost+found"
    assert workspace_folder("w1") == "w1"


def test_a_configured_name_stands_before_the_id():
    """It is simplified for reading, and left out where nothing of it can be read."""
    assert workspace_folder("W1", "Brand & Co.") == "brand-co@+w1"
    assert workspace_folder("w1", "品牌") == "w1"


@given(IDS, IDS.filter(bool), IDS, IDS.filter(bool))
def test_named_workspaces_stay_apart(key, name, other_id, other_name):
    """A configured name makes the folder readable, the id keeps it unique, and together they fit a file system."""
    folder = workspace_folder(key, name)
    assert len(folder) <= 255
    if key != other_id:
        assert folder != workspace_folder(other_id, other_name)


def test_days():
    """Folders are UTC days; a time that cannot be read is undated."""
    assert day_folder("2026-11-22T23:30:00-02:00") == "2026/11/23"
    assert day_folder("0999-01-02T00:00:00Z") == "0999/01/02"
    assert day_folder(None) == day_folder("yesterday") == "undated"


def test_revisions():
    """The first revision has the plain name; no id can imitate a later one's."""
    assert stem("cat", 1) == "cat"
    assert stem("cat", 3) == "cat.r3"
    assert stem("cat.r3", 1) == "cat=2er3"
