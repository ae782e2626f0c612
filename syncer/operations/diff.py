"""Say what one listed image needs. Pure: plain values in, an action out."""

from __future__ import annotations

from syncer.model import Action, Entry, Fetch, Image, Keep, Reason, State


def decide(image: Image, entry: Entry | None) -> Action:
    """Say what one listed image needs, given what the manifest remembers of it."""
    if entry is None:
        return Fetch(image, Reason.NEW)
    if entry.state is State.GONE:
        return Fetch(image, Reason.RETURNED, entry)
    if entry.updated_at != image.updated_at:  # opaque: the service's clock may step back
        return Fetch(image, Reason.CHANGED, entry)
    return Keep(image)
