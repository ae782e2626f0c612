"""`syncer pause`: have the running daemon begin nothing more by its schedule."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter


def pause_(*, json: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Have the running daemon begin nothing more by its schedule, until `syncer resume` or a restart.

    The run under way is finished, and `syncer trigger` still works.

    Parameters
    ----------
    json
        Write the answer as a JSON line to stdout.
    """
    from syncer.cli.ordering import order

    return order({"ask": "pause"}, json=json)
