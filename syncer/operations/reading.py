"""Read one page of a listing as the passes need it."""

from __future__ import annotations

from syncer.errors import Refused
from syncer.model import ImagePage
from syncer.operations.rooms import Looking

BEYOND_THE_END = frozenset({400, 404, 410, 422})  # what a service may say to a page that it does not have


async def read_page(rooms: Looking, workspace_id: str, number: int) -> ImagePage:
    """Ask for a page; one beyond the last may be refused, which is an empty page as long as the first one answers.

    The documentation leaves open what is said there. Whether an empty page is the end is left to the listing.
    """
    try:
        return await rooms.service.page(workspace_id, number)
    except Refused as error:
        if number == 1 or error.status not in BEYOND_THE_END:
            raise
        await rooms.service.page(workspace_id, 1)  # raises where the workspace itself is not visible any more
        return ImagePage(images=())
