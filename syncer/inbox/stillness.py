"""Judge which files are complete: closed as far as can be known, and still for as long as is asked.

Fed with what events tell and what looks find, each with its time, it promises that no file is called complete that
was seen to change within `settle` seconds, or that somebody is known to have open for writing; that one which rests is
called complete at the next look that is due; and that another file under the same name starts anew. Only changes
count: what a file's own time says is no reason for anything. It does no I/O and has no clock.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Generic, TypeVar

from syncer.inbox.drop import Signature

STALLED = 600.0  # seconds without a change after which an event that says "opened" is not believed any more

P = TypeVar("P", bound=Hashable)


class Writer(Enum):
    """Whether somebody has a file open for writing."""

    NOBODY = auto()
    SOMEBODY = auto()
    UNKNOWN = auto()  # the system does not tell


@dataclass(frozen=True, slots=True)
class Look:
    """What one file is at one moment."""

    signature: Signature
    fault: str | None  # as `Drop.fault`
    writer: Writer


@dataclass(slots=True)
class _Candidate:
    signature: Signature
    since: float  # its last change
    opened: bool  # events told of writing, and of no close after it


class Stillness(Generic[P]):
    """The files that are becoming complete, in the order in which they are due for a look."""

    def __init__(self, settle: float, *, stalled: float = STALLED) -> None:
        self._settle = settle
        self._stalled = max(settle, stalled)
        # By their last change or look, the oldest first: times never step back, and what is new goes to the end.
        self._looked: dict[P, float] = {}
        self._candidates: dict[P, _Candidate] = {}

    def __len__(self) -> int:
        return len(self._candidates)

    def __contains__(self, path: object) -> bool:
        return path in self._candidates

    def paths(self) -> list[P]:
        """List all of them, the one that is due first before the others."""
        return list(self._looked)

    def touched(self, path: P, signature: Signature, at: float, *, closed: bool) -> None:
        """Note an event: it was made or written to, or (`closed`) closed after that or moved to its place."""
        self._begin(path, signature, at, opened=not closed)

    def seen(self, path: P, signature: Signature, at: float) -> None:
        """Note that a look found it so; nothing changes for a file that is as it was."""
        known = self._candidates.get(path)
        if known is None or known.signature.inode != signature.inode or known.signature.device != signature.device:
            self._begin(path, signature, at, opened=False)
        elif known.signature != signature:
            self._begin(path, signature, at, opened=known.opened)

    def judged(self, path: P, look: Look, at: float) -> bool:
        """Say whether a file that was due, and found so, is complete; it is no candidate any more then."""
        self.seen(path, look.signature, at)
        candidate = self._candidates[path]
        match look.writer:
            case Writer.SOMEBODY:
                self._begin(path, look.signature, at, opened=True)
                return False
            case Writer.NOBODY:
                candidate.opened = False
            case Writer.UNKNOWN:
                pass  # then what events told is all there is, and a link or a truncation is told without a close
        if at - candidate.since >= (self._stalled if candidate.opened else self._settle):
            self.forget(path)
            return True
        self._later(path, at)
        return False

    def forget(self, path: P) -> None:
        """It is gone, or somebody else's concern."""
        self._candidates.pop(path, None)
        self._looked.pop(path, None)

    def unsure(self) -> None:
        """Events were lost, a close among them perhaps: believe none that said "opened"."""
        for candidate in self._candidates.values():
            candidate.opened = False

    def due(self, at: float) -> list[P]:
        """List those that have not changed, nor been looked at, for `settle` seconds."""
        found = []
        for path, looked in self._looked.items():
            if at - looked < self._settle:
                break
            found.append(path)
        return found

    def next_due(self) -> float | None:
        """Tell when the next one is due; None where there is none."""
        first = next(iter(self._looked.values()), None)
        return None if first is None else first + self._settle

    def _begin(self, path: P, signature: Signature, at: float, *, opened: bool) -> None:
        self._candidates[path] = _Candidate(signature, at, opened)
        self._later(path, at)

    def _later(self, path: P, at: float) -> None:
        self._looked.pop(path, None)
        self._looked[path] = at
