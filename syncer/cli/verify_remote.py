"""`syncer verify --remote`: what is held against what the service has now."""

from __future__ import annotations

import os
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import structlog

from syncer.cli.output import clean, data, interactive, plural, say

if TYPE_CHECKING:
    from syncer.operations.remote import Comparison, Differs
    from syncer.operations.verification import Part
    from syncer.settings import Settings

SILENT, UNANSWERED, DOWN = 4, 3, 8

log = structlog.get_logger()


def carry_out(settings: Settings, part: Part, *, json: bool) -> int:
    """Run one comparison to its exit code and tell how it went."""
    from syncer import app
    from syncer.cli.running import run
    from syncer.operations.remote import Comparison, compare

    result = Comparison()
    started = time.monotonic()

    async def work() -> int:
        async with app.opened(settings, os.environ, "verify --remote") as rooms:
            await compare(rooms, part, lambda differs: _tell(differs, json=json), result)
            return _code(result, down=rooms.service.down)

    code = run(work())
    seconds = time.monotonic() - started
    counts = [f"{result.silent:,} changed silently", f"{result.changed:,} changed since the last backup"]
    if result.not_found:
        counts.append(f"{result.not_found:,} not found at the service (a full backup decides about them)")
    if result.unanswered:
        counts.append(f"{result.unanswered:,} without an answer")
    colour = "green" if code == 0 else "yellow"
    say(f"[bold {colour}]{plural(result.compared, 'image')} compared[/] in {seconds:.1f} s: {', '.join(counts)}.")
    if json:
        outcome = {"seconds": round(seconds, 3), "exit_code": code}
        data({"type": "summary", "command": "verify --remote", **asdict(result), **outcome})
    return code


def _code(result: Comparison, *, down: bool) -> int:
    if result.silent:
        return SILENT
    if result.unanswered:
        return DOWN if down or not (result.compared or result.not_found) else UNANSWERED
    return 0


def _tell(differs: Differs, *, json: bool) -> None:
    parts = ("bytes" if differs.bytes_differ else "", "document" if differs.document_differs else "")
    what = " and ".join(part for part in parts if part)
    how = "changed silently: updatedAt stayed" if differs.silent else "changed since the last backup"
    if json:
        data({"type": "finding", "finding": "silent_change" if differs.silent else "changed", **asdict(differs)})
    if interactive():
        say(f"[yellow]{how}[/]  [bold]{clean(differs.image_id)}[/]  {what}; kept as revision {differs.revision}")
    else:
        told = log.warning if differs.silent else log.info
        told(
            "image.differs",
            workspace=differs.workspace_id,
            image=differs.image_id,
            what=what,
            silent=differs.silent,
            revision=differs.revision,
        )
