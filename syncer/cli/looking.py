"""What the offline commands share: find the archive and open its manifest for reading."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from syncer.errors import ArchiveUnwritable, SafetyStop

if TYPE_CHECKING:
    from syncer.manifest.reader import Reader
    from syncer.settings import Settings


@contextmanager
def reading(settings: Settings) -> Iterator[Reader | None]:
    """Open the manifest; None where no backup has been made yet. Raises `SafetyStop` where the marker is missing."""
    from syncer.archive.layout import MANIFEST, MARKER
    from syncer.manifest.reader import Reader

    root = settings.archive.path
    manifest, marker = root / MANIFEST, root / MARKER
    try:
        if not stat.S_ISDIR(root.stat().st_mode):
            raise NotADirectoryError(f"{root} is a file")
        known, marked = manifest.exists(), marker.exists()
    except FileNotFoundError:
        known = marked = False
    except OSError as error:
        raise ArchiveUnwritable(
            "the archive cannot be read", hint="see the folder's permissions", archive=root
        ) from error
    if known and not marked:
        raise SafetyStop(
            "the archive's marker is missing",
            hint="is the right disk mounted? If so, put syncer-archive.json back from a backup",
            archive=root,
        )
    if not known and marked and (root / "journal").exists():
        raise SafetyStop(
            "the archive's manifest.db is missing",
            hint="put it back from a backup, or make it anew with `syncer rebuild`",
            archive=root,
        )
    if not known:
        yield None
        return
    with Reader.open(manifest) as reader:
        yield reader
