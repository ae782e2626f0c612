"""Look into a manifest without writing to it: for `status`, `list` and `show`, also on a read-only medium."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from syncer.manifest import schema
from syncer.manifest.database import Database
from syncer.manifest.faults import translated
from syncer.model import UploadState

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which images to list. `text` has to occur in the prompt, whatever its case."""

    workspace_id: str | None = None
    state: str | None = None
    model: str | None = None
    text: str | None = None
    limit: int | None = None


@dataclass(frozen=True, slots=True)
class Verifications:
    """What is known of verifications; None where there was none.

    `whole` speaks of every byte: since `verified_at` each of `parts` parts has been hashed (1: all at once), and the
    last look at each found `damage` in all. One that was resumed tells of damage, and not of a time: it does not say
    when its first pictures were hashed. `last` is the row of the last one, whatever it looked at.
    """

    whole: Row | None
    last: Row | None


class Reader:
    """A read-only view of the manifest."""

    def __init__(self, db: Database) -> None:
        self._db = db

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Reader]:
        """Open an existing manifest for reading.

        Raises `ArchiveUnwritable` for one that is damaged, `ConfigError` for one of a newer version.
        """
        with translated():
            db = connect(path)
            try:
                db.conn.create_function("folded", 1, _folded, deterministic=True)  # SQLite's lower() knows ASCII only
                schema.version(db)
                yield cls(db)
            finally:
                db.close()

    @property
    def up_to_date(self) -> bool:
        """Whether the manifest is of our own version, so that opening it for writing migrates nothing."""
        return schema.version(self._db) == schema.VERSION

    def workspaces(self) -> list[Row]:
        """Return what each workspace holds, with the last run and the last complete full and quick ones."""
        return list(self._db.query(_WORKSPACES))

    def names(self) -> list[Row]:
        """Return `workspace_id` and `name` of each workspace; unlike `workspaces` it need not count what they hold."""
        return list(self._db.query("select workspace_id, name from workspaces"))

    def incomplete(self) -> frozenset[str]:
        """Name the workspaces whose last full pass was not complete; one that may still be under way does not count."""
        return frozenset(row["workspace_id"] for row in self._db.query(_LAST_FULL) if not row["complete"])

    def failures(self, workspace_id: str | None = None) -> list[Row]:
        """Return what is owed, the longest owed first."""
        where = "where workspace_id = ?" if workspace_id else ""
        sql = f"select * from failures {where} order by first_tried, image_id"  # noqa: S608  our own words
        return list(self._db.query(sql, [workspace_id] if workspace_id else []))

    def losses(self) -> list[Row]:
        """Return what was damaged or missing and cannot be had again; none in a manifest of before there were any."""
        if not self._db.has("losses"):
            return []
        return list(self._db.query("select * from losses order by found_at, path"))

    def verifications(self) -> Verifications:
        """Return when all of the archive was last verified, and the last verification of all."""
        if not self._db.has("verifications"):  # a manifest of before there were any
            return Verifications(None, None)
        whole, last = (next(iter(self._db.query(sql)), None) for sql in (_ALL_VERIFIED, _LAST_VERIFIED))
        return Verifications(whole, last)

    def uploads(self) -> list[Row]:
        """Return what is, or may be, on its way to the service, the earliest intent first."""
        if schema.version(self._db) < schema.SINCE["uploads"]:
            return []
        states = ",".join(f"'{state}'" for state in UploadState if not state.settled)
        sql = f"select * from uploads where state in ({states}) order by intended_at, sha256"  # noqa: S608  our own words
        return list(self._db.query(sql))

    def uploaded(self, workspace_id: str, image_id: str) -> list[Row]:
        """Return the uploads that an image came of."""
        if schema.version(self._db) < schema.SINCE["uploads"]:
            return []
        sql = "select * from uploads where workspace_id = ? and image_id = ? order by intended_at"
        return list(self._db.query(sql, [workspace_id, image_id]))

    def upload_counts(self) -> dict[str, dict[str, int]]:
        """Count each workspace's uploads by their state."""
        counts: dict[str, dict[str, int]] = {}
        if schema.version(self._db) >= schema.SINCE["uploads"]:
            sql = "select workspace_id, state, count(*) from uploads group by 1, 2"
            for workspace_id, state, count in self._db.execute(sql):
                counts.setdefault(workspace_id, {})[state] = count
        return counts

    def images(self, only: Filter) -> Iterator[Row]:
        """Yield images, the newest first."""
        tests = [
            ("workspace_id = ?", only.workspace_id),
            ("state = ?", only.state),
            ("model = ?", only.model),
            ("instr(folded(prompt), folded(?)) > 0", only.text),
        ]
        used = [(test, value) for test, value in tests if value is not None]
        where = f"where {' and '.join(test for test, _ in used)}" if used else ""
        limit = "limit ?" if only.limit is not None else ""
        values = [value for _, value in used] + ([only.limit] if only.limit is not None else [])
        sql = f"select * from images {where} order by created_at desc, image_id {limit}"  # noqa: S608  our own words
        yield from self._db.query(sql, values)

    def image(self, image_id: str) -> list[Row]:
        """Return the images of this id (one a workspace), or those whose id begins with it when none is exact."""
        exact = list(self._db.query("select * from images where image_id = ? order by workspace_id", [image_id]))
        if exact:
            return exact
        begins = (
            "select * from images where substr(image_id, 1, length(?)) = ? order by workspace_id, image_id limit 10"
        )
        return list(self._db.query(begins, [image_id, image_id]))

    def revisions(self, workspace_id: str, image_id: str) -> list[Row]:
        """Return every revision kept of an image, the first one first."""
        sql = "select * from revisions where workspace_id = ? and image_id = ? order by revision"
        return list(self._db.query(sql, [workspace_id, image_id]))

    def last_part(self, parts: int) -> int | None:
        """Return which of so many parts was verified last, hashing it; None if none was."""
        if not self._db.has("verifications"):
            return None
        sql = "select part from verifications where parts = ? and not quick order by verified_at desc limit 1"
        return next((int(row["part"]) for row in self._db.query(sql, [parts])), None)

    def last_runs(self) -> list[Row]:
        """Return of each workspace and mode the last run that was complete and the last that was not, in their order.

        One that did not end does not count.
        """
        return list(self._db.query(_LAST_RUNS))


def sqlite_version() -> tuple[int, int, int]:
    """Return the version of the SQLite that this Python brings."""
    return sqlite3.sqlite_version_info


_LAST_FULL = """
select workspace_id, complete, max(id) from runs as one
where mode = 'full' and (
  ended is not null or id < (select max(id) from runs as later where later.workspace_id = one.workspace_id)
)
group by workspace_id
"""  # SQLite takes `complete` from the row with the highest id

_ALL_VERIFIED = """
select min(hashed_at) as verified_at, parts, sum(damage) as damage from (
  select part, parts, damage, max(verified_at), (
    select max(verified_at) from verifications
    where part = looks.part and parts = looks.parts and not quick and not resumed
  ) as hashed_at
  from verifications as looks where not quick group by parts, part
)
where hashed_at is not null
group by parts having count(*) = parts order by 1 desc limit 1
"""  # SQLite takes `damage` from the row with the latest time

_LAST_VERIFIED = "select * from verifications order by verified_at desc limit 1"

_LAST_RUNS = """
select * from runs
where id in (select max(id) from runs where ended is not null group by workspace_id, mode, complete)
order by id
"""

_WORKSPACES = """
select w.workspace_id, w.name, w.folder, w.hole,
  coalesce(i.live, 0) as live, coalesce(i.gone, 0) as gone, coalesce(i.bytes, 0) as bytes,
  (select count(*) from revisions r where r.workspace_id = w.workspace_id) as revisions,
  (select count(*) from failures f where f.workspace_id = w.workspace_id) as owed,
  last.mode as last_mode, last.started as last_started, last.ended as last_ended,
  last.complete as last_complete, last.why as last_why,
  (select ended from runs r where r.workspace_id = w.workspace_id and r.complete order by id desc limit 1) as last_good,
  (
    select ended from runs r where r.workspace_id = w.workspace_id and r.complete and r.mode = 'full'
    order by id desc limit 1
  ) as last_full
from workspaces w
left join (
  select workspace_id, sum(state = 'live') as live, sum(state = 'gone') as gone, sum(bytes) as bytes
  from images group by workspace_id
) i on i.workspace_id = w.workspace_id
left join runs last on last.id = (select max(id) from runs r where r.workspace_id = w.workspace_id)
order by coalesce(w.name, w.workspace_id)
"""


def connect(path: Path) -> Database:
    """Open a manifest so that nothing of ours stays on the disk.

    Who reads along with a writer makes files beside the database, which a writer of another user could trip over.
    Without the writer's log there is no writer, and none of them is needed; a read-only medium has no room for them.
    """
    uri = path.absolute().as_uri()
    if path.with_name(f"{path.name}-wal").exists():
        db = Database(sqlite3.connect(f"{uri}?mode=ro", uri=True, timeout=10))
        try:
            db.execute("select 1 from sqlite_master").fetchone()
            return db
        except sqlite3.OperationalError:
            db.close()
    return Database(sqlite3.connect(f"{uri}?mode=ro&immutable=1", uri=True))


def _folded(text: str | None) -> str:
    return (text or "").casefold()
