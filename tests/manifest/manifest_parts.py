"""Builders for the manifest's tests: images, revisions and the outcomes that bring them in."""

from __future__ import annotations

from typing import Any

from syncer.model import Failed, Image, Reason, Revision, Stored

WS = "ws"
MARCH, APRIL, MAY = (f"2026-0{month}-01T00:00:00Z" for month in (3, 4, 5))


def stored(image_id: str = "img", number: int = 1, *, at: str = MARCH, workspace: str = WS, **fields: Any) -> Stored:
    """An image that was brought in; `fields` are the image's."""
    given: dict[str, Any] = {"updated_at": MARCH, "created_at": MARCH, "document": b'{"id":"img"}'}
    image = Image(id=image_id, workspace_id=workspace, **{**given, **fields})
    return Stored(image, revision(image, number, at), Reason.NEW)


def revision(image: Image, number: int, at: str) -> Revision:
    stem = f"{image.workspace_id}/2026/03/01/{image.id}.r{number}"
    return Revision(
        workspace_id=image.workspace_id,
        image_id=image.id,
        number=number,
        sha256=f"{number:064x}",
        size=1000 + number,
        media_type="image/png",
        path=f"{stem}.png",
        sidecar=f"{stem}.json",
        fetched_at=at,
        run="run-1",
        document=image.document,
    )


def failed(image_id: str = "img", reason: str = "no answer", at: str = MARCH, workspace: str = WS) -> Failed:
    return Failed(workspace, image_id, reason, at)
