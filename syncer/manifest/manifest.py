"""What we know of each image, in SQLite behind one thread.

Only this room knows SQL. One connection, owned by one thread, does all the writing and checkpointing; those who
only look open the database read-only (`reader`). A batch of outcomes is one transaction, and is written only
after its files are durable (promise 1): whoever calls `record` vouches for that.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
from bisect import bisect
from collections.abc import AsyncIterator, Callable, Collection, Container, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, fields
from itertools import chain, groupby
from pathlib import Path
from typing import Self, TypeVar, assert_never

import msgspec

from syncer.manifest import opening, rows, schema
from syncer.manifest.copying import copy
from syncer.manifest.database import Database
from syncer.manifest.faults import translated
from syncer.model import (
    Change,
    Entry,
    Failed,
    Forgiven,
    Found,
    Gone,
    Hole,
    Introduced,
    Lost,
    Repaired,
    Report,
    Revision,
    State,
    Stored,
    Upload,
    UploadState,
    Vanished,
    Verified,
    Workspace,
)

T = TypeVar("T")

IDS_AT_ONCE = 5000
REPORT_COLUMNS = tuple(f.name for f in fields(Report) if f.name not in {"name", "why"})
UPDATE_RUN = f"update runs set {', '.join(f'{name} = ?' for name in REPORT_COLUMNS)}, why = ? where id = ?"  # noqa: S608  our own columns

_IDS = msgspec.json.Decoder(list[str])
_TIMES = msgspec.json.Decoder(dict[str, str | None])


class Manifest:
    """The one writer of the manifest."""

    def __init__(self, db: Database, thread: ThreadPoolExecutor) -> None:
        self._db = db
        self._thread = thread

    @classmethod
    @asynccontextmanager
    async def open(cls, path: Path, *, dry: bool = False) -> AsyncIterator[Manifest]:
        """Open the manifest at `path`, or make a new one, and migrate it forward; `dry` leaves the disk as it is.

        Raises `ConfigError` for a manifest of a newer version, `ArchiveUnwritable` for one that is damaged or
        cannot be written.
        """
        async with cls._on_thread(lambda: opening.dry(path) if dry else opening.writing(path)) as manifest:
            yield manifest

    @classmethod
    @asynccontextmanager
    async def _on_thread(cls, connect: Callable[[], Database]) -> AsyncIterator[Self]:
        """Open a database on a thread of its own."""
        thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="manifest")
        loop = asyncio.get_running_loop()
        try:
            db = await loop.run_in_executor(thread, connect)
            try:
                yield cls(db, thread)
            finally:
                await loop.run_in_executor(thread, db.close)
        finally:
            thread.shutdown(wait=True)

    async def _call(self, work: Callable[[], T]) -> T:
        """Run `work` on the manifest's thread, to its end even when the one who waits is cancelled."""

        def guarded() -> T:
            with translated():
                return work()

        done = asyncio.get_running_loop().run_in_executor(self._thread, guarded)
        done.add_done_callback(lambda done: done.cancelled() or done.exception())  # seen, should nobody wait any more
        return await asyncio.shield(done)

    # --- whose manifest this is -----------------------------------------------------------------------

    async def archive_id(self) -> str | None:
        """Return the id of the archive that this manifest belongs to; None for a new one."""
        return (await self.bound()).get("archive_id")

    async def bind(self, archive_id: str, created: str, seal: str | None = None) -> None:
        """Remember which archive this manifest belongs to, and the journal's line after which its rows begin."""
        row = {"archive_id": archive_id, "created": created, "seal": seal}
        await self._call(lambda: self._db.table("archive").upsert(row, pk="archive_id"))

    async def bound(self) -> dict[str, str | None]:
        """Return `archive_id`, `created` and `seal`: the journal's line up to which all is written; {} if unbound."""
        return await self._call(lambda: next(self._db.query("select * from archive"), {}))

    async def losses(self) -> list[Lost]:
        """Return what is told as lost for good."""
        columns = "workspace_id, image_id, revision, path, reason, found_at"
        rows_ = await self._call(lambda: self._db.execute(f"select {columns} from losses order by path").fetchall())  # noqa: S608  our own words
        return [Lost(*row) for row in rows_]

    # --- workspaces -----------------------------------------------------------------------------------

    async def known(self, workspace_id: str) -> Introduced | None:
        """Return under which name and in which folder a workspace is known; None at first sight."""
        sql = "select workspace_id, name, folder from workspaces where workspace_id = ?"
        row = await self._call(lambda: self._db.execute(sql, [workspace_id]).fetchone())
        return None if row is None else Introduced(*row)

    async def folder(self, workspace_id: str, name: str | None, proposed: str) -> str:
        """Return the workspace's folder: the one it has had since first sight, or else `proposed` from now on."""
        await self.record([Introduced(workspace_id, name, proposed)])
        known = await self.known(workspace_id)
        assert known is not None  # noqa: S101  it has just been written
        return known.folder

    async def workspaces(self) -> list[Workspace]:
        """Return the workspaces that this archive holds something of."""
        found = self._call(
            lambda: list(self._db.query("select workspace_id, name from workspaces order by workspace_id"))
        )
        return [Workspace(row["workspace_id"], row["name"]) for row in await found]

    async def hole(self, workspace_id: str) -> bool:
        """Say whether an earlier pass ended before it had settled all that it saw."""
        sql = "select hole from workspaces where workspace_id = ?"
        return await self._call(lambda: any(row["hole"] for row in self._db.query(sql, [workspace_id])))

    async def set_hole(self, workspace_id: str, hole: bool) -> None:
        """Remember that known ground can (not) be trusted for this workspace."""
        await self.record([Hole(workspace_id, hole)])

    # --- images ---------------------------------------------------------------------------------------

    async def entries(self, workspace_id: str, ids: Sequence[str]) -> dict[str, Entry]:
        """Return what we remember of these images, by id, with one SELECT a page."""
        return await self._call(lambda: dict(self._entries(workspace_id, ids)))

    def _entries(self, workspace_id: str, ids: Sequence[str]) -> Iterable[tuple[str, Entry]]:
        sql = (
            "select image_id, state, revision, updated_at, sha256, bytes, media_type, path, sidecar from images"
            " where workspace_id = ? and image_id in (select value from json_each(?))"
        )
        for image_id, state, *rest in self._db.execute(sql, [workspace_id, json.dumps(list(ids))]):
            yield image_id, Entry(image_id, State(state), *rest)

    async def newest(self, workspace_id: str, before: tuple[str, str], count: int) -> dict[str, str | None]:
        """Return `updated_at` by id of so many live images in the order of a listing, those without a time left out.

        They come behind the image with the `created_at` and the id that `before` says, the newest first. None come of a
        manifest of before, opened `dry` and so not migrated: without the index each call would sort all images.
        """

        def work() -> dict[str, str | None]:
            if schema.version(self._db) < schema.SINCE["images_by_time"]:
                return {}
            (found,) = self._db.execute(rows.SELECT_NEWEST, [workspace_id, *before, count]).fetchone()
            return _TIMES.decode(found)

        return await self._call(work)

    async def created_at(self, workspace_id: str, image_id: str) -> str | None:
        """Return the time that we remember of an image."""
        sql = "select created_at from images where workspace_id = ? and image_id = ?"
        return await self._call(lambda: self._db.execute(sql, [workspace_id, image_id]).fetchone()[0])

    async def revision(self, workspace_id: str, image_id: str, number: int) -> Revision | None:
        """Return what we remember of one revision."""
        key = [workspace_id, image_id, number]
        row = await self._call(lambda: self._db.execute(rows.SELECT_REVISION.format("main"), key).fetchone())
        return None if row is None else Revision(*row)

    async def document(self, workspace_id: str, image_id: str, revision: int) -> bytes:
        """Return the service's document as one revision kept it."""
        sql = "select document from revisions where workspace_id = ? and image_id = ? and revision = ?"
        key = [workspace_id, image_id, revision]
        return await self._call(lambda: str(self._db.execute(sql, key).fetchone()[0]).encode())

    async def absent(self, workspace_id: str, seen: Container[str]) -> list[str]:
        """Return the live images that are not among those `seen`, in order of id."""
        sql = "select image_id from images where workspace_id = ? and state = 'live'"
        return await self._call(
            lambda: sorted(image_id for (image_id,) in self._db.execute(sql, [workspace_id]) if image_id not in seen)
        )

    async def listed(
        self, workspace_id: str, among: Callable[[Sequence[str]], Sequence[str]], besides: Collection[str]
    ) -> tuple[int, str]:
        """Count the ids that a listing has shown, and hash them: sorted, in UTF-8, each ended by a line feed.

        They are those that are held or owed, or named `besides` because neither is true of them any more, and that
        `among` picks as shown.
        """

        def work() -> tuple[int, str]:
            count, digest = 0, hashlib.sha256()
            besides_ = [workspace_id, json.dumps(list(besides)), workspace_id]
            others = sorted(image_id for (image_id,) in self._db.execute(rows.SELECT_OTHER_IDS, besides_))
            for held in chain(self._held(workspace_id), [[]]):
                due = bisect(others, held[-1]) if held else len(others)
                shown = among(sorted(held + others[:due]) if due else held)
                del others[:due]
                count += len(shown)
                digest.update("".join(f"{image_id}\n" for image_id in shown).encode())
            return count, digest.hexdigest()

        return await self._call(work)

    def _held(self, workspace_id: str) -> Iterator[list[str]]:
        """Yield the ids of all images that are held, in order, some at a time."""
        last = ""
        while True:
            (found,) = self._db.execute(rows.SELECT_HELD_IDS, [workspace_id, last, IDS_AT_ONCE]).fetchone()
            held = _IDS.decode(found)
            if not held:
                return
            yield held
            last = held[-1]

    async def live(self, workspace_id: str) -> int:
        """Return how many images of this workspace we hold that the service, as far as we know, still has."""
        sql = "select count(*) from images where workspace_id = ? and state = 'live'"
        return await self._call(lambda: int(self._db.execute(sql, [workspace_id]).fetchone()[0]))

    async def owed(self, workspace_id: str) -> list[str]:
        """Return the ids of the images that failed and were not made good yet, the longest owed first."""
        sql = "select image_id from failures where workspace_id = ? order by first_tried, image_id"
        return await self._call(lambda: [image_id for (image_id,) in self._db.execute(sql, [workspace_id])])

    async def forgive(self, workspace_id: str, image_ids: Sequence[str]) -> None:
        """Drop debts that cannot be owed any more."""
        await self.record([Forgiven(workspace_id, image_id) for image_id in image_ids])

    async def record(self, changes: Sequence[Change], seal: str | None = None) -> None:
        """Write what happened, in one transaction; whatever was stored is already durable (promise 1).

        `seal` is the line of the journal that told the last of it: what comes behind it can be caught up with.
        """

        def work() -> None:
            with self._db.atomic():
                for kind, alike in groupby(changes, type):
                    if kind is Stored:
                        self._record_stored([change for change in alike if isinstance(change, Stored)])
                    else:
                        for change in alike:
                            self._record(change)
                if seal is not None:
                    self._db.conn.execute("update archive set seal = ?", (seal,))

        await self._call(work)

    def _record_stored(self, stored: Sequence[Stored]) -> None:
        for some in (stored[at : at + rows.AT_ONCE] for at in range(0, len(stored), rows.AT_ONCE)):
            for statement, values in (
                (rows.UPSERT_IMAGE, [rows.image_row(one.image, one.revision) for one in some]),
                (rows.INSERT_REVISION, [rows.revision_row(one.image, one.revision) for one in some]),
                (rows.FORGET_FAILURE, [(one.image.workspace_id, one.image.id) for one in some]),
            ):
                self._db.conn.execute(rows.times(len(some), statement), [*chain.from_iterable(values)])

    def _record(self, change: Change) -> None:
        run = self._db.conn.execute
        match change:
            case Stored():
                self._record_stored([change])
            case Failed(workspace_id, image_id, reason, at):
                run(rows.UPSERT_FAILURE, (workspace_id, image_id, reason, at, at))
            case Gone(workspace_id, image_id, at):
                run(rows.MARK_GONE, (at, workspace_id, image_id))
                run(rows.FORGET_FAILURE, (workspace_id, image_id))
            case Vanished(workspace_id, image_id) | Forgiven(workspace_id, image_id):
                run(rows.FORGET_FAILURE, (workspace_id, image_id))
            case Introduced(workspace_id, name, folder):
                run(rows.INTRODUCE, (workspace_id, name, folder))
            case Hole(workspace_id, is_open):
                run("update workspaces set hole = ? where workspace_id = ?", (int(is_open), workspace_id))
            case Found(image, revision):
                run(rows.UPSERT_IMAGE + " where excluded.revision > images.revision", rows.image_row(image, revision))
                run(rows.INSERT_REVISION, rows.revision_row(image, revision))
            case Lost(workspace_id, image_id, number, path, reason, at):
                run(rows.INSERT_LOSS, (workspace_id, image_id, number, path, reason, at))
            case Repaired(path=path):
                run("delete from losses where path = ?", (path,))
            case Verified():
                run(rows.INSERT_VERIFICATION, rows.verification_row(change))
            case Upload():
                run(rows.UPSERT_UPLOAD, rows.upload_row(change))
            case _:
                assert_never(change)

    # --- uploads --------------------------------------------------------------------------------------

    async def upload(self, workspace_id: str, sha256: str) -> Upload | None:
        """Return what became of a content that is meant for a workspace; None if it never was."""
        sql = f"select {rows.UPLOAD_COLUMNS} from uploads where workspace_id = ? and sha256 = ?"  # noqa: S608  our own columns
        row = await self._call(lambda: self._db.execute(sql, [workspace_id, sha256]).fetchone())
        return None if row is None else rows.upload_of(row)

    async def uploads(self, workspace_id: str, states: Collection[UploadState] = tuple(UploadState)) -> list[Upload]:
        """Return what became of all that was ever meant for a workspace and is in these states, in order of intent."""
        sql = (
            f"select {rows.UPLOAD_COLUMNS} from uploads where workspace_id = ?"  # noqa: S608  our own columns
            " and state in (select value from json_each(?)) order by intended_at, sha256"
        )
        found = await self._call(lambda: self._db.execute(sql, [workspace_id, json.dumps(list(states))]).fetchall())
        return [rows.upload_of(row) for row in found]

    # --- being made anew ------------------------------------------------------------------------------

    async def carry_over(self, other: Path) -> bool:
        """Copy what stands nowhere else, the runs, from another manifest; says whether it could be read."""

        def work() -> bool:
            if not other.exists() or not other.stat().st_size:  # SQLite would remove the log of an empty one
                return False
            try:
                self._db.execute("attach database ? as old", [f"{other.absolute().as_uri()}?mode=ro"])
                try:
                    with self._db.atomic():
                        self._db.execute("insert into runs select * from old.runs")
                finally:
                    self._db.execute("detach database old")
            except sqlite3.DatabaseError:
                return False
            return True

        return await self._call(work)

    async def copy(self, target: Path) -> None:
        """Put a copy of the whole database, checked, in the place of an earlier one."""
        await self._call(lambda: copy(self._db.conn, target))

    async def check(self) -> None:
        """Have SQLite check the whole database. Raises `ArchiveUnwritable` for a damaged one."""

        def work() -> None:
            (verdict,) = self._db.execute("pragma integrity_check(1)").fetchone()
            if verdict != "ok":
                raise sqlite3.DatabaseError(str(verdict))

        await self._call(work)

    async def sizes(self) -> dict[str, int]:
        """Count the rows of each table."""
        tables = ("workspaces", "images", "revisions", "failures", "losses", "verifications", "runs")
        return await self._call(lambda: {table: self._db.table(table).count for table in tables})

    # --- runs -----------------------------------------------------------------------------------------

    async def start_run(self, report: Report) -> int:
        """Note that a pass began; returns the row's id, for `end_run`."""
        row = (report.run, report.workspace_id, report.mode, report.started)

        def work() -> int:
            key = self._db.execute(rows.INSERT_RUN, row).lastrowid
            assert isinstance(key, int)  # noqa: S101  an INTEGER PRIMARY KEY
            return key

        return await self._call(work)

    async def end_run(self, row_id: int, report: Report) -> None:
        """Note what the pass came to."""
        counts = asdict(report)
        row = (*(counts[name] for name in REPORT_COLUMNS), "; ".join(report.why) or None, row_id)
        await self._call(lambda: self._db.execute(UPDATE_RUN, row))
