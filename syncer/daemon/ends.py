"""How a piece of work of the daemon ended, as values: for its verdicts, its status line, and whoever waits for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from syncer.errors import Unavailable

BUG = 1
INCOMPLETE = 3
DAMAGE = 4
UNAVAILABLE = Unavailable.exit_code


@dataclass(frozen=True, slots=True)
class End:
    """How work ended: the exit code that a command would have had, and a clause or two for people.

    `futile`: it came to nothing, and is worth another try before its time, though not before `until` (epoch seconds).
    """

    code: int
    text: str
    hint: str = ""
    futile: bool = False
    until: float = 0.0


@dataclass(frozen=True, slots=True)
class Ended(End):
    """How a run ended. `whole` are the workspaces that are complete, `each` says of the others why they are not."""

    run: str = ""
    whole: frozenset[str] = field(default_factory=frozenset)
    each: Mapping[str, End] = field(default_factory=dict)
    damage: int | None = None  # that a verification found which came to its end
