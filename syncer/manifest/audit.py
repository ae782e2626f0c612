"""Compare a manifest with what the archive itself tells.

`Audit` is a second manifest, made for the moment from journal and sidecars, in a temporary database that SQLite keeps
on disk once it outgrows its cache, so that memory stays flat. The one to judge is attached read-only beside it. The
integrity check of SQLite does not see a bit that changed inside a value; comparing every value with the one that the
archive tells does. What the archive does not tell, the statistics of runs, is checked for integrity, and compared with
the manifest's copy as far as both tell it.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from syncer.errors import ArchiveUnwritable
from syncer.manifest import migrations, schema
from syncer.manifest.database import Database
from syncer.manifest.faults import translated
from syncer.manifest.manifest import Manifest
from syncer.manifest.rows import AT_ONCE, SELECT_REVISION, times
from syncer.model import Revision

PAGE = 2000  # rows at a time
WAYS = slice(18, 20)  # of the header: how it is written and read, 1 with a rollback journal, 2 with a log

# The tables that journal and sidecars tell all of, each with its key.
TOLD = {
    "archive": ("archive_id",),
    "workspaces": ("workspace_id",),
    "images": ("workspace_id", "image_id"),
    "revisions": ("workspace_id", "image_id", "revision"),
    "failures": ("workspace_id", "image_id"),
    "losses": ("path",),
    "verifications": ("verified_at",),
    "uploads": ("workspace_id", "sha256"),
}
# What the journal alone tells of an image; its sidecar tells the rest.
BY_JOURNAL = ("state", "gone_since", "first_seen")


@dataclass(frozen=True, slots=True)
class Expected:
    """A file that should be there. Without a hash it is a sidecar that only the judged manifest knows of."""

    path: str
    sha256: str | None
    size: int | None
    workspace_id: str
    image_id: str
    revision: int


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that is not as the archive tells it."""

    table: str
    key: tuple[object, ...]
    detail: str


class Audit(Manifest):
    """A manifest for the moment, the files that should be there, and the manifest that is judged."""

    def __init__(self, db: Database, thread: ThreadPoolExecutor) -> None:
        super().__init__(db, thread)
        self._stack = ExitStack()
        self.attached: set[str] = set()
        self._versions: dict[str, int] = {}

    @classmethod
    @asynccontextmanager
    async def begin(cls, part: Callable[[str, str], bool]) -> AsyncIterator[Audit]:
        """Open an empty one; `part` says of a workspace's and an image's id whether that image is looked into."""
        async with cls._on_thread(lambda: _scratch(part)) as audit:
            try:
                yield audit
            finally:
                await audit._call(audit._stack.close)

    # --- the manifest that is judged --------------------------------------------------------------------

    async def attach(self, path: Path, name: str) -> list[str]:
        """Put a manifest beside this one, as `live` or `copy`, and check it; returns what is wrong with it.

        One of before `schema.COMPARABLE` is checked, but not `attached`: its rows cannot be compared. Raises
        `ConfigError` for one that a newer syncer made, `PermissionError` for one that we may not read: that is nothing
        against it.
        """

        def work() -> list[str]:
            with translated():
                head = _head(path)
                self._db.execute(f"attach database ? as {name}", [_address(path, self._stack)])
                if misstated := migrations.misstated(self._db, name):
                    return [misstated]
                if head[WAYS] not in {b"\1\1", b"\2\2"}:
                    return ["its header names no way of writing it"]
                (version,) = self._db.execute(f"pragma {name}.user_version").fetchone()
                verdicts = [str(row[0]) for row in self._db.execute(f"pragma {name}.integrity_check(10)")]
                problems = [] if verdicts == ["ok"] else verdicts
                if version >= schema.COMPARABLE:
                    self._versions[name] = version
                    problems += self._schema(name)
                    self.attached |= set() if problems else {name}
                return problems

        try:
            problems = await self._call(work)
        except ArchiveUnwritable as error:
            problems = [str(error.facts.get("sqlite") or error)]
        except PermissionError:
            raise
        except OSError as error:
            problems = [f"it cannot be read: {error.strerror}"]
        except UnicodeDecodeError:  # a name in the schema
            problems = ["the schema cannot be read"]
        return problems

    def _schema(self, other: str) -> Iterator[str]:
        columns = "name, type, tbl_name, sql"
        there = {name: made for name, *made in self._db.execute(f"select {columns} from {other}.sqlite_master")}  # noqa: S608  our own names
        ours = f"select {columns} from main.sqlite_master where type in ('table', 'index')"  # noqa: S608  our own names
        for name, *made in self._db.execute(ours):
            _, table, _ = made
            if not (self._knows(other, table) and self._knows(other, name)):
                continue
            if name not in there:
                yield f"{name} is missing"
            elif there[name] != made:
                yield f"{name} is not defined as it was made"

    def _knows(self, name: str, part: str) -> bool:
        """Say whether a judged manifest is of a version that has this table or index."""
        return self._versions[name] >= schema.SINCE.get(part, 0)

    async def bound_to(self, name: str) -> dict[str, str | None]:
        """Return what a judged manifest says of the archive it belongs to; {} for one that is not attached."""
        if name not in self.attached:
            return {}
        sql = f"select archive_id, created, seal from {name}.archive"  # noqa: S608  our own name
        rows = await self._call(lambda: list(self._db.query(sql)))
        return rows[0] if len(rows) == 1 else {}

    async def live_revision(self, file: Expected) -> Revision | None:
        """Return what the judged manifest remembers of the revision that a file belongs to."""
        if "live" not in self.attached:
            return None
        key = [file.workspace_id, file.image_id, file.revision]
        row = await self._call(lambda: self._db.execute(SELECT_REVISION.format("live"), key).fetchone())
        return None if row is None else Revision(*row)

    # --- the files that should be there -----------------------------------------------------------------

    async def expect(self, files: Iterable[Expected]) -> None:
        """Add files that should be there; the first to tell of one counts."""
        rows = [(f.path, f.sha256, f.size, f.workspace_id, f.image_id, f.revision) for f in files]

        def work() -> None:
            with self._db.atomic():
                for some in (rows[at : at + AT_ONCE] for at in range(0, len(rows), AT_ONCE)):
                    sql = times(len(some), "insert or ignore into files values (?,?,?,?,?,?)")
                    self._db.execute(sql, [*chain.from_iterable(some)])

        await self._call(work)

    async def expected(self, paths: Sequence[str]) -> dict[str, Expected]:
        """Return those of these paths that are among the files that should be there."""
        sql = "select * from files where path in (select value from json_each(?))"
        rows = await self._call(lambda: list(self._db.execute(sql, [json.dumps(paths)])))
        return {row[0]: Expected(*row) for row in rows}

    async def files(self, after: str) -> list[Expected]:
        """Return the next files that should be there, in the order of their paths' bytes."""
        sql = f"select * from files where path > ? order by path limit {PAGE}"  # noqa: S608  our own number
        return await self._call(lambda: [Expected(*row) for row in self._db.execute(sql, [after])])

    async def untold(self) -> int:
        """Expect what only the judged manifest knows of, doubt it, and count it."""

        def work() -> int:
            unknown = "from live.revisions where sidecar not in (select path from files)"
            columns = "workspace_id, image_id, revision"
            count = self._db.execute(f"select count(*) {unknown}").fetchone()[0]
            self._db.execute(f"insert or ignore into doubts select {columns} {unknown}")
            self._db.execute(f"insert or ignore into files select path, sha256, bytes, {columns} {unknown}")
            self._db.execute(f"insert or ignore into files select sidecar, null, null, {columns} {unknown}")
            return int(count)

        return await self._call(work)

    # --- what is compared -------------------------------------------------------------------------------

    async def doubt(self, revisions: Iterable[tuple[str, str, int]]) -> None:
        """Leave revisions (workspace, image, number) out of the comparison.

        Their sidecars cannot be believed, or were not looked at, so that nothing speaks against a row.
        """
        keys = list(revisions)

        def work() -> None:
            with self._db.atomic():
                self._db.conn.executemany("insert or ignore into doubts values (?,?,?)", keys)

        await self._call(work)

    async def differences(self, name: str, *, trusted: bool) -> list[Difference]:
        """Compare row by row; where the journal is not `trusted`, only what the sidecars tell."""

        def work() -> list[Difference]:
            tables = [table for table in TOLD if self._knows(name, table)] if trusted else ["images", "revisions"]
            told = [found for table in tables for found in self._differences(name, table, trusted=trusted)]
            return told + list(self._unlike_runs())

        return await self._call(work)

    def _differences(self, name: str, table: str, *, trusted: bool) -> Iterator[Difference]:
        key = TOLD[table]
        ignored = {"seal", *(() if trusted else BY_JOURNAL)}
        columns = [column for column in self._db.table(table).columns_dict if column not in {*key, *ignored}]
        same = " and ".join(f"l.{column} = s.{column}" for column in key)
        named = _named(columns)
        looked_into = {
            "images": "part({0}.workspace_id, {0}.image_id) and not exists (select 1 from"
            " doubts d where d.workspace_id = {0}.workspace_id and d.image_id = {0}.image_id)",
            "revisions": "part({0}.workspace_id, {0}.image_id) and not exists (select 1 from doubts d where"
            " d.workspace_id = {0}.workspace_id and d.image_id = {0}.image_id and d.revision = {0}.revision)",
        }.get(table, "1")
        ours, theirs = f"main.{table} s", f"{name}.{table} l"
        sides = (
            ("s", f"{named} as named from {ours} join {theirs} on {same} where named <> ''"),
            ("l", f"null from {theirs} left join {ours} on {same} where s.rowid is null"),
            ("s", f"'' from {ours} left join {theirs} on {same} where l.rowid is null"),
        )
        for side, sql in sides:
            keys = ", ".join(f"{side}.{column}" for column in key)
            for *found, text in self._db.execute(f"select {keys}, {sql} and {looked_into.format(side)}"):
                if text is None:
                    detail = "the archive does not tell of it"
                elif text:
                    detail = f"not as the archive tells it:{text}"
                else:
                    detail = "it is missing"
                yield Difference(table, tuple(found), detail)

    def _unlike_runs(self) -> Iterator[Difference]:
        """Compare what only manifest and copy tell, as far as both do: one of the two is wrong where they differ.

        A manifest that was made anew counts its runs anew: those are others, with the same numbers.
        """
        if not {"live", "copy"} <= self.attached:
            return
        named = _named([column for column in self._db.table("runs").columns_dict if column != "id"])
        same = "l.id = s.id and (l.run is s.run or l.started is s.started)"
        sql = f"select l.id, {named} as named from live.runs l join copy.runs s on {same} where named <> ''"  # noqa: S608  our own names
        for number, text in self._db.execute(sql):
            yield Difference("runs", (number,), f"the manifest and its copy do not tell the same:{text}")


def refuse_newer(path: Path) -> None:
    """Raise `ConfigError` for a manifest that a newer syncer made; one that is missing or cannot be read passes.

    Raises `OSError`.
    """
    if not path.exists() or not path.stat().st_size:  # SQLite would remove the log of an empty one
        return
    with ExitStack() as stack, suppress(sqlite3.Error):
        connection = stack.enter_context(closing(sqlite3.connect(_address(path, stack), uri=True)))
        migrations.misstated(Database(connection))


def _named(columns: Iterable[str]) -> str:
    """Write the SQL that names the columns in which `l` and `s` differ, each behind a space."""
    return " || ".join(f"case when l.{one} is s.{one} then '' else ' {one}' end" for one in columns) or "''"


def _scratch(part: Callable[[str, str], bool]) -> Database:
    with translated():
        connection = sqlite3.connect("", uri=True)
        db = Database(connection)
        migrations.migrate(db)
        connection.text_factory = lambda text: text.decode("utf-8", "replace")  # a damaged one may be anything
        connection.create_function("part", 2, lambda *ids: part(*map(str, ids)), deterministic=True)
        db.execute(
            "create temp table files (path text primary key, sha256, bytes, workspace_id, image_id, revision)"
            " without rowid"
        )
        db.execute(
            "create temp table doubts (workspace_id, image_id, revision,"
            " primary key (workspace_id, image_id, revision))"
        )
        return db


def _head(path: Path) -> bytes:
    """Read the first bytes of a manifest. Raises `OSError` where SQLite, too, could not read it or its log."""
    head = b""
    for file in (path.with_name(f"{path.name}-wal"), path):
        with suppress(FileNotFoundError), file.open("rb") as opened:
            head = opened.read(WAYS.stop)
    return head


def _address(path: Path, stack: ExitStack) -> str:
    """Say how to open a manifest without making a file beside it; a log that cannot be read in place is copied."""
    wal = path.with_name(f"{path.name}-wal")
    if not wal.exists() or wal.stat().st_size == 0:
        return f"{path.absolute().as_uri()}?mode=ro&immutable=1"
    if not os.access(path.parent, os.W_OK):
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="syncer-")))
        for source in (path, wal):
            shutil.copyfile(source, folder / source.name)
        path = folder / path.name
    return f"{path.absolute().as_uri()}?mode=ro"
