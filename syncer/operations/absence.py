"""Absence is not deletion (promise 3): what must hold before an image that is not listed is marked gone.

A converged listing does not show it; the deletion brake holds still; the service answers 404 or 410 for the id
itself, twice, some time apart; and the workspace still lists in between. Any other answer leaves it live.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field

from syncer.errors import NotFound, SyncerError
from syncer.model import Image
from syncer.operations.pool import Pool
from syncer.operations.reading import read_page
from syncer.operations.rooms import Looking
from syncer.service.listing import Listing, Whole
from syncer.settings import SafetySettings

APART_SECONDS = 1.0  # between the two tries; a cache or a replica that lags answers wrongly for moments, not seconds


def brake(absent: int, live: int, listed: int, safety: SafetySettings) -> str | None:
    """Say why so many deletions at once need a person's word; None when they do not."""
    if not absent:
        return None
    if not listed:
        return f"the workspace lists no image at all, {live} are held"
    percent = 100 * absent / max(live, absent)  # those that came back and vanished again were not live
    if absent > safety.max_gone_items and percent > safety.max_gone_percent:
        return (
            f"{absent} of {live} images ({percent:.0f} %) are not listed any more; "
            f"the limits are {safety.max_gone_items} images and {safety.max_gone_percent:g} %"
        )
    return None


async def listed_now(rooms: Looking, workspace_id: str) -> Container[str] | None:
    """Read the whole listing again, for its ids alone; None where it cannot be trusted or had."""
    listing = Listing()
    try:
        while listing.next is not None:
            listing.take(await read_page(rooms, workspace_id, listing.next))
    except SyncerError as error:
        if error.fatal:
            raise
        return None
    return listing.seen if isinstance(listing.verdict, Whole) else None


@dataclass(slots=True)
class Answers:
    """What the service said about images that it does not list."""

    missing: list[str] = field(default_factory=list)
    alive: list[Image] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)


async def ask(rooms: Looking, workspace_id: str, image_ids: Sequence[str]) -> Answers:
    """Ask for each image by its id. Raises only what ends the run."""
    answers = Answers()

    async def one(image_id: str) -> None:
        try:
            answers.alive.append(await rooms.service.image(workspace_id, image_id))
        except NotFound:
            answers.missing.append(image_id)
        except SyncerError as error:
            if error.fatal:
                raise
            answers.unsure.append(image_id)

    async with Pool(rooms.slots) as pool:
        for image_id in image_ids:
            await pool.submit(one, image_id)
    return answers


async def confirm(rooms: Looking, workspace_id: str, absent: Sequence[str]) -> Answers:
    """Ask twice, apart in time, for images absent from a converged listing; only `missing` may be marked gone."""
    first = await ask(rooms, workspace_id, absent)
    if not first.missing:
        return first
    await rooms.sleep(APART_SECONDS)
    await rooms.service.page(workspace_id, 1)  # raises when the workspace itself is not visible any more
    second = await ask(rooms, workspace_id, first.missing)
    return Answers(
        missing=sorted(second.missing),
        alive=first.alive + second.alive,
        unsure=first.unsure + second.unsure,
    )
