"""Remember where each file of a watch folder is: becoming complete, complete, in hand, kept, or stuck.

Promises that a file is in one place only, that one which is in hand is not offered meanwhile, and that a file which was
kept, or could not be moved, is known for as long as it stays as it is. It does no I/O; times come from whoever calls.
"""

from __future__ import annotations

from pathlib import Path

from syncer.inbox.drop import Drop, Signature
from syncer.inbox.names import printable
from syncer.inbox.stillness import Look, Stillness


class Book:
    """The files of one watch folder."""

    def __init__(self, folder: Path, settle: float) -> None:
        self._folder = folder
        self.becoming: Stillness[Path] = Stillness(settle)
        self._complete: dict[Path, Drop] = {}
        self._in_hand: dict[Path, Drop] = {}
        self._kept: dict[Path, Signature] = {}
        self._stuck: dict[Path, Drop] = {}
        self._troubles: dict[Path, str] = {}  # of files that could not be moved, until they are, or are others

    @property
    def waiting(self) -> int:
        """How many are not dealt with."""
        return len(self.becoming) + len(self._complete) + len(self._in_hand) + len(self._stuck)

    @property
    def trouble(self) -> str | None:
        """Why a file could not be moved; None where each could."""
        return next(iter(self._troubles.values()), None)

    def paths(self) -> list[Path]:
        """List all that are known and not in hand."""
        return [*self.becoming.paths(), *self._complete, *self._kept, *self._stuck]

    def clear(self) -> None:
        """The folder is not there: forget all but what was kept, which may come back with it."""
        for path in [*self.becoming.paths(), *self._complete, *self._stuck]:
            self.gone(path)

    # --- what is seen ---------------------------------------------------------------------------------

    def touched(self, path: Path, signature: Signature | None, at: float, *, closed: bool) -> None:
        """Note an event, and what the file was just after it."""
        if signature is None:
            self.gone(path)
        elif path not in self._in_hand and self._kept.get(path) != signature:
            self._not_as_it_was(path)
            self.becoming.touched(path, signature, at, closed=closed)

    def found(self, path: Path, signature: Signature | None, at: float) -> None:
        """Note what a file is seen to be; None where it is not there."""
        if signature is None:
            self.gone(path)
        elif path not in self._in_hand and signature != self._known(path):
            self._not_as_it_was(path)
            self.becoming.seen(path, signature, at)

    def judged(self, path: Path, look: Look | None, at: float) -> bool:
        """Note a look at a file that was due; say whether that made it complete."""
        if look is None or path not in self.becoming:
            self.found(path, None if look is None else look.signature, at)
            return False
        if not self.becoming.judged(path, look, at):
            return False
        name = printable(path.relative_to(self._folder))
        self._complete[path] = Drop(path, name, look.signature, look.fault)
        return True

    def gone(self, path: Path) -> None:
        """It is not there any more."""
        self.becoming.forget(path)
        self._not_as_it_was(path)

    def _not_as_it_was(self, path: Path) -> None:
        self._complete.pop(path, None)
        self._kept.pop(path, None)
        self._stuck.pop(path, None)
        if path not in self._in_hand:
            self._troubles.pop(path, None)

    def gone_below(self, folder: Path) -> None:
        """A folder is not there any more."""
        for path in self.paths():
            if folder in path.parents:
                self.gone(path)

    def _known(self, path: Path) -> Signature | None:
        drop = self._complete.get(path) or self._stuck.get(path)
        return self._kept.get(path) if drop is None else drop.signature

    # --- what is done ---------------------------------------------------------------------------------

    def take(self) -> list[Drop]:
        """Hand out all that is complete."""
        drops = list(self._complete.values())
        self._in_hand |= self._complete
        self._complete.clear()
        return drops

    def back(self, drop: Drop) -> bool:
        """It is complete as before; say whether it was in hand."""
        if self._in_hand.get(drop.path) != drop:
            return False
        self._complete[drop.path] = self._in_hand.pop(drop.path)
        return True

    def ended(self, drop: Drop) -> None:
        """It has been dealt with."""
        self._in_hand.pop(drop.path, None)
        self._troubles.pop(drop.path, None)

    def keep(self, drop: Drop) -> None:
        """It has been dealt with, and stays where it is."""
        self.ended(drop)
        self._kept[drop.path] = drop.signature

    def stick(self, drop: Drop, trouble: str) -> bool:
        """It has been dealt with, and could not be moved; say whether that is news."""
        news = drop.path not in self._troubles
        self.ended(drop)
        self._stuck[drop.path] = drop
        self._troubles[drop.path] = trouble
        return news

    def loosen(self) -> list[Drop]:
        """Take in hand again what could not be moved."""
        drops = list(self._stuck.values())
        self._in_hand |= self._stuck
        self._stuck.clear()
        return drops
