"""`syncer list`: the images in the archive, offline."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from syncer.cli.output import all_data, clean, data, out, plain, plural, say, size
from syncer.errors import ConfigError

if TYPE_CHECKING:
    from syncer.manifest.reader import Filter, Reader, Row
    from syncer.settings import Settings


def list_(
    workspace: str | None = None,
    *,
    state: Literal["live", "gone"] | None = None,
    model: str | None = None,
    text: str | None = None,
    limit: Annotated[int | None, Parameter(name=["--limit", "-l"])] = None,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """List the images in the archive, the newest first. Reads the archive only.

    Parameters
    ----------
    workspace
        Id or name of one workspace.
    state
        Only images that the service still has (live), or those it deleted (gone).
    model
        Only images of this model.
    text
        Only images with this in their prompt.
    limit
        At most so many.
    json
        Write JSON lines to stdout, the last one with the type "summary".
    """
    from syncer.cli.invocation import settings
    from syncer.cli.looking import reading
    from syncer.manifest.reader import Filter

    if limit is not None and limit < 0:
        raise ConfigError("--limit wants a whole number, 0 or more")
    loaded = settings()
    count = 0
    with reading(loaded) as reader:
        only = Filter(None, state, model, text, limit)
        rows = reader.images(_in_workspace(only, reader, loaded, workspace)) if reader else iter(())
        if json:
            count = all_data({"type": "image", **row} for row in rows)
        else:
            for row in rows:
                count += 1
                if out.is_terminal:
                    out.print(_line(row))
                else:  # a line an image, with tabs, for a pipe
                    sys.stdout.write("\t".join(map(plain, _cells(row))) + "\n")
    if json:
        data({"type": "summary", "command": "list", "images": count})
    else:
        say(plural(count, "image") if count else "No image in the archive matches; `syncer status` says what is held.")
    return 0


def _in_workspace(only: Filter, reader: Reader, settings: Settings, wanted: str | None) -> Filter:
    if wanted is None:
        return only
    held = reader.names()
    known = {str(row[key]): str(row["workspace_id"]) for row in held for key in ("name", "workspace_id") if row[key]}
    known |= {workspace.name: workspace.id for workspace in settings.workspaces if workspace.name}
    if wanted not in known:
        names = sorted(str(row["name"] or row["workspace_id"]) for row in held)
        raise ConfigError(
            f"nothing of a workspace {wanted!r} is in the archive",
            hint=f"there is: {', '.join(names) or 'nothing yet'}",
        )
    return replace(only, workspace_id=known[wanted])


def _cells(row: Row) -> tuple[str, ...]:
    pixels = f"{row['width']}×{row['height']}" if row["width"] and row["height"] else ""
    prompt = " ".join((row["prompt"] or "").split())
    created = (row["created_at"] or "")[:19]
    return row["image_id"], row["state"], created, row["model"] or "", pixels, size(row["bytes"]), prompt


def _line(row: Row) -> str:
    image, state, created, model, pixels, count, prompt = map(clean, _cells(row))
    mark = f"[yellow]{state}[/]" if state == "gone" else f"[green]{state}[/]"
    return f"[bold]{image}[/]  {mark}  {created[:10]:<10}  {model}  {pixels}  {count}  [dim]{prompt}[/]"
