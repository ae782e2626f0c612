"""Read the manifest along with a listing, in the listing's own order.

To look each listed image up by its id costs more than all else in a pass that finds nothing new: ids are random, so
each look-up reads another corner of the index. A listing comes newest first, and so can the manifest: reading it along
meets the same images at the same time. Nothing depends on the two orders being the same. An image that is not met is
looked up by its id, so that only time is lost.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from itertools import islice

from syncer.manifest.manifest import Manifest
from syncer.model import Image

BATCH = 2000  # images that are read at a time
MOST = 10_000  # that are held in memory: those that wait for a listing which does not show them, or much later
_BEGINNING = ("\U0010ffff", "")  # sorts behind every time, so that the newest image comes after it
_NOT_MET = object()  # equal to no time


class Ahead:
    """The live images of one workspace that the manifest remembers around the place that a listing has come to."""

    def __init__(self, manifest: Manifest, workspace_id: str, besides: Set[str]) -> None:
        """Begin at the newest; the images `besides` are never met."""
        self._manifest = manifest
        self._workspace_id = workspace_id
        self._besides = besides
        self._live: dict[str, str | None] = {}  # `updated_at` by id
        self._position: tuple[str, str] | None = _BEGINNING  # None at the end

    async def unsettled(self, images: Sequence[Image]) -> list[Image]:
        """Leave out the images that are met, live and unchanged, so that `decide` would keep them."""
        rest = self._unmet(images)
        if self._position and any(image.created_at and image.created_at <= self._position[0] for image in rest):
            await self._read_on(self._position)  # not twice: a single odd time must not carry us off to the end
            rest = self._unmet(rest)
        return rest

    def _unmet(self, images: Sequence[Image]) -> list[Image]:
        met = self._live.pop
        return [image for image in images if met(image.id, _NOT_MET) != image.updated_at]

    async def _read_on(self, position: tuple[str, str]) -> None:
        for image_id in list(islice(self._live, max(0, len(self._live) + BATCH - MOST))):
            del self._live[image_id]
        found = await self._manifest.newest(self._workspace_id, position, BATCH)
        self._position = None
        if len(found) == BATCH:
            last = next(reversed(found))
            self._position = (await self._manifest.created_at(self._workspace_id, last) or "", last)
        for image_id in found.keys() & self._besides:
            del found[image_id]
        self._live |= found
