"""Bring one parcel up: read, judge, remember the intent, send, prove; and turn what fails into what became of it.

The row of (workspace, hash) is the state, and each step is durable before the next one begins: what is stopped anywhere
is gone on with from there. An upload whose answer was lost is not sent again here; it is put off until `upload_search`
has told what became of it. Two parcels of one content take turns, and the second finds what the first one left.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum, auto

import structlog
from structlog.contextvars import bind_contextvars

from syncer.archive.budget import Budget
from syncer.archive.pictures import HEAD, complete, is_text, sniff
from syncer.errors import NotFound, QuotaReached, Refused, SyncerError, Unauthorized, Unavailable, Unsettled
from syncer.inbox.drop import EMPTY, TOO_LARGE, read
from syncer.model import Upload, UploadState, moment
from syncer.operations.ledger import Ledger
from syncer.operations.likeness import Look, look
from syncer.operations.parcels import Delivered, Kind, Parcel, Uploads, UploadSending, UploadWatch
from syncer.operations.rooms import Looking, Rooms
from syncer.operations.upload_address import source_of
from syncer.operations.upload_proof import WITHOUT_FILE, Prover
from syncer.operations.upload_search import LATE, SOON, intended
from syncer.redaction import redact
from syncer.service.upload import Inline, Remote, Source

ACCEPTED = "the service took the upload, and its answer is lost"  # the reason of what must not be taken for absent

NEW = timedelta(minutes=10)  # for so long, an image that is not known is not taken for one that was deleted
HELD = 64 << 20  # bytes of files that are held at one time; the largest one may need more
_GATEWAYS = frozenset({408, 504, 524})  # somebody gave up waiting for the service, which may go on
_OF_THE_WORKSPACE = frozenset({None, 401, 403, 404, 405, 407, 410})  # refusals that the next file would meet as well
_HINTS = {413: "make the picture smaller"}
_HINT = "save it as PNG, JPEG or WebP with another program, and upload that"
_OF_AN_ADDRESS = "give the address of a PNG, JPEG or WebP file that everybody may fetch, or upload the file itself"
_FAULTS = {
    EMPTY: "copy it anew from where it came from",
    TOO_LARGE: "raise limits.upload_bytes, or make the picture smaller",
}
_FAULT = "only pictures that are files of their own are uploaded"

Key = tuple[str, str]  # workspace and hash

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Content:
    """What a parcel holds: its hash, and how it is sent. `body` is None for an address."""

    parcel: Parcel
    sha256: str
    source: Source = field(repr=False)
    body: bytes | None = field(default=None, repr=False)

    @property
    def key(self) -> Key:
        return self.parcel.workspace.id, self.sha256

    @property
    def size(self) -> int | None:
        return None if self.body is None else len(self.body)


async def unpacked(parcel: Parcel) -> Content | Delivered:
    """Read a parcel and judge what is in it; says what becomes of one that is not to be sent.

    Whoever asks vouches for the memory. Raises `Refused` for a file that cannot be read.
    """
    if parcel.address is not None:
        sha256 = hashlib.sha256(parcel.address.encode()).hexdigest()
        return Content(parcel, sha256, Remote(parcel.address))
    assert parcel.drop is not None  # noqa: S101  a parcel is either
    if parcel.drop.fault is not None:
        hint = _FAULTS.get(parcel.drop.fault.partition(":")[0], _FAULT)
        return Delivered(Kind.REFUSED, parcel, reason=parcel.drop.fault, hint=hint)
    body = await read(parcel.drop)
    if body is None:
        return Delivered(Kind.PENDING, parcel, reason="the file has changed, or is gone")
    kind = sniff(body[:HEAD])
    if kind is None:
        what = "text" if is_text(body[:HEAD]) else "of no known kind"
        return Delivered(Kind.REFUSED, parcel, reason=f"not a picture: its bytes are {what}", hint=_HINT)
    if (reason := complete(kind, body)) is not None:
        hint = "copy it anew from where it came from"
        return Delivered(Kind.REFUSED, parcel, reason=f"the picture is cut off: {reason}", hint=hint)
    sha256 = await asyncio.to_thread(lambda: hashlib.sha256(body).hexdigest())
    return Content(parcel, sha256, Inline(kind.media_type, body), body)


class Step(Enum):
    """What is to be done next about a content."""

    SEND = auto()
    LOOK = auto()  # for its image: it may have been sent
    PROVE = auto()
    NOTHING = auto()  # it is there, proven
    ASK = auto()  # a person


def next_step(row: Upload | None, *, again: bool = False) -> Step:
    """Say what to do about a content that is at hand, given what is remembered of it.

    With `again`, what is settled, undecided or refused is sent once more; what may be on its way never is.
    """
    match row:
        case None | Upload(state=UploadState.UNSENT) | Upload(state=UploadState.REFUSED, image_id=None):
            return Step.SEND
        case Upload(state=UploadState.INTENDED | UploadState.UNKNOWN):
            return Step.LOOK
        case Upload(state=UploadState.UPLOADED):
            return Step.PROVE
        case _ if again:
            return Step.SEND
        case Upload(state=UploadState.DONE | UploadState.REENCODED):
            return Step.NOTHING
        case Upload(image_id=None, reason=str(reason)) if reason.startswith(WITHOUT_FILE):  # now there is a file
            return Step.LOOK
        case Upload(image_id=None):
            return Step.ASK
        case _:  # undecided for want of the file, or another picture when it was last looked at
            return Step.PROVE


def now(rooms: Looking) -> str:
    """Return the time as rows and journal spell it."""
    return _spelled(rooms.now())


def _spelled(time: datetime) -> str:
    return time.isoformat(timespec="seconds").replace("+00:00", "Z")


@dataclass(slots=True)
class Courier:
    """Carries the parcels of one run.

    `deferred` are those whose upload has to be looked for first; `patience` says for how many seconds its absence means
    nothing. Of each key that was met: whether it was `sent` by this run, and has been `looked` for since, and, where
    that came to nothing, why it is `unclear`.
    """

    rooms: Rooms
    ledger: Ledger
    prover: Prover
    watch: UploadWatch
    result: Uploads
    again: bool = False
    deferred: list[Parcel] = field(default_factory=list)
    patience: dict[Key, float] = field(default_factory=dict)
    met: dict[Key, Parcel] = field(default_factory=dict)
    sent: set[Key] = field(default_factory=set)
    looked: set[Key] = field(default_factory=set)
    unclear: dict[Key, str] = field(default_factory=dict)
    _attempts: Counter[Key] = field(default_factory=Counter)
    _away: str = ""  # why the service cannot be reached
    _blocked: dict[str, str] = field(default_factory=dict)  # workspaces that take nothing, and why
    _turns: defaultdict[Key, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    _budget: Budget = field(init=False)

    def __post_init__(self) -> None:
        self._budget = Budget(max(HELD, self.rooms.settings.limits.upload_bytes))

    async def carry(self, parcel: Parcel) -> None:
        """Bring a parcel as far as it comes for now. Raises only what ends the run."""
        bind_contextvars(workspace=parcel.workspace.id, source=_source(parcel))  # each parcel has a task of its own
        if self._away and self.rooms.service.down:  # a try would read the file, cost two rows, and come to the same
            self.result.away += 1
            await self._hand_over(Delivered(Kind.PENDING, parcel, reason=self._away))
            return
        async with self._budget.hold(parcel.size):
            try:
                content = await unpacked(parcel)
            except Refused as error:
                content = Delivered(Kind.REFUSED, parcel, reason=redact(str(error)), hint=error.hint)
            if isinstance(content, Content):
                async with self._turns[content.key]:
                    self.met[content.key] = parcel
                    delivered = await self._bring(content)
            else:
                delivered = content
        if delivered is None:
            self.deferred.append(parcel)
        else:
            await self._hand_over(delivered)

    async def look_of(self, key: Key) -> tuple[bool, Look | None]:
        """Say whether the file of a content is at hand, and what it looks like, where that can be told."""
        parcel = self.met.get(key)
        if parcel is None or parcel.drop is None:
            return False, None
        async with self._budget.hold(parcel.size):
            content = await unpacked(parcel)
            if not isinstance(content, Content) or content.key != key or content.body is None:
                return False, None
            async with self.prover.looking:
                return True, await asyncio.to_thread(look, content.body)

    async def note(self, *uploads: Upload) -> Upload:
        """Make what an upload has become durable; returns the last of them."""
        uploads = tuple(replace(upload, at=now(self.rooms)) for upload in uploads)
        await self.ledger.note(*uploads)
        return uploads[-1]

    def told(self, error: SyncerError) -> None:
        """Tell of an error that is not one content's own, once."""
        if (type(error), str(error)) not in {(type(other), str(other)) for other in self.result.errors}:
            self.result.errors.append(error)

    # --- one content ----------------------------------------------------------------------------------

    async def _bring(self, content: Content) -> Delivered | None:
        """Go on from where the content is; None where its upload has to be looked for first."""
        row = await self.rooms.manifest.upload(*content.key)
        step = next_step(row, again=self.again and not self._attempts[content.key])
        if row is None or step is Step.SEND:
            return await self._send(content, row)
        if step is Step.PROVE:
            return await self._prove(content, row)
        if step is Step.NOTHING:
            return self._there(content, row)
        if step is Step.LOOK and content.key not in self.looked:
            return None
        if row.state is UploadState.UNDECIDED:
            return Delivered(Kind.UNDECIDED, content.parcel, row, row.reason or "", how_to_decide(row))
        reason = self.unclear.get(content.key) or row.reason or "its answer was lost"
        return Delivered(Kind.PENDING, content.parcel, row, reason)

    async def _send(self, content: Content, row: Upload | None) -> Delivered | None:
        parcel, workspace_id = content.parcel, content.parcel.workspace.id
        if reason := self.result.paused.get(workspace_id) or self._blocked.get(workspace_id):
            return Delivered(Kind.PENDING, parcel, row, reason)
        if self._attempts[content.key] > self.rooms.settings.limits.retries:
            return Delivered(
                Kind.PENDING, parcel, row, "its answer was lost each time, and it was not there afterwards"
            )
        source = row.source if row is not None else _source(parcel)
        at, dated = now(self.rooms), _spelled(intended(self.rooms))
        intent = Upload(workspace_id, content.sha256, UploadState.INTENDED, source, content.size, dated, at)
        if row is not None:  # an image that it was before is not the one to look for
            intent = replace(intent, image_id=row.image_id)
        await self.note(intent)  # before a byte leaves
        self._attempts[content.key] += 1
        self.looked.discard(content.key)
        self.watch(UploadSending(parcel, parcel.size))
        try:
            image = await self.rooms.service.upload(workspace_id, content.source)
        except SyncerError as error:
            return await self._unanswered(content, intent, error)
        self.sent.add(content.key)
        row = await self.note(replace(intent, state=UploadState.UPLOADED, image_id=image.id))
        log.info("upload.sent", sha256=row.sha256, image=row.image_id, bytes=row.size)
        return await self._prove(content, row)

    async def _unanswered(self, content: Content, intent: Upload, error: SyncerError) -> Delivered | None:
        """Say what is left of an intent that no image came of. Raises the error if it ends the run."""
        match error:
            case Refused() if not isinstance(error, QuotaReached) and not _of_the_workspace(error):
                return await self._refused(content, intent, error)
            case Refused() | Unavailable() | Unauthorized():  # surely not carried out
                await self.note(replace(intent, state=UploadState.UNSENT, reason=_words(error)))
            case _:
                accepted = isinstance(error, Unsettled) and error.accepted
                reason = ACCEPTED if accepted else _words(error)
                slow = accepted or error.facts.get("cause") == "timeout" or error.facts.get("status") in _GATEWAYS
                self.patience[content.key] = LATE if slow else SOON
                self.sent.add(content.key)
                await self.note(replace(intent, state=UploadState.UNKNOWN, reason=reason))
                log.warning("upload.unknown", sha256=intent.sha256, bytes=intent.size, reason=redact(str(error)))
                if error.fatal:
                    raise error
                return None
        if error.fatal:
            raise error
        return self._put_off(content, intent, error)

    async def _refused(self, content: Content, intent: Upload, error: Refused) -> Delivered:
        reason = f"the service refuses it: {error.facts.get('said') or error.message}"
        row = await self.note(replace(intent, state=UploadState.REFUSED, reason=redact(reason)))
        hint = error.hint or _HINTS.get(error.status or 0, _OF_AN_ADDRESS if content.body is None else _HINT)
        return Delivered(Kind.REFUSED, content.parcel, row, redact(reason), hint)

    def _put_off(self, content: Content, intent: Upload, error: SyncerError) -> Delivered:
        """The service, or the workspace, takes nothing for now."""
        workspace_id, reason, hint = intent.workspace_id, _words(error), error.hint
        match error:
            case QuotaReached():
                if workspace_id not in self.result.paused:
                    self.result.paused[workspace_id] = reason
                    log.warning("uploads.paused", reason=reason)
                again = "run the same command again when there is room"
                watched = "it is tried again tomorrow, or with `syncer trigger --uploads`"
                hint = hint or (again if content.parcel.inbox is None else watched)
            case Refused():
                self._blocked.setdefault(workspace_id, reason)
                self.told(error)
            case _:
                self.result.away += 1
                self._away = reason
                self.told(error)
        row = replace(intent, state=UploadState.UNSENT, reason=reason)
        return Delivered(Kind.PENDING, content.parcel, row, reason, hint)

    async def _prove(self, content: Content, row: Upload) -> Delivered | None:
        try:
            proven = await self.prover.prove(row, content.body)
        except NotFound as error:
            if self.is_new(row):
                return Delivered(Kind.PENDING, content.parcel, row, f"not proven yet: {_words(error)}")
            return await self._vanished(content, row)
        except SyncerError as error:
            if error.fatal:
                raise
            return Delivered(Kind.PENDING, content.parcel, row, f"not proven yet: {_words(error)}", error.hint)
        row = await self.note(proven)
        if row.state is UploadState.REFUSED:
            hint = "look at that image; to send the file once more: `syncer upload --again`"
            return Delivered(Kind.REFUSED, content.parcel, row, row.reason or "", hint)
        return self._there(content, row)

    def _there(self, content: Content, row: Upload) -> Delivered:
        kind = Kind.UPLOADED if content.key in self.sent else Kind.ALREADY
        self.sent.discard(content.key)  # a second parcel of this content finds it there
        return Delivered(kind, content.parcel, row)

    async def _vanished(self, content: Content, row: Upload) -> Delivered | None:
        try:
            refused = await self.deleted(row)
        except SyncerError as error:
            if error.fatal:
                raise
            return Delivered(Kind.PENDING, content.parcel, row, f"not proven yet: {_words(error)}", error.hint)
        if row.state is not UploadState.UPLOADED:  # it was not what was wanted, and somebody has cleared it away
            return await self._send(content, refused)
        hint = "drop or upload it again to send it anew"
        return Delivered(Kind.REFUSED, content.parcel, refused, refused.reason or "", hint)

    def is_new(self, row: Upload) -> bool:
        """Say whether an image was made a moment ago, by whichever run: the service may be about to know its id."""
        made = moment(row.at)
        return row.state is UploadState.UPLOADED and made is not None and self.rooms.now() - made < NEW

    async def deleted(self, row: Upload) -> Upload:
        """Note that the image is not there any more; raises where that is because the workspace cannot be seen."""
        await self.rooms.service.page(row.workspace_id, 1)
        reason = "it was deleted at the service before it could be proven"
        return await self.note(replace(row, state=UploadState.REFUSED, image_id=None, reason=reason))

    # --- handing over ---------------------------------------------------------------------------------

    async def _hand_over(self, delivered: Delivered) -> None:
        parcel, row = delivered.parcel, delivered.upload
        facts = {} if row is None else {"sha256": row.sha256, "image": row.image_id, "bytes": row.size}
        if parcel.inbox is not None and parcel.drop is not None:
            match delivered.kind:
                case Kind.UPLOADED | Kind.ALREADY:
                    await parcel.inbox.done(parcel.drop)
                case Kind.REFUSED:
                    await parcel.inbox.refuse(parcel.drop, delivered.reason, delivered.hint, facts)
                case Kind.PENDING | Kind.UNDECIDED:
                    parcel.inbox.later(parcel.drop)
        self.result.delivered.append(delivered)
        match delivered.kind:
            case Kind.UPLOADED:
                log.info("upload.proven", **facts, reencoded=row is not None and row.state is UploadState.REENCODED)
            case Kind.REFUSED:
                log.warning("upload.refused", **facts, reason=delivered.reason)
            case Kind.PENDING | Kind.UNDECIDED:  # each time anew: the warning came when it became so
                log.info(f"upload.{delivered.kind}", **facts, reason=delivered.reason)
            case Kind.ALREADY:
                log.debug("upload.known", **facts)
        self.watch(delivered)


def _source(parcel: Parcel) -> str:
    return parcel.source if parcel.address is None else source_of(parcel.address)


def _words(error: SyncerError) -> str:
    """Say in a clause what went wrong, for rows and people."""
    said = error.facts.get("said")
    return redact(f"{error.message}: {said}" if said else error.message)


def _of_the_workspace(error: Refused) -> bool:
    return error.status in _OF_THE_WORKSPACE or 300 <= (error.status or 0) < 400


def how_to_decide(row: Upload) -> str:
    """Return the two commands that settle an undecided upload."""
    arrived = f"`syncer upload --arrived IMAGE {row.sha256} --workspace {row.workspace_id}` if it is there"
    return f"{arrived}, `syncer upload --lost {row.sha256} --workspace {row.workspace_id}` if it is not"
