"""`syncer resume`: have the paused daemon go on by its schedule."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter


def resume_(*, json: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Have the paused daemon go on by its schedule; what was missed is caught up with once.

    Parameters
    ----------
    json
        Write the answer as a JSON line to stdout.
    """
    from syncer.cli.ordering import order

    return order({"ask": "resume"}, json=json)
