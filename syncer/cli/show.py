"""`syncer show`: all that is kept of one image, offline."""

from __future__ import annotations

import json as json_module
import math
from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter

from syncer.cli.output import clean, data, out, size
from syncer.errors import ConfigError, NotFound
from syncer.model import UploadState
from syncer.redaction import redact

if TYPE_CHECKING:
    from syncer.manifest.reader import Row

FIELDS = (
    "workspace_id",
    "state",
    "gone_since",
    "created_at",
    "updated_at",
    "first_seen",
    "model",
    "prompt",
    "created_by",
    "generation_id",
    "media_type",
    "sha256",
)


def show_(image: str, *, json: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Show one image: what the service says of it, where its bytes lie, and every revision kept.

    Parameters
    ----------
    image
        The image's id, or the beginning of it if that is unambiguous.
    json
        Write JSON lines to stdout, the last one with the type "summary".
    """
    from syncer.cli.invocation import settings
    from syncer.cli.looking import reading

    loaded = settings()
    with reading(loaded) as reader:
        rows = reader.image(image) if reader else []
        if not rows:
            raise NotFound(f"no image {image!r} in the archive", hint="`syncer list` shows what is held")
        if len({row["image_id"] for row in rows}) > 1:
            raise ConfigError(
                f"several images begin with {image!r}", hint="one of: " + ", ".join(row["image_id"] for row in rows)
            )
        assert reader is not None  # noqa: S101  there are rows
        revisions = {row["workspace_id"]: reader.revisions(row["workspace_id"], row["image_id"]) for row in rows}
        uploads = {row["workspace_id"]: reader.uploaded(row["workspace_id"], row["image_id"]) for row in rows}
    for row in rows:
        kept, sent = revisions[row["workspace_id"]], uploads[row["workspace_id"]]
        if json:
            told = [{**one, "document": _read(one["document"])} for one in kept]
            document = told[-1]["document"] if told else None
            data({"type": "image", **row, "document": document, "uploads": sent, "revisions": told})
        else:
            _tell(row, kept, sent, str(loaded.archive.path))
    if json:
        data({"type": "summary", "command": "show", "images": len(rows)})
    return 0


def _read(document: str) -> object:
    """Read a document; a number that would not come out as JSON again is given as the text that the service wrote."""
    return json_module.loads(document, parse_int=_whole_number, parse_float=_number)


def _whole_number(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:  # more digits than Python takes
        return text


def _number(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


def _tell(row: Row, revisions: list[Row], uploads: list[Row], root: str) -> None:
    out.print(f"[bold]{clean(row['image_id'])}[/]")
    for name in FIELDS:
        if row[name] not in {None, ""}:
            out.print(f"  [dim]{name.replace('_', ' '):<14}[/] {clean(str(row[name]))}")
    if row["width"] and row["height"]:
        out.print(f"  [dim]{'pixels':<14}[/] {row['width']} × {row['height']}")
    out.print(f"  [dim]{'file':<14}[/] {clean(root)}/{clean(row['path'])} ({size(row['bytes'])})")
    for one in uploads:
        out.print(f"  [dim]{'uploaded from':<14}[/] {clean(redact(_origin(one)))}")
    out.print("\n  [bold]revisions[/]")
    for one in revisions:
        file, sidecar = (str(one[name] or "").rpartition("/")[2] for name in ("path", "sidecar"))
        told = f"{one['fetched_at'][:19]}  {size(one['bytes']):>10}  sha256 {one['sha256'][:16]}…"
        out.print(f"  {one['revision']:>3}  {told}  [dim]{clean(file)}, {clean(sidecar)}[/]")
    if revisions:
        out.print("\n  [bold]document[/], as the service gave it")
        text = msgspec.json.format(revisions[-1]["document"], indent=2)
        out.print(clean("\n".join("  " + line for line in text.splitlines())))
    out.print()


def _origin(upload: Row) -> str:
    """Say what an image was made of, and how sure that is."""
    told = f"{upload['source']}, sha256 {upload['sha256']}, on {upload['intended_at'][:19]}"
    match upload["state"]:
        case UploadState.DONE:
            return told
        case UploadState.REENCODED:
            return f"{told}; the service serves the same picture in other bytes"
        case UploadState.REFUSED:
            return f"{told}; not the same picture: {upload['reason']}"
        case _:
            return f"{told}; not proven yet"
