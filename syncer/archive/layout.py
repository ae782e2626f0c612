"""Turn ids, names and times into the names that files have in the archive.

Promises that `encode` is total and injective, and that its names survive every file system: only `a-z 0-9 _ - + =`, so
neither case nor Unicode form nor a separator tells two names apart; never longer than 126 characters; never a name
that a system keeps for itself. It does no I/O and does not know which names are taken.
"""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime
from functools import lru_cache

from syncer.model import moment

MARKER = "syncer-archive.json"
MANIFEST = "manifest.db"
STAGING = ".staging"
JOURNAL = "journal"
EVIDENCE = ".evidence"  # what was damaged and has been replaced

_LONGEST = 120  # of an encoded id that is kept whole
_KEPT = 60  # of one that is longer, before the digest
_NAME_LENGTH = 40  # of a workspace's name before its id
_PLAIN = re.compile(rf"[a-z0-9_][a-z0-9_-]{{0,{_LONGEST - 1}}}")  # an id that is its own spelling, as most are
_UNREADABLE = re.compile(r"[^a-z0-9]+")
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(10))})
# `lost+found` belongs to the file system, and would be the encoded form of the id `lostFound`.
_OURS = frozenset({JOURNAL, "manifest", "lost+found"})


def _token(byte: int) -> str:
    char = chr(byte)
    if char in "abcdefghijklmnopqrstuvwxyz0123456789_-":
        return char
    if char in "ABCDEFGHIJKLMNOPQRSTUVWXYZ":
        return "+" + char.lower()
    return f"={byte:02x}"


_TOKENS = tuple(_token(byte) for byte in range(256))


def encode(name: str, *, reserved: frozenset[str] = _DEVICES) -> str:
    """Spell any text as one file name; what is `reserved` gets its first character in hexadecimal.

    A long one keeps its beginning for the reader and becomes unique by a digest: `=x` marks it, which is no byte.
    """
    if _PLAIN.fullmatch(name) and name not in reserved:
        return name
    raw = name.encode("utf-8", "surrogatepass")
    if not raw:
        return "=x"
    tokens = [_TOKENS[byte] for byte in raw]
    # A leading "-" would read as an option on a command line.
    if raw[0] == ord("-") or "".join(tokens) in reserved:
        tokens[0] = f"={raw[0]:02x}"
    whole = "".join(tokens)
    if len(whole) <= _LONGEST:
        return whole
    kept = ""
    for token in tokens:
        if len(kept) + len(token) > _KEPT:
            break
        kept += token
    return f"{kept}=x{hashlib.sha256(raw).hexdigest()}"


def workspace_folder(workspace_id: str, name: str | None = None) -> str:
    """Name a workspace's folder: by its id, with a configured name before it as a help for people.

    The name is simplified, for it need not be told from any other: that is what the id is for.
    """
    readable = _UNREADABLE.sub("-", (name or "").casefold()).strip("-")[:_NAME_LENGTH]
    if readable:
        return f"{readable}@{encode(workspace_id)}"
    return encode(workspace_id, reserved=_DEVICES | _OURS)


@lru_cache(maxsize=256)  # asked for more than once for each image
def day_folder(created_at: str | None) -> str:
    """Name the folder of one UTC day, `undated` where the service's time cannot be read."""
    created = moment(created_at)
    if created is None:
        return "undated"
    return f"{created.year:04}/{created.month:02}/{created.day:02}"


def stem(image_id: str, revision: int) -> str:
    """Name one revision's files, up to their extension; a dot comes from here only, so no id can imitate it."""
    return encode(image_id) if revision == 1 else f"{encode(image_id)}.r{revision}"


def stamp(time: datetime) -> str:
    """Spell a time as syncer writes it into its own files."""
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
