"""`syncer trigger`: have the running daemon begin something now."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from syncer.errors import ConfigError


def trigger_(
    *workspace: str,
    quick: Annotated[bool, Parameter(negative=())] = False,
    verify: Annotated[bool, Parameter(negative=())] = False,
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
    accept_deletions
        Mark images gone even where the deletion brake would hold, in this pass: after a look at the service.
    wait
        Wait until it is done, and exit with its code.
    json
        Write the answer as a JSON line to stdout.
    """
    from syncer.cli.ordering import order

    if quick and verify:
        raise ConfigError("--quick and --verify exclude each other", hint="leave both out for a full pass")
    request = {"ask": "trigger", "work": "quick" if quick else "verify" if verify else "full"}
    asked = {"workspaces": list(workspace), "accept_deletions": accept_deletions, "wait": wait}
    return order({**request, **asked}, json=json)
