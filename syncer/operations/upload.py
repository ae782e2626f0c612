"""Upload what was dropped, named or asked for, each content once; and settle what is open of earlier times.

A run goes in rounds: all parcels are brought as far as they come, then all whose answer was lost are looked for
together, while nothing is being sent, then what surely never arrived goes round again. Earlier runs' open uploads are
settled with them, after the first round, when it is known which of their files are at hand. What one parcel comes to
never stops another; what ends the run passes through, and what was finished is kept.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import assert_never

import structlog
from structlog.contextvars import bind_contextvars, bound_contextvars

from syncer.archive.layout import workspace_folder
from syncer.errors import ConfigError, NotFound, Refused, SyncerError
from syncer.model import Upload, UploadState, Workspace, moment
from syncer.operations.backup import introduced
from syncer.operations.ledger import Ledger
from syncer.operations.parcels import Delivered, Kind, Parcel, Uploads, UploadsBegan, UploadWatch
from syncer.operations.pool import Pool
from syncer.operations.rooms import Looking, Rooms
from syncer.operations.upload_one import ACCEPTED, Courier, Step, how_to_decide, next_step, now, unpacked
from syncer.operations.upload_proof import Prover, served
from syncer.operations.upload_search import (
    LATE,
    SOON,
    Absent,
    Found,
    Missing,
    Search,
    Unclear,
    Undecided,
    Verdict,
    known_to_reencode,
    since,
)
from syncer.redaction import redact

OPEN = frozenset(state for state in UploadState if state.open)
LONG = timedelta(days=1)  # after which a person knows more of an upload that is still being looked for than we do

log = structlog.get_logger()


async def upload(
    rooms: Rooms,
    parcels: Sequence[Parcel],
    watch: UploadWatch,
    result: Uploads,
    *,
    workspaces: Sequence[Workspace] = (),
    again: bool = False,
) -> None:
    """Bring parcels up, and settle what is open of their workspaces and of `workspaces`.

    `again` sends once more what is settled, undecided or refused. Raises what ends the run; `result` holds what was
    done. A drop whose end was not reached is given back to its inbox.
    """
    result.run, asked, started = rooms.run, rooms.service.requests, time.monotonic()
    watch(UploadsBegan(len(parcels), sum(parcel.size for parcel in parcels)))
    concerned = {each.id: each for each in (*workspaces, *(parcel.workspace for parcel in parcels))}
    try:
        with bound_contextvars(run=rooms.run):
            await _introduce(rooms, {parcel.workspace.id: parcel.workspace for parcel in parcels}.values())
            async with Ledger(rooms.archive, rooms.journal, rooms.manifest, lambda _: None) as ledger:
                courier = Courier(rooms, ledger, Prover(rooms), watch, result, again)
                await _go_round(courier, parcels, list(concerned))
    finally:
        for parcel in parcels:
            if parcel.inbox is not None and parcel.drop is not None:
                parcel.inbox.later(parcel.drop)  # says nothing about those that are out of its hands
        result.requests = rooms.service.requests - asked
        result.seconds = round(time.monotonic() - started, 3)


async def _introduce(rooms: Rooms, workspaces: Iterable[Workspace]) -> None:
    """Tell journal and manifest of workspaces that are new, before anything else of them."""
    given = {workspace.id: workspace.name for workspace in rooms.settings.workspaces}
    for workspace in workspaces:
        await introduced(rooms, workspace, workspace_folder(workspace.id, given.get(workspace.id)))


async def _go_round(courier: Courier, parcels: Sequence[Parcel], workspaces: Sequence[str]) -> None:
    slots = asyncio.Semaphore(courier.rooms.settings.limits.uploads)
    left: Sequence[Parcel] = parcels
    while True:
        courier.deferred.clear()
        async with Pool(slots) as pool:
            for parcel in left:
                await pool.submit(courier.carry, parcel)
        left = list(courier.deferred)
        async with Pool(slots) as pool:
            for workspace_id in workspaces:
                await pool.submit(lambda workspace_id: _settle(courier, workspace_id), workspace_id)
        if not left:
            break
    for workspace_id in workspaces:
        rows = await courier.rooms.manifest.uploads(workspace_id, OPEN)
        courier.result.opened += [row for row in rows if (workspace_id, row.sha256) not in courier.met]


# --- what is open -------------------------------------------------------------------------------------


async def _settle(courier: Courier, workspace_id: str) -> None:
    """Look for what is missing of a workspace, and prove what was uploaded and has no file in this run."""
    bind_contextvars(workspace=workspace_id)
    opened = await courier.rooms.manifest.uploads(workspace_id, OPEN)
    missing = [await _missing(courier, row) for row in opened if _is_missing(courier, row)]
    if missing:
        rows = await courier.rooms.manifest.uploads(workspace_id)
        claimed = {row.image_id for row in rows if row.image_id is not None}
        rooms = courier.rooms
        search = Search(rooms, courier.prover, workspace_id, claimed, reencodes=known_to_reencode(rows))
        verdicts = await search.find(missing)
        if search.trouble is not None:
            courier.told(search.trouble)
        for each in missing:
            await _conclude(courier, each.upload, verdicts[each.upload.sha256])
    for row in opened:
        if row.state is UploadState.UPLOADED and (workspace_id, row.sha256) not in courier.met.keys() | courier.looked:
            await _prove(courier, row)


def _is_missing(courier: Courier, row: Upload) -> bool:
    key = row.workspace_id, row.sha256
    if key in courier.looked:
        return False
    at_hand = key in courier.met
    return next_step(row) is Step.LOOK and (at_hand or row.state is not UploadState.UNDECIDED)


async def _missing(courier: Courier, row: Upload) -> Missing:
    key = row.workspace_id, row.sha256
    patience = courier.patience.get(key)
    if patience is None:  # of an earlier run: how its answer was lost is not known any more
        age = (courier.rooms.now() - (moment(row.at) or courier.rooms.now())).total_seconds()
        # Nor whether it was: what was on its way when we ended, the service may still be at work on.
        patience = SOON if row.state is UploadState.UNDECIDED else min(LATE, max(SOON, LATE - age))
    at_hand, look = await courier.look_of(key)
    return Missing(row, since(courier.rooms, row), patience, row.reason == ACCEPTED, look, at_hand)


async def _conclude(courier: Courier, row: Upload, verdict: Verdict) -> None:
    key = row.workspace_id, row.sha256
    courier.looked.add(key)
    facts = {"source": row.source, "sha256": row.sha256, "bytes": row.size}
    match verdict:
        case Found(image_id, served_sha256, reencoded):
            state = UploadState.REENCODED if reencoded else UploadState.DONE
            there = replace(row, state=UploadState.UPLOADED, image_id=image_id, reason=None)
            await courier.note(there, replace(there, state=state, served_sha256=served_sha256))
            log.info("upload.found", **facts, image=image_id, reencoded=reencoded)
        case Absent():
            await courier.note(replace(row, state=UploadState.UNSENT, reason="it never arrived"))
            log.info("upload.absent", **facts)
        case Undecided(reason):
            await courier.note(replace(row, state=UploadState.UNDECIDED, reason=reason))
            log.warning("upload.undecided", **facts, reason=reason)
        case Unclear(reason):  # the row stays as it is: nothing is known that was not before
            courier.unclear[key] = reason
            log.warning("upload.unclear", **facts, reason=reason)


async def _prove(courier: Courier, row: Upload) -> None:
    """Prove an upload of an earlier run without its file, as far as that goes."""
    courier.looked.add((row.workspace_id, row.sha256))
    facts = {"source": row.source, "sha256": row.sha256, "image": row.image_id}
    try:
        try:
            proven = await courier.note(await courier.prover.prove(row, None))
        except NotFound:
            if courier.is_new(row):
                raise
            proven = await courier.deleted(row)
    except SyncerError as error:
        if error.fatal:
            raise
        log.warning("upload.unproven", **facts, reason=redact(str(error)))
    else:
        log.info("upload.settled", **facts, state=proven.state, reason=proven.reason)


# --- besides ------------------------------------------------------------------------------------------


async def dry_run(
    rooms: Looking, parcels: Sequence[Parcel], watch: UploadWatch, result: Uploads, *, again: bool = False
) -> None:
    """Tell what `upload` would do, by the files and the manifest alone; `UPLOADED` is what would be sent."""
    started = time.monotonic()
    watch(UploadsBegan(len(parcels), sum(parcel.size for parcel in parcels)))
    seen: set[tuple[str, str]] = set()
    for parcel in parcels:
        delivered = await _foreseen(rooms, parcel, seen, again=again)
        result.delivered.append(delivered)
        watch(delivered)
    result.seconds = round(time.monotonic() - started, 3)


async def _foreseen(rooms: Looking, parcel: Parcel, seen: set[tuple[str, str]], *, again: bool) -> Delivered:
    try:
        content = await unpacked(parcel)
    except Refused as error:
        return Delivered(Kind.REFUSED, parcel, reason=redact(str(error)), hint=error.hint)
    if isinstance(content, Delivered):
        return content
    row = await rooms.manifest.upload(*content.key)
    step = Step.NOTHING if content.key in seen else next_step(row, again=again)
    seen.add(content.key)
    match step:
        case Step.SEND:
            return Delivered(Kind.UPLOADED, parcel, row, "it would be sent")
        case Step.NOTHING:
            return Delivered(Kind.ALREADY, parcel, row)
        case Step.LOOK:
            return Delivered(Kind.PENDING, parcel, row, "its answer was lost: it would be looked for first")
        case Step.PROVE:
            return Delivered(Kind.PENDING, parcel, row, "it was uploaded: it would be proven")
        case Step.ASK:
            assert row is not None  # noqa: S101  nobody is asked about what was never sent
            return Delivered(Kind.UNDECIDED, parcel, row, row.reason or "", how_to_decide(row))
        case _:
            assert_never(step)


async def decide(rooms: Rooms, workspace_id: str, sha256: str, image_id: str | None) -> Upload:
    """Take a person's word on an upload that is not settled: it is that image, or (None) it never arrived.

    Returns what it has become: `UNSENT`; or `DONE`, `REENCODED`, or `UPLOADED` where the image's bytes cannot be had
    just now. Raises `ConfigError` where there is no such upload or image, either is spoken for, or the next run may
    find out by itself whether it arrived; and what ends a run.
    """
    rows = {row.sha256: row for row in await rooms.manifest.uploads(workspace_id)}
    row = rows.get(sha256)
    if row is None:
        hint = "`syncer status` shows what is undecided, and in which workspace"
        raise ConfigError("no upload with that hash is known in this workspace", hint=hint, workspace=workspace_id)
    if row.state.settled:
        hint = "to send it once more: `syncer upload --again`"
        raise ConfigError("that upload is settled", hint=hint, image=row.image_id)
    if image_id is None:
        _may_be_lost(rooms, row)
        steps = [replace(row, state=UploadState.UNSENT, image_id=None, reason="a person said that it never arrived")]
    else:
        other = next((each for each in rows.values() if each.image_id == image_id and each is not row), None)
        if other is not None:
            raise ConfigError("that image came of another upload", image=image_id, source=other.source)
        steps = await _arrived(rooms, row, image_id)
    async with Ledger(rooms.archive, rooms.journal, rooms.manifest, lambda _: None) as ledger:
        steps = [replace(step, at=now(rooms)) for step in steps]
        await ledger.note(*steps)
    log.info("upload.decided", workspace=workspace_id, sha256=sha256, state=steps[-1].state, image=steps[-1].image_id)
    return steps[-1]


def _may_be_lost(rooms: Rooms, row: Upload) -> None:
    """Raise `ConfigError` unless a person may say that an upload never arrived: sent again, it could be there twice."""
    if row.state is UploadState.UPLOADED:
        hint = "look at that image; if somebody has deleted it, the next `syncer upload` finds that out"
        raise ConfigError("the service has made an image of that upload", hint=hint, image=row.image_id)
    looking = row.state in {UploadState.INTENDED, UploadState.UNKNOWN}
    if looking and rooms.now() - (moment(row.at) or rooms.now()) < LONG:
        hint = "run `syncer upload` with the file: it is looked for, and sent if it is not there"
        raise ConfigError("that upload is still being looked for", hint=hint, since=row.at)


async def _arrived(rooms: Rooms, row: Upload, image_id: str) -> list[Upload]:
    """Prove as far as can be that it is the image that a person says it is; for other bytes, that word is enough."""
    there = replace(row, state=UploadState.UPLOADED, image_id=image_id, reason=None)
    try:
        image = await rooms.service.image(row.workspace_id, image_id)
    except NotFound as error:
        hint = "copy the id from the image's address, or from `syncer list`"
        raise ConfigError("the workspace has no image with that id", hint=hint, image=image_id) from error
    try:
        theirs = await served(rooms, image)
    except SyncerError as error:
        if error.fatal:
            raise
        return [there]
    same = row.size is None or theirs.sha256 == row.sha256
    state = UploadState.DONE if same else UploadState.REENCODED
    return [there, replace(there, state=state, served_sha256=theirs.sha256)]
