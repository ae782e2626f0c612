"""What is told of uploads that are not settled: by `status`, and by `upload` of those that it leaves behind."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from syncer.cli.output import clean, plural, size
from syncer.model import UploadState
from syncer.redaction import redact

if TYPE_CHECKING:
    from syncer.manifest.reader import Row

SHOWN = 20

WORDS = {  # for people, where the state's own name is not enough
    UploadState.INTENDED: "unknown",
    UploadState.UNSENT: "pending",
    UploadState.UPLOADED: "uploaded but not proven yet",
    UploadState.REENCODED: "done in other bytes",
}
NEXT = {  # what happens to it, where nobody has to do anything
    UploadState.INTENDED: "it may have been sent: the next upload looks for it before anything is sent again",
    UploadState.UNKNOWN: "it was sent and not answered: the next upload looks for it before anything is sent again",
    UploadState.UNSENT: "nothing of it has arrived; it is sent when its file is uploaded or dropped again",
    UploadState.UPLOADED: "the next upload fetches it back and compares",
}
_ORDER = (UploadState.UNDECIDED, UploadState.UNKNOWN, UploadState.INTENDED, UploadState.UPLOADED, UploadState.UNSENT)


def said(state: str) -> str:
    """Name a state for people."""
    return WORDS.get(UploadState(state), state)


def settling(workspace_id: str, sha256: str, image_id: str | None = None) -> tuple[str, str]:
    """Write the two commands of which one settles an undecided upload: it is that image, and it never arrived.

    They name the configuration if this invocation did. The workspace's id is always understood; a name may change.
    """
    from syncer.cli.invocation import current

    config = current.get().config
    where = ["--workspace", workspace_id, *(["--config", str(config)] if config else [])]
    arrived = ["syncer", "upload", "--arrived", image_id or "IMAGE", sha256, *where]
    return shlex.join(arrived), shlex.join(["syncer", "upload", "--lost", sha256, *where])


def counted(counts: Mapping[str, int]) -> str:
    """Write how many uploads are in which state, those that are done first."""
    every = (UploadState.DONE, UploadState.REENCODED, *reversed(_ORDER), UploadState.REFUSED)
    told: dict[str, int] = {}
    for state in every:
        if count := counts.get(state, 0):
            told[said(state)] = told.get(said(state), 0) + count
    return ", ".join(f"{count:,} {word}" for word, count in told.items())


def unsettled(rows: Sequence[Row], names: Mapping[str, str | None]) -> Iterator[str]:
    """Write a line for each upload that is not settled, those first that a person has to settle, and how.

    `rows` are the manifest's, `names` the workspaces' by id.
    """
    rows = sorted(rows, key=_place)
    waiting = sum(row["state"] == UploadState.UNDECIDED for row in rows)
    if rows:
        verb = "is" if len(rows) == 1 else "are"
        yours = f", {waiting:,} of them for you to decide" if waiting else ""
        yield f"\n[bold yellow]{plural(len(rows), 'upload')}[/] {verb} not settled{yours}:"
    for row in rows[:SHOWN]:
        workspace = names.get(row["workspace_id"]) or row["workspace_id"]
        facts = [workspace, *([size(row["bytes"])] if row["bytes"] is not None else []), row["intended_at"][:19]]
        reason = redact(row["reason"] or NEXT.get(row["state"], ""))
        about = f": {clean(reason)}" if reason else ""
        yield f"  {clean(row['source'])}  {said(row['state'])}{about} [dim]({clean(', '.join(facts))})[/]"
        if row["state"] == UploadState.UNDECIDED:
            yield from to_settle(row["workspace_id"], row["sha256"], row["image_id"])
    if len(rows) > SHOWN:
        yield f"  … and {len(rows) - SHOWN} more: `syncer status --json`"


def to_settle(workspace_id: str, sha256: str, image_id: str | None) -> Iterator[str]:
    """Write the lines with the two commands that settle an undecided upload."""
    arrived, lost = settling(workspace_id, sha256, image_id)
    yield f"      [bold]→[/] it is that image:  {clean(arrived)}"
    yield f"      [bold]→[/] it never arrived:  {clean(lost)}"


def _place(row: Row) -> int:
    return _ORDER.index(row["state"]) if row["state"] in _ORDER else len(_ORDER)
