"""Say which names in a watch folder are passed over, and spell names for people and for file systems.

It does no I/O. Names that are not UTF-8 come as Python spells them, with surrogates, and stay exact in every path;
only their `printable` form, for the journal and the log, is another.
"""

from __future__ import annotations

import os
import unicodedata
from pathlib import PurePath

OURS = ".syncer"  # what has been dealt with lies here, inside the watch folder
LONGEST = 255  # bytes of a file's name, on every file system that we know of

# What browsers and copying tools call a file that they have not finished.
_UNFINISHED = (".part", ".tmp", ".crdownload", ".partial", ".filepart", ".download", ".opdownload")
_LONGEST_EXTENSION = 16  # characters; what is longer is no extension


def ignored(name: str) -> str | None:
    """Say why a file or folder of this name is passed over, None where it is not."""
    if name.startswith("."):
        return "its name begins with a dot"
    if name.endswith("~"):
        return "an editor's backup, by its name"
    if name.lower().endswith(_UNFINISHED):
        return "unfinished, by its name"
    return None


def printable(path: PurePath | str) -> str:
    """Spell a name as one line of text; two names are never spelled the same."""
    return "".join(map(_spelled, str(path)))


def _spelled(char: str) -> str:
    if char == "\\":
        return r"\\"
    if "\udc80" <= char <= "\udcff":  # a byte that is not UTF-8
        return f"\\x{ord(char) - 0xDC00:02x}"
    if char.isprintable() or unicodedata.category(char) == "Zs":
        return char
    # Four digits at least, so that a control character and a stray byte are never spelled the same.
    return f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}"


def numbered(name: str, number: int, longest: int = LONGEST) -> str:
    """Spell the n-th name that a file may get: itself, then " (2)" before its extension; cut to so many bytes."""
    stem, extension = _split(name)
    end = extension if number == 1 else f" ({number}){extension}"
    while len(os.fsencode(stem + end)) > longest:
        stem = stem[:-1]
    return stem + end


def _split(name: str) -> tuple[str, str]:
    stem, dot, extension = name.rpartition(".")
    if stem and len(extension) <= _LONGEST_EXTENSION:
        return stem, dot + extension
    return name, ""
