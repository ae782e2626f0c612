"""Look for uploads whose answer was lost among the newest images of a workspace.

All that are missing are looked for together, while nothing else is being sent there, so that an image is given to one
of them at most. The same bytes are proof. For a service that encodes anew, one image that shows the same picture, and
that no other could be, will do. Absence counts only in a whole look some time after the attempt was over, for a service
may still be at work when its answer is lost; and where anything stays unclear nothing is concluded. `verdict` is pure.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import assert_never

import structlog

from syncer.errors import NotFound, SyncerError
from syncer.model import Image, Upload, UploadState, moment
from syncer.operations.likeness import Look, alike
from syncer.operations.reading import read_page
from syncer.operations.rooms import Looking
from syncer.operations.upload_proof import WITHOUT_FILE, Prover
from syncer.redaction import redact
from syncer.service.listing import Listing, Whole

PAUSES = (0.0, 2.0, 3.0, 5.0, 10.0, 20.0, 20.0)  # seconds before each look
SOON = 10.0  # seconds after an attempt that was cut off, until its absence counts
LATE = 60.0  # and after one whose answer did not come in time: the service may take as long as it took before
MARGIN = timedelta(minutes=15)  # by which clocks may differ beyond what is known, or may have been set since
_EPOCH = datetime.fromtimestamp(0, UTC)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Missing:
    """An upload to look for. `patience` is in seconds, `look` None where the file is not at hand or not readable.

    Images from before `since`, by the service's clock, are none of it. `accepted`: the service said that it has it.
    """

    upload: Upload
    since: datetime
    patience: float = SOON
    accepted: bool = False
    look: Look | None = None
    at_hand: bool = False

    def could_be(self, image: Image) -> bool:
        """Say whether an image is young enough; one without a readable time is."""
        created = made_by(image)
        return created is None or created >= self.since

    def asks_for(self, image: Image) -> bool:
        """Say whether the image's bytes may tell: its size is ours or not stated, or it may be ours in other bytes."""
        if self.upload.size is None:
            return False
        return image.size in {None, self.upload.size} or (self.look is not None and self._fits(image))

    def differs(self, candidate: Candidate) -> bool:
        """Say whether a candidate of other bytes is surely another picture."""
        if self.look is None:
            return False
        if candidate.look is not None and alike(self.look, candidate.look) is False:
            return True
        return not self._fits(candidate.image)

    def _fits(self, image: Image) -> bool:
        stated = image.width, image.height
        return self.look is None or None in stated or {*stated} == {self.look.width, self.look.height}


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image that may be one of those missing; `trouble` says why its bytes cannot be had just now.

    Without trouble and hash its bytes were not asked for: by what is stated of it, they are not those of any.
    """

    image: Image
    sha256: str | None = None
    look: Look | None = field(default=None, repr=False)
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Found:
    """It is this image: by its bytes, or (`reencoded`) as the only one that shows the same picture."""

    image_id: str
    served_sha256: str
    reencoded: bool = False


@dataclass(frozen=True, slots=True)
class Absent:
    """It is not there."""


@dataclass(frozen=True, slots=True)
class Unclear:
    """It cannot be told for now: something could not be read."""

    reason: str


@dataclass(frozen=True, slots=True)
class Undecided:
    """It cannot be told at all, but by a person."""

    reason: str


Verdict = Found | Absent | Unclear | Undecided


def verdict(
    one: Missing, missing: Sequence[Missing], candidates: Sequence[Candidate], *, reencodes: bool | None
) -> Verdict:
    """Say what a look shows of one of those missing.

    `reencodes` says whether the service is known to serve other bytes than it was sent: None where nothing is known.
    """
    mine = [candidate for candidate in candidates if one.could_be(candidate.image)]
    same = [candidate.image for candidate in mine if candidate.sha256 == one.upload.sha256]
    if same:
        image = min(same, key=lambda image: (image.created_at or "", image.id))
        return Found(image.id, one.upload.sha256)
    others = {each.upload.sha256 for each in missing}
    mine = [candidate for candidate in mine if candidate.sha256 not in others]
    trouble = [candidate.trouble for candidate in mine if candidate.trouble and one.asks_for(candidate.image)]
    if trouble:
        return Unclear(trouble[0])
    possible = [candidate for candidate in mine if not one.differs(candidate)]
    if one.upload.size is None:
        return Undecided(f"it may be {_named(possible)}") if possible else _nothing(one)
    like = [each for each in possible if each.look and one.look and alike(one.look, each.look)]
    if len(like) == 1 and reencodes is not False:
        (candidate,) = like
        rivals = [each for each in missing if each is not one and each.look and not each.differs(candidate)]
        if not rivals and candidate.sha256 is not None:
            return Found(candidate.image.id, candidate.sha256, reencoded=True)
    if like:
        return Undecided(f"it may be {_named(like)}: the same picture in other bytes")
    # With the file, not even a service that has kept all bytes is trusted: it may encode this kind of picture anew.
    if possible and (one.at_hand or reencodes is not False):
        return Undecided(f"it may be {_named(possible)}" if one.at_hand else f"{WITHOUT_FILE}: {_named(possible)}")
    return _nothing(one)


def _nothing(one: Missing) -> Verdict:
    return Undecided("the service said that it has it, and does not list it") if one.accepted else Absent()


def _named(candidates: Sequence[Candidate]) -> str:
    names = [candidate.image.id for candidate in candidates]
    shown = ", ".join(names[:3])
    return f"image {shown}" + (f" or one of {len(names) - 3} others" if len(names) > 3 else "")


def known_to_reencode(uploads: Sequence[Upload]) -> bool | None:
    """Say what earlier uploads of a workspace show: whether its service serves other bytes than it is sent."""
    if any(upload.state is UploadState.REENCODED for upload in uploads):
        return True
    faithful = any(upload.state is UploadState.DONE and upload.served_sha256 == upload.sha256 for upload in uploads)
    return False if faithful else None


def made_by(image: Image) -> datetime | None:
    """Say by when an image was made at the latest; None where that cannot be read."""
    # A time without an offset may be of any zone. With the last one's behind it no other time can be read.
    return moment(f"{image.created_at}-12:00") or moment(image.created_at)


def intended(rooms: Looking) -> datetime:
    """Say when an upload that begins now is intended: by the service's clock where ours is seen to be far ahead.

    It may be set right before the image is looked for, which would seem to be older than the intent then.
    """
    ahead = timedelta(seconds=rooms.service.clock_skew or 0.0)
    return rooms.now() - ahead if ahead > MARGIN else rooms.now()


def since(rooms: Looking, upload: Upload) -> datetime:
    """Say from when on an upload's image may be, by the service's clock."""
    dated = min(moment(upload.intended_at) or _EPOCH, rooms.now())  # our clock may have been set back
    # Only ever further back: what its answers' `Date` says need not be the clock that its images are dated by.
    return dated - MARGIN - timedelta(seconds=max(0.0, rooms.service.clock_skew or 0.0))


class Search:
    """Looks for the missing uploads of one workspace; `claimed` are the images that others are known to be."""

    def __init__(
        self, rooms: Looking, prover: Prover, workspace_id: str, claimed: Collection[str], *, reencodes: bool | None
    ) -> None:
        self._rooms = rooms
        self._prover = prover
        self._workspace_id = workspace_id
        self._claimed = set(claimed)
        self._reencodes = reencodes
        self._known: dict[str, Candidate] = {}  # whose bytes have been had
        self.trouble: SyncerError | None = None  # why the listing could not be read

    async def find(self, missing: Sequence[Missing]) -> Mapping[str, Verdict]:
        """Look until something is concluded of each; by the hash of the upload. Raises only what ends the run."""
        concluded: dict[str, Verdict] = {}
        waited = 0.0
        for pause in PAUSES:
            await self._rooms.sleep(pause)
            waited += pause
            left = [each for each in missing if each.upload.sha256 not in concluded]
            for each, seen in zip(left, await self._look(left), strict=True):
                if (isinstance(seen, Found) and not seen.reencoded) or waited >= each.patience or self.trouble:
                    concluded[each.upload.sha256] = seen
                    if isinstance(seen, Found):
                        self._claimed.add(seen.image_id)
            if len(concluded) == len(missing):
                break
        return concluded

    async def _look(self, missing: Sequence[Missing]) -> list[Verdict]:
        try:
            images, whole, hidden = await self._newest(min(each.since for each in missing))
            candidates = [
                await self._candidate(image, missing)
                for image in images
                if image.id not in self._claimed and any(each.could_be(image) for each in missing)
            ]
        except SyncerError as error:
            if error.fatal:
                raise
            self.trouble = error
            return [Unclear(f"the newest images cannot be listed: {redact(str(error))}")] * len(missing)
        there = [candidate for candidate in candidates if candidate is not None]
        seen = [verdict(each, missing, there, reencodes=self._reencodes) for each in missing]
        return [_within(each, whole=whole, hidden=hidden) for each in seen]

    async def _newest(self, oldest: datetime) -> tuple[list[Image], bool, bool]:
        """Read the images that are not older; says whether these are all of them, and whether rows are unreadable."""
        listing, found = Listing(), list[Image]()
        while (number := listing.next) is not None:
            page = await read_page(self._rooms, self._workspace_id, number)
            found += listing.take(page)
            # Newest first: a page of nothing but older ones ends it, if none has moved up past us meanwhile.
            old = [(created := made_by(image)) is not None and created < oldest for image in page.images]
            if old and all(old) and not page.unreadable and listing.next == number + 1:
                return found, True, bool(listing.unreadable)
        return found, isinstance(listing.verdict, Whole), bool(listing.unreadable)

    async def _candidate(self, image: Image, missing: Sequence[Missing]) -> Candidate | None:
        """Learn what can be known of an image; None for one that is gone meanwhile."""
        if image.id in self._known:
            return self._known[image.id]
        if not any(each.could_be(image) and each.asks_for(image) for each in missing):
            return Candidate(image)
        try:
            sha256, look = await self._prover.look(image)
        except SyncerError as error:
            if error.fatal:
                raise
            log.debug("upload.unclear", image=image.id, error=str(error))
            try:
                await self._rooms.service.image(image.workspace_id, image.id)
            except NotFound:
                return None
            return Candidate(image, trouble=f"the content of image {image.id} cannot be had: {redact(str(error))}")
        self._known[image.id] = Candidate(image, sha256, look)
        return self._known[image.id]


def _within(seen: Verdict, *, whole: bool, hidden: bool) -> Verdict:
    """Say what a verdict is worth, given how much of the listing could be read."""
    match seen:
        case Found(reencoded=False) | Unclear():
            return seen
        case Found() | Absent() | Undecided() if not whole:
            return Unclear("the listing keeps moving, and was not read whole")
        case Absent() if hidden:
            return Undecided("a row of the listing cannot be read, and it may be that one")
        case Found() | Absent() | Undecided():
            return seen
        case _:
            assert_never(seen)
