"""Prove that the bytes that arrived are the bytes that were promised.

One pass over a whole body, in memory or mapped from a file: its length, the hashes that the answer states, what kind of
picture it is and whether it ends. A hash of the service's own outweighs the look at the end: what agrees with it is
what the service has, cut or not. It does no I/O; every breach of a promise is `Damaged`.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

import google_crc32c

from syncer.archive.mapped import Buffer, pieces
from syncer.archive.pictures import HEAD, Kind, complete, judge
from syncer.errors import Damaged
from syncer.model import Content, Image


@dataclass(frozen=True, slots=True)
class Proof:
    """What is now known of a body; `notes` say what is odd about it and no reason to refuse it."""

    sha256: str
    size: int
    kind: Kind
    notes: tuple[str, ...] = ()


def prove(buffer: Buffer, image: Image, content: Content) -> Proof:
    """Check a body of at least one byte against all that was promised of it. Raises `Damaged`."""
    size = len(buffer)
    if content.length is not None and size != content.length:
        raise Damaged("the body has another length than its header says", expected=content.length, actual=size)
    sha256 = hashlib.sha256()
    for piece in pieces(buffer):
        sha256.update(piece)
    agreed = []
    for algorithm, stated in content.digests.items():
        actual = sha256.digest() if algorithm == "sha256" else _digest(algorithm, buffer)
        if actual is None:
            continue
        if actual != stated:
            raise Damaged(f"the body has another {algorithm} than its header says", **_spelled(stated, actual))
        agreed.append(algorithm)
    kind = judge(content.media_type, bytes(buffer[:HEAD]))
    notes = []
    if (reason := complete(kind, buffer)) is not None:
        if not agreed:
            raise Damaged("the picture is cut off", kind=kind.extension, bytes=size, reason=reason)
        notes.append(f"the picture ends early ({reason}), and so it does at the service, by its own {agreed[0]}")
    # The documentation leaves open whether `imageSize` is the number of bytes served.
    if image.size is not None and image.size != size:
        notes.append(f"the service says {image.size} bytes and served {size}")
    return Proof(sha256.hexdigest(), size, kind, tuple(notes))


def nothing(image: Image, content: Content) -> Damaged:
    """Make the error for a body without a byte, which no picture is."""
    expected = content.length or image.size
    return Damaged("no bytes arrived", expected=expected, actual=0)


def _digest(algorithm: str, buffer: Buffer) -> bytes | None:
    """Hash a body; None for an algorithm that we do not know."""
    match algorithm:
        case "md5":
            md5 = hashlib.md5(usedforsecurity=False)
            for piece in pieces(buffer):
                md5.update(piece)
            return md5.digest()
        case "crc32c":
            checksum = 0
            for piece in pieces(buffer):
                checksum = google_crc32c.extend(checksum, bytes(piece))  # it takes only `bytes`
            return checksum.to_bytes(4)
        case _:
            return None


def _spelled(stated: bytes, actual: bytes) -> dict[str, str]:
    """Spell hashes as their headers do."""
    return {"expected": base64.b64encode(stated).decode(), "actual": base64.b64encode(actual).decode()}
