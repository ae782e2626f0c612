"""One connection to SQLite, with what this room asks of it.

Most of it is plain SQL. `table` hands out the tables of sqlite-utils, which make, change and inspect what the schema
is made of; it is imported when it is asked for, since that takes longer than a whole pass that finds nothing new.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlite_utils import Database as Tools
    from sqlite_utils.db import Table


class Database:
    """A connection whose statements count at once, but those inside `atomic` together or not at all.

    Raises `sqlite3.Error`. Like the connection, it belongs to the thread that made it.
    """

    def __init__(self, conn: sqlite3.Connection) -> None:
        conn.isolation_level = None  # else Python would begin transactions by itself, and leave them open
        self.conn = conn
        self.execute = conn.execute

    def query(self, sql: str, values: Sequence[object] = ()) -> Iterator[dict[str, Any]]:
        """Yield rows by the names of their columns."""
        cursor = self.conn.execute(sql, values)
        names = [column[0] for column in cursor.description]
        return (dict(zip(names, row, strict=True)) for row in cursor)

    @contextmanager
    def atomic(self) -> Iterator[None]:
        """Make one transaction of the block; raises what the block raises, and then nothing of it is written."""
        self.conn.execute("begin")
        try:
            yield
            self.conn.execute("commit")
        except BaseException:
            self.conn.rollback()
            raise

    def has(self, table: str) -> bool:
        """Say whether there is such a table."""
        sql = "select 1 from sqlite_master where type = 'table' and name = ?"
        return self.conn.execute(sql, [table]).fetchone() is not None

    @cached_property
    def tools(self) -> Tools:
        """The same connection in the hands of sqlite-utils."""
        from sqlite_utils import Database as Tools

        return Tools(self.conn, execute_plugins=False)

    def table(self, name: str) -> Table:
        """Return a table of sqlite-utils."""
        return self.tools.table(name)

    def close(self) -> None:
        """Close the connection."""
        self.conn.close()
