"""`syncer trigger`: have the running daemon begin something now."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from syncer.errors import ConfigError


def trigger_(
    *workspace: str,
    quick: Annotated[bool, Parameter(negative=())] = False,
    verify: Annotated[bool, Parameter(negative=())] = False,
    uploads: Annotated[bool, Parameter(negative=())] = False,
    accept_deletions: Annotated[bool, Parameter(negative=())] = False,
    wait: Annotated[bool, Parameter(negative=())] = False,
    json: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Have the running daemon make a full pass now, also while it is paused or waits after a failure.

    Parameters
    ----------
    workspace
        Ids or names of configured workspaces; all of them when none is given.
    quick
        A quick pass instead: only the newest pages, down to what is known.
    verify
        A verification instead: the next part of the archive.
    uploads
        Uploads instead: what waits in the watch folders, also where a quota has paused them.
    accept_deletions
        Mark images gone even where the deletion brake would hold, in this pass: after a look at the service.
    wait
        Wait until it is done, and exit with its code.
    json
        Write the answer as a JSON line to stdout.
    """
    from syncer.cli.ordering import order

    instead = [work for work, wanted in (("quick", quick), ("verify", verify), ("upload", uploads)) if wanted]
    if len(instead) > 1:
        raise ConfigError("--quick, --verify and --uploads exclude each other", hint="leave them out for a full pass")
    request = {"ask": "trigger", "work": instead[0] if instead else "full"}
    asked = {"workspaces": list(workspace), "accept_deletions": accept_deletions, "wait": wait}
    return order({**request, **asked}, json=json)
