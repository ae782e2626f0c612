"""What the journal says: each change written as an event, and read back as what it was.

The two directions stand side by side because they have to agree: the manifest can be made anew from these events and
the sidecars alone. A stored image's event names its sidecar by hash; what the sidecar says is not repeated, since the
journal has to survive a lawful erasure: no prompts, no links, no documents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, assert_never

from syncer.archive.journal import Journal, JournalLine
from syncer.model import (
    Change,
    Failed,
    Forgiven,
    Found,
    Gone,
    Hole,
    Introduced,
    Lost,
    Read,
    Repaired,
    Revision,
    Stored,
    Upload,
    UploadState,
    Vanished,
    Verified,
)


@dataclass(frozen=True, slots=True)
class Kept:
    """A revision as its event tells it. The sidecar's hash and size are None where the archive keeps no sidecars."""

    workspace_id: str
    image_id: str
    revision: int
    sha256: str
    size: int
    path: str
    sidecar: str
    sidecar_sha256: str | None
    sidecar_size: int | None
    found: bool = False  # by a rebuild, rather than fetched


@dataclass(frozen=True, slots=True)
class Made:
    """The archive was made: its id, when its manifest was bound to it, and the hash of its marker."""

    archive: str
    created: str
    marker_sha256: str


Told = Kept | Made | Failed | Gone | Vanished | Introduced | Hole | Forgiven | Lost | Repaired | Verified | Upload


def tell(journal: Journal, change: Change, sidecar: Callable[[Revision], bytes | None]) -> None:
    """Append the event of one change; `sidecar` gives the bytes of a revision's, None where there is none."""
    match change:
        case Stored(_, revision, reason):
            event = f"image.{'stored' if reason == 'new' else reason}"
            _tell_kept(journal, event, revision, sidecar(revision))
        case Found(_, revision):
            _tell_kept(journal, "image.found", revision, sidecar(revision))
        case Failed(workspace_id, image_id, reason, at):
            journal.append("image.failed", at=at, workspace=workspace_id, image=image_id, reason=reason)
        case Gone(workspace_id, image_id, at):
            journal.append("image.gone", at=at, workspace=workspace_id, image=image_id)
        case Vanished(workspace_id, image_id, at):
            journal.append("image.vanished", at=at, workspace=workspace_id, image=image_id)
        case Forgiven(workspace_id, image_id):
            journal.append("image.forgiven", workspace=workspace_id, image=image_id)
        case Introduced(workspace_id, name, folder):
            journal.append("workspace.seen", workspace=workspace_id, name=name, folder=folder)
        case Hole(workspace_id, is_open):
            journal.append("workspace.hole", workspace=workspace_id, open=is_open)
        case Lost(workspace_id, image_id, number, path, reason, at):
            facts = {"workspace": workspace_id, "image": image_id, "revision": number, "path": path}
            journal.append("image.lost", at=at, **facts, reason=reason)
        case Repaired(workspace_id, image_id, number, path, evidence, at):
            facts = {"workspace": workspace_id, "image": image_id, "revision": number, "path": path}
            journal.append("image.repaired", at=at, **facts, evidence=evidence)
        case Verified():
            _tell_verified(journal, change)
        case Upload():
            _tell_upload(journal, change)
        case _:
            assert_never(change)


def tell_made(journal: Journal, made: Made) -> None:
    """Append the event that the archive was made."""
    journal.append("archive.made", archive=made.archive, created=made.created, marker_sha256=made.marker_sha256)


def tell_read(journal: Journal, read: Read) -> None:
    """Append the event of a listing that was read to its proven end. No row comes of it, so it is not read back."""
    journal.append(
        "workspace.read",
        workspace=read.workspace_id,
        mode=read.mode,
        images=read.images,
        ids_sha256=read.ids_sha256,
        complete=read.complete,
    )


def _tell_verified(journal: Journal, verified: Verified) -> None:
    journal.append(
        "archive.verified",
        at=verified.at,
        part=verified.part,
        parts=verified.parts,
        quick=verified.quick,
        resumed=verified.resumed,
        files=verified.files,
        bytes=verified.size,
        damage=verified.damage,
        findings=verified.findings,
    )


def _tell_upload(journal: Journal, upload: Upload) -> None:
    journal.append(
        f"upload.{upload.state}",
        at=upload.at,
        workspace=upload.workspace_id,
        sha256=upload.sha256,
        source=upload.source,
        bytes=upload.size,
        intended_at=upload.intended_at,
        image=upload.image_id,
        served_sha256=upload.served_sha256,
        reason=upload.reason,
    )


def _tell_kept(journal: Journal, event: str, revision: Revision, sidecar: bytes | None) -> None:
    journal.append(
        event,
        at=revision.fetched_at,
        workspace=revision.workspace_id,
        image=revision.image_id,
        revision=revision.number,
        sha256=revision.sha256,
        bytes=revision.size,
        path=revision.path,
        sidecar=revision.sidecar,
        sidecar_sha256=None if sidecar is None else digest(sidecar),
        sidecar_bytes=None if sidecar is None else len(sidecar),
    )


def told(line: JournalLine) -> Told | None:
    """Read an event back; None for one that is not about what is kept. Raises `KeyError` for one that lacks a fact."""
    facts = line.facts
    match line.event:
        case "image.stored" | "image.changed" | "image.returned" | "image.found":
            return _kept(facts, found=line.event == "image.found")
        case "image.failed":
            return Failed(facts["workspace"], facts["image"], facts["reason"], line.at)
        case "image.gone":
            return Gone(facts["workspace"], facts["image"], line.at)
        case "image.vanished":
            return Vanished(facts["workspace"], facts["image"], line.at)
        case "image.forgiven":
            return Forgiven(facts["workspace"], facts["image"])
        case "workspace.seen":
            return Introduced(facts["workspace"], facts["name"], facts["folder"])
        case "workspace.hole":
            return Hole(facts["workspace"], facts["open"])
        case "image.lost":
            where = (facts["workspace"], facts["image"], facts["revision"], facts["path"])
            return Lost(*where, facts["reason"], line.at)
        case "image.repaired":
            where = (facts["workspace"], facts["image"], facts["revision"], facts["path"])
            return Repaired(*where, facts["evidence"], line.at)
        case "archive.made":
            return Made(facts["archive"], facts["created"], facts["marker_sha256"])
        case "archive.verified":
            looked = (facts["part"], facts["parts"], facts["quick"], facts["resumed"], facts["files"], facts["bytes"])
            return Verified(*looked, facts["damage"], facts["findings"], line.at)
        case event if event in _UPLOADS:
            what = (facts["workspace"], facts["sha256"], _UPLOADS[event], facts["source"], facts["bytes"])
            return Upload(*what, facts["intended_at"], line.at, facts["image"], facts["served_sha256"], facts["reason"])
        case _:
            return None


_UPLOADS = {f"upload.{state}": state for state in UploadState}


def _kept(facts: dict[str, Any], *, found: bool) -> Kept:
    return Kept(
        workspace_id=facts["workspace"],
        image_id=facts["image"],
        revision=facts["revision"],
        sha256=facts["sha256"],
        size=facts["bytes"],
        path=facts["path"],
        sidecar=facts["sidecar"],
        sidecar_sha256=facts["sidecar_sha256"],
        sidecar_size=facts["sidecar_bytes"],
        found=found,
    )


def digest(data: bytes) -> str:
    """Hash bytes as all of syncer spells it."""
    return hashlib.sha256(data).hexdigest()
