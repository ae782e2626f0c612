"""Trust only bytes: every file against its hash, every sidecar and row against what the journal tells.

Three tellings of the same facts stand in an archive: the sidecars, the journal, the manifest. The journal seals itself
line by line and names each picture and each sidecar by its hash; from both, a manifest is made for the moment and
compared with the one that is there, value by value. Where one of the three is missing, the others still speak.
Nothing is written, no credentials are needed, and a medium that cannot be written is fine. What is found is told to
whoever watches; mending it is left to `repair`.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from syncer.archive import layout
from syncer.archive.disk import translated
from syncer.archive.lock import WRITER, shared, waiting
from syncer.errors import SafetyStop
from syncer.manifest.audit import Audit
from syncer.operations.inspection import Inspection
from syncer.operations.verification import Options, Verification, Watch
from syncer.operations.verify_files import Files
from syncer.operations.verify_records import Records


async def verify(root: Path, options: Options, watch: Watch, result: Verification) -> None:
    """Look at an archive as it stands.

    Raises `SafetyStop` where there is none, `AlreadyRunning` during a backup, `ArchiveUnwritable` for one that we may
    not look into.
    """
    with translated(root):
        there = any((root / name).exists() for name in (layout.MARKER, layout.MANIFEST, layout.JOURNAL))
    if not there:
        raise SafetyStop("there is no archive here", hint="is the disk mounted?", archive=root)
    with ExitStack() as stack:

        async def enter() -> None:
            with translated(root):
                stack.enter_context(shared(root / layout.STAGING / WRITER))

        await waiting(enter)
        await look(root, options, watch, result)


async def look(root: Path, options: Options, watch: Watch, result: Verification) -> None:
    """Look at an archive that nobody else writes to.

    Raises `ArchiveUnwritable` where it cannot or may not be read, `ConfigError` where a newer syncer made its manifest.
    """
    result.reached = options.after
    with translated(root):
        async with Audit.begin(options.part) as audit:
            inspection = Inspection(root, options, watch, result, audit)
            try:
                records = Records(inspection)
                await records.gather()
                await Files(inspection).at_all()
                await records.compare()
            finally:
                inspection.close()
