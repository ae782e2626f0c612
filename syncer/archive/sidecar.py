"""The file beside each picture: what it is, where it came from, and the service's own document.

Promises that `read` gives back what `render` was given: the document's numbers and strings keep their spelling, only
the white space between them changes. It does no I/O; where a sidecar lies says its path, which the caller knows.
"""

from __future__ import annotations

import re
from posixpath import basename, dirname, join

import msgspec

from syncer.errors import Damaged
from syncer.model import Revision

FORMAT = 1

_SHA256 = re.compile(r"[0-9a-f]{64}")


class _Sidecar(msgspec.Struct):
    format: int
    workspace: str
    image: str
    revision: int
    sha256: str
    bytes: int
    media_type: str
    file: str  # of the bytes, beside the sidecar; an earlier revision's where only the document changed
    fetched_at: str
    run: str
    document: msgspec.Raw


_decoder = msgspec.json.Decoder(_Sidecar)


def render(revision: Revision) -> bytes:
    """Write the sidecar of a revision, indented for people; raise `Damaged` for a document that is not JSON."""
    fields = _Sidecar(
        format=FORMAT,
        workspace=revision.workspace_id,
        image=revision.image_id,
        revision=revision.number,
        sha256=revision.sha256,
        bytes=revision.size,
        media_type=revision.media_type,
        file=basename(revision.path),
        fetched_at=revision.fetched_at,
        run=revision.run,
        document=msgspec.Raw(compact(revision.document)),
    )
    return msgspec.json.format(msgspec.json.encode(fields), indent=2) + b"\n"


def read(data: bytes, path: str) -> Revision:
    """Read the sidecar at `path` (relative to the archive); raise `Damaged` for anything but a whole one of ours."""
    try:
        fields = _decoder.decode(data)
        # The decoder skips over the document without a look at the letters inside its strings.
        data.decode()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Damaged("the sidecar cannot be read", path=path, reason=str(error)) from error
    if fields.format != FORMAT:
        raise Damaged("the sidecar has a format that this version does not know", path=path, format=fields.format)
    if fields.revision < 1 or fields.bytes < 1 or not _SHA256.fullmatch(fields.sha256):
        raise Damaged("the sidecar says what cannot be", path=path)
    if not fields.file or fields.file in {".", ".."} or "/" in fields.file or "\0" in fields.file:
        raise Damaged("the sidecar names a file that is not beside it", path=path)
    return Revision(
        workspace_id=fields.workspace,
        image_id=fields.image,
        number=fields.revision,
        sha256=fields.sha256,
        size=fields.bytes,
        media_type=fields.media_type,
        path=join(dirname(path), fields.file),
        sidecar=path,
        fetched_at=fields.fetched_at,
        run=fields.run,
        document=compact(bytes(fields.document)),
    )


def compact(document: bytes) -> bytes:
    """Take the white space out of a document, so that two can be compared; raise `Damaged` for what is not JSON."""
    try:
        document.decode()
        return msgspec.json.format(document, indent=-1)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Damaged("the document is not JSON", reason=str(error)) from error
