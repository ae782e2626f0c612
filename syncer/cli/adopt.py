"""`syncer adopt`: a backup that takes pictures from a folder of this machine where they are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from syncer.cli.output import clean, interactive, plural, say, size


def adopt_(
    folder: Path,
    *workspace: str,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Back up, and use what already lies in a folder (another tool's, an older copy) instead of downloading it.

    A file is used only when its size and its hash are what the service states of the picture. The folder is only read.

    Parameters
    ----------
    folder
        Where the files are; its sub-folders are looked through as well.
    workspace
        Ids or names of configured workspaces; all of them when none is given.
    json
        Write JSON lines to stdout, the last one with the type "summary".
    """
    from syncer.cli.backup import carry_out
    from syncer.cli.invocation import configure_log, settings
    from syncer.operations.adopt import LocalCopies

    configure_log("warning" if interactive() else "info")
    loaded = settings()
    copies = LocalCopies.below(folder.expanduser())
    say(f"{plural(len(copies), 'file')} found under {clean(folder)}")
    code = carry_out(loaded, workspace, json=json, copies=copies)
    say(f"{plural(copies.used, 'picture')} ({size(copies.saved)}) taken from there instead of being downloaded.")
    return code
