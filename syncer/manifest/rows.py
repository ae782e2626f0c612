"""How changes become rows: the statements that write them, and their values in the statements' order."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import msgspec

from syncer.model import Image, Revision, State, Upload, UploadState, Verified

SELECT_REVISION = (
    "select workspace_id, image_id, revision, sha256, bytes, media_type, path, sidecar, fetched_at, run,"
    " cast(document as blob) from {}.revisions where workspace_id = ? and image_id = ? and revision = ?"
)
IMAGE_COLUMNS = (
    "workspace_id, image_id, state, revision, created_at, updated_at, prompt, model, created_by, generation_id,"
    " width, height, bytes, media_type, sha256, path, sidecar, first_seen"
)
UPSERT_IMAGE = (
    f"insert into images ({IMAGE_COLUMNS}) values ({','.join('?' * 18)})"  # noqa: S608  our own columns
    " on conflict (workspace_id, image_id) do update set state = 'live', gone_since = null, "
    + ", ".join(
        f"{name} = excluded.{name}"
        for name in IMAGE_COLUMNS.replace(" ", "").split(",")
        if name not in {"workspace_id", "image_id", "state", "first_seen"}
    )
)
INSERT_REVISION = (
    "insert or replace into revisions (workspace_id, image_id, revision, sha256, bytes, media_type, path, sidecar,"
    " updated_at, fetched_at, run, document) values (?,?,?,?,?,?,?,?,?,?,?,?)"
)
UPSERT_FAILURE = (
    "insert into failures (workspace_id, image_id, reason, attempts, first_tried, last_tried) values (?,?,?,1,?,?)"
    " on conflict (workspace_id, image_id) do update set"
    " reason = excluded.reason, attempts = attempts + 1, last_tried = excluded.last_tried"
)
INTRODUCE = (
    "insert into workspaces (workspace_id, name, folder, hole) values (?,?,?,0)"
    " on conflict (workspace_id) do update set name = coalesce(nullif(excluded.name, ''), name)"
)
INSERT_RUN = "insert into runs (run, workspace_id, mode, started) values (?,?,?,?)"
INSERT_LOSS = (
    "insert or ignore into losses (workspace_id, image_id, revision, path, reason, found_at) values (?,?,?,?,?,?)"
)
INSERT_VERIFICATION = (
    "insert or ignore into verifications (verified_at, part, parts, quick, resumed, files, bytes, damage, findings)"
    " values (?,?,?,?,?,?,?,?,?)"
)
UPLOAD_COLUMNS = "workspace_id, sha256, state, source, bytes, intended_at, settled_at, image_id, served_sha256, reason"
UPSERT_UPLOAD = f"insert or replace into uploads ({UPLOAD_COLUMNS}) values ({','.join('?' * 10)})"  # noqa: S608  our own columns
# Many rows come as one text: SQLite lets go of the interpreter for each row that it gives out, and gets it back only
# when the event loop is willing, which takes longer than all the rest.
#
# The ids of a workspace's images that may have been listed: those held, behind one of them and in the order of their
# bytes, and others, which are owed or named besides.
SELECT_HELD_IDS = (
    "select json_group_array(image_id) from"
    " (select image_id from images where workspace_id = ? and image_id > ? order by image_id limit ?)"
)
SELECT_OTHER_IDS = (
    "select image_id from (select image_id from failures where workspace_id = ? union select value from json_each(?)) o"
    " where not exists (select 1 from images i where i.workspace_id = ? and i.image_id = o.image_id)"
)
# The live images of a workspace in the order of a listing, from one of them on; the index `images_by_time` has it all.
SELECT_NEWEST = (
    "select json_group_object(image_id, updated_at) from (select image_id, updated_at from images"
    " where workspace_id = ? and state = 'live' and (created_at, image_id) < (?, ?)"
    " order by created_at desc, image_id desc limit ?)"
)
MARK_GONE = "update images set state = 'gone', gone_since = ? where workspace_id = ? and image_id = ?"
FORGET_FAILURE = "delete from failures where (workspace_id, image_id) in (values (?,?))"

AT_ONCE = 64  # rows of one statement: SQLite takes up to 32,766 values


@lru_cache(maxsize=256)
def times(count: int, statement: str) -> str:
    """Give a statement of one row's `values` that many rows.

    A statement of its own for each row is quick as well, but the thread would let go of the interpreter as often.
    """
    head, marks, tail = re.split(r"(\([?,]+\))", statement, maxsplit=1)
    return head + ",".join([marks] * count) + tail


def image_row(image: Image, revision: Revision) -> tuple[object, ...]:
    """Return the values of `UPSERT_IMAGE`."""
    return (
        image.workspace_id,
        image.id,
        State.LIVE.value,
        revision.number,
        image.created_at,
        image.updated_at,
        image.prompt,
        image.model,
        image.created_by,
        image.generation_id,
        image.width,
        image.height,
        revision.size,
        revision.media_type,
        revision.sha256,
        revision.path,
        revision.sidecar,
        revision.fetched_at,
    )


def revision_row(image: Image, revision: Revision) -> tuple[object, ...]:
    """Return the values of `INSERT_REVISION`."""
    return (
        revision.workspace_id,
        revision.image_id,
        revision.number,
        revision.sha256,
        revision.size,
        revision.media_type,
        revision.path,
        revision.sidecar,
        image.updated_at,
        revision.fetched_at,
        revision.run,
        # As the sidecar has it, so that the one can be made from the other.
        msgspec.json.format(revision.document, indent=-1).decode("utf-8", "replace"),
    )


def verification_row(verified: Verified) -> tuple[object, ...]:
    """Return the values of `INSERT_VERIFICATION`."""
    return (
        verified.at,
        verified.part,
        verified.parts,
        verified.quick,
        verified.resumed,
        verified.files,
        verified.size,
        verified.damage,
        msgspec.json.encode(verified.findings, order="sorted").decode(),
    )


def upload_row(upload: Upload) -> tuple[object, ...]:
    """Return the values of `UPSERT_UPLOAD`."""
    return (
        upload.workspace_id,
        upload.sha256,
        upload.state.value,
        upload.source,
        upload.size,
        upload.intended_at,
        upload.at,
        upload.image_id,
        upload.served_sha256,
        upload.reason,
    )


def upload_of(row: tuple[Any, ...]) -> Upload:
    """Read a row of `UPLOAD_COLUMNS` back."""
    workspace_id, sha256, state, *rest = row
    return Upload(workspace_id, sha256, UploadState(state), *rest)
