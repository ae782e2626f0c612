"""Which version of the schema a manifest is of, without the tables themselves: those are made in `migrations`.

The number of migrations is the version; it stands in `PRAGMA user_version`, where any SQLite tool shows it.
A manifest of a newer version is refused rather than guessed at.
"""

from __future__ import annotations

from syncer.errors import ConfigError
from syncer.manifest.database import Database

VERSION = 6  # one a migration; a test holds the two together
COMPARABLE = 2  # from this one on, what is there can be compared with what the archive tells
SINCE = {  # what a comparable version may lack, and the version that brought it
    "verifications": 3,
    "uploads": 4,
    "images_by_time": 5,
    "images_of_all_by_time": 5,
    "images_by_state": 6,
}


def version(db: Database) -> int:
    """Return the version of a manifest, 0 for a new one. Raises `ConfigError` for one that is newer than we are."""
    (found,) = db.execute("pragma user_version").fetchone()
    if found > VERSION:
        raise newer(found)
    return int(found)


def newer(found: int) -> ConfigError:
    """Make the error that says so."""
    return ConfigError(
        "the manifest was written by a newer syncer",
        hint="install the newest syncer; the archive itself can be read without any",
        version=found,
        understood=VERSION,
    )
