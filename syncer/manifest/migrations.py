"""The tables of the manifest, migrated forward only. `docs/manifest.md` describes them for those who query them."""

from __future__ import annotations

from sqlite_utils import Database as Tools
from sqlite_utils import Migrations

from syncer.manifest.database import Database
from syncer.manifest.schema import VERSION, newer

MIGRATIONS = Migrations("syncer")

IMAGE = ("workspace_id", "image_id")


@MIGRATIONS()
def m001_first_tables(db: Tools) -> None:
    """Create what the first version knows."""
    db.table("archive").create({"archive_id": str, "created": str}, pk="archive_id")
    db.table("workspaces").create(
        {
            "workspace_id": str,
            "name": str,
            "folder": str,  # under the archive; fixed at first sight, whatever the name becomes later
            "hole": int,  # 1: a pass ended early, so known ground does not mean that all below it is known
        },
        pk="workspace_id",
        not_null={"folder", "hole"},
    )
    db.table("images").create(
        {
            "workspace_id": str,
            "image_id": str,
            "state": str,
            "revision": int,
            "created_at": str,
            "updated_at": str,
            "prompt": str,
            "model": str,
            "created_by": str,
            "generation_id": str,
            "width": int,
            "height": int,
            "bytes": int,
            "media_type": str,
            "sha256": str,
            "path": str,
            "sidecar": str,
            "first_seen": str,
            "gone_since": str,
        },
        pk=IMAGE,
        not_null={"state", "revision", "bytes", "media_type", "sha256", "path", "sidecar", "first_seen"},
    )
    db.table("revisions").create(
        {
            "workspace_id": str,
            "image_id": str,
            "revision": int,
            "sha256": str,
            "bytes": int,
            "media_type": str,
            "path": str,
            "sidecar": str,
            "updated_at": str,
            "fetched_at": str,
            "run": str,
            "document": str,
        },
        pk=(*IMAGE, "revision"),
        not_null={"sha256", "bytes", "media_type", "path", "sidecar", "fetched_at", "run", "document"},
    )
    db.table("failures").create(
        {"workspace_id": str, "image_id": str, "reason": str, "attempts": int, "first_tried": str, "last_tried": str},
        pk=IMAGE,
        not_null={"reason", "attempts", "last_tried"},
    )
    db.table("uploads").create(
        {
            "workspace_id": str,
            "source": str,
            "sha256": str,
            "state": str,
            "image_id": str,
            "intended_at": str,
            "settled_at": str,
        },
        pk=("workspace_id", "sha256"),
    )
    db.table("runs").create(
        {
            "id": int,
            "run": str,
            "workspace_id": str,
            "mode": str,
            "started": str,
            "ended": str,
            "listed": int,
            "new": int,
            "changed": int,
            "unchanged": int,
            "filtered": int,
            "failed": int,
            "gone": int,
            "restored": int,
            "vanished": int,
            "owed": int,
            "bytes": int,
            "requests": int,
            "seconds": float,
            "complete": int,
            "why": str,
        },
        pk="id",
        not_null={"run", "workspace_id", "mode", "started"},
    )
    db.table("runs").create_index(["workspace_id", "id"])


@MIGRATIONS()
def m002_losses_and_the_journals_seal(db: Tools) -> None:
    """Remember what was lost for good, and up to which line of the journal the rows are written."""
    db.table("archive").add_column("seal", str)
    db.table("losses").create(
        {"workspace_id": str, "image_id": str, "revision": int, "path": str, "reason": str, "found_at": str},
        pk="path",
        not_null={"workspace_id", "image_id", "revision", "reason", "found_at"},
    )


@MIGRATIONS()
def m003_verifications(db: Tools) -> None:
    """Remember when the archive was verified, and what was found."""
    db.table("verifications").create(
        {
            "verified_at": str,
            "part": int,
            "parts": int,
            "quick": int,
            "resumed": int,
            "files": int,
            "bytes": int,
            "damage": int,
            "findings": str,
        },
        pk="verified_at",
        not_null={"part", "parts", "quick", "resumed", "files", "bytes", "damage", "findings"},
    )


@MIGRATIONS()
def m004_uploads(db: Tools) -> None:
    """Remember of an upload what settles it. No version before this one wrote any."""
    db.table("uploads").drop()
    db.table("uploads").create(
        {
            "workspace_id": str,
            "sha256": str,
            "state": str,
            "source": str,
            "bytes": int,
            "image_id": str,
            "served_sha256": str,
            "reason": str,
            "intended_at": str,
            "settled_at": str,
        },
        pk=("workspace_id", "sha256"),
        not_null={"state", "source", "intended_at", "settled_at"},
    )


@MIGRATIONS()
def m005_images_by_time(db: Tools) -> None:
    """Hold the images in the order in which the service lists them, with all that tells an unchanged one.

    And those of all workspaces in the order in which `syncer list` shows them.
    """
    columns = ["workspace_id", "created_at", "image_id", "updated_at", "state"]
    db.table("images").create_index(columns, index_name="images_by_time")
    db.table("images").create_index(["created_at"], index_name="images_of_all_by_time")


@MIGRATIONS()
def m006_images_by_state(db: Tools) -> None:
    """Hold what is counted of a workspace's images, so that `syncer status` need not read all that is known of them."""
    db.table("images").create_index(["workspace_id", "state", "bytes"], index_name="images_by_state")


STEPS = (
    m001_first_tables,
    m002_losses_and_the_journals_seal,
    m003_verifications,
    m004_uploads,
    m005_images_by_time,
    m006_images_by_state,
)
NAMES = tuple(step.__name__ for step in STEPS)


def migrate(db: Database) -> None:
    """Bring a manifest of any version, or none, to ours. Raises `sqlite3.Error`, and then nothing is changed."""
    with db.atomic():  # the table of migrations and its index too, or a crash between them leaves half of it
        MIGRATIONS.apply(db.tools)
        db.execute(f"pragma user_version = {VERSION}")


def misstated(db: Database, of: str = "main") -> str | None:
    """Hold a manifest's version against its own record of migrations; returns how they differ, None where they agree.

    `of` is its name in the connection. Raises `ConfigError` for one that a newer syncer made, which records what we do
    not know: a version above ours beside a record of ours is a bit that flipped. Raises `sqlite3.Error`.
    """
    (found,) = db.execute(f"pragma {of}.user_version").fetchone()
    if found < 1:
        return f"its version is {found}, and 1 to {VERSION} are understood"
    sql = f"select name from {of}.{MIGRATIONS.migrations_table} where migration_set = ? order by rowid"  # noqa: S608  our own names
    recorded = tuple(name for (name,) in db.execute(sql, [MIGRATIONS.name]))
    if found > VERSION and recorded != NAMES[: len(recorded)]:
        raise newer(found)
    if found > VERSION or recorded != NAMES[:found]:
        return f"its version is {found}, and its record of migrations is of another one"
    return None
