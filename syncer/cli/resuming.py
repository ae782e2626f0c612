"""Where an interrupted verification stopped, kept with this user's other state, never in the archive.

It is a note for going on, not a proof: losing it costs time only. What was hashed long ago is not relied on, nor what
was hashed of an archive that another history stands in now, or that was repaired since.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path

from syncer.archive import journal
from syncer.archive.journal import JournalLine
from syncer.archive.layout import stamp
from syncer.model import Finding, Harm
from syncer.operations.rooms import utc_now
from syncer.operations.verification import Options, Progress, Verification

SAVE_SECONDS = 5.0
KEPT = timedelta(days=7)  # for so long what was hashed counts as hashed


@dataclass(frozen=True, slots=True)
class Stop:
    """How far a verification came, and how much damage it had found by then that going on does not find again.

    It `begun` at a time in UTC, the first one if it had been resumed itself; `seal` is of the journal's last line.
    """

    reached: str = ""
    damage: int = 0
    begun: str = ""
    seal: str = ""


class Note:
    """The note about one archive and one part of it."""

    def __init__(
        self, path: Path, clock: Callable[[], float] = time.monotonic, now: Callable[[], datetime] = utc_now
    ) -> None:
        self._path = path
        self._clock = clock
        self._saved = clock()
        self._begun = now()
        self._damaged: list[str] = []

    @classmethod
    def of(cls, archive: Path, options: Options, environ: Mapping[str, str]) -> Note:
        """Say where the note about this archive and part stands."""
        return cls(_folder(environ) / f"{_name(archive)}{options.part.number}-{options.part.of}.json")

    def read(self) -> Stop:
        """Return where the last verification stopped; the beginning where nothing is noted."""
        try:
            return Stop(**json.loads(self._path.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return Stop()

    def stop_for(self, archive: Path, say: Callable[[str], None]) -> Stop:
        """Return where to go on in this archive; the beginning, saying why, where the note is not to be relied on."""
        stop = self.read()
        if reason := self._against(stop, archive):
            say(f"Beginning anew: {reason}.")
            return Stop()
        return stop

    def _against(self, stop: Stop, archive: Path) -> str | None:
        if not stop.reached:
            return None
        try:
            age = self._begun - datetime.fromisoformat(stop.begun)
        except (ValueError, TypeError):  # no time, or one that says not of which zone
            return "it is not known when the interrupted verification began"
        if not timedelta(0) <= age <= KEPT:
            return f"the interrupted verification began more than {KEPT.days} days ago, or the clock was set back"
        lines = (line.seal for line in journal.read(archive) if isinstance(line, JournalLine))
        if stop.seal and stop.seal not in lines:
            return "the archive's journal is another than it was"
        return None

    def see(self, event: Finding | Progress) -> None:
        """Remember what is found by hashing, which is not found again where the verification is resumed."""
        if isinstance(event, Finding) and event.harm in {Harm.CORRUPT, Harm.UNREADABLE} and event.image_id is not None:
            self._damaged.append(event.path)

    def save_now_and_then(self, result: Verification, before: Stop) -> None:
        """Note how far it came, not more often than every few seconds."""
        if self._clock() - self._saved >= SAVE_SECONDS:
            self.save(result, before)

    def save(self, result: Verification, before: Stop) -> None:
        """Note how far it came; a state folder that cannot be written is no reason to stop verifying."""
        self._saved = self._clock()
        found = sum(before.reached < path <= result.reached for path in self._damaged)
        begun, seal = before.begun or stamp(self._begun), result.seal or before.seal
        stop = Stop(result.reached, before.damage + found, begun, seal)
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            staged = self._path.with_suffix(f".{os.getpid()}")
            staged.write_text(json.dumps(asdict(stop)), "utf-8")
            staged.replace(self._path)

    def drop(self) -> None:
        """It came to its end: there is nothing to go on with."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def forget(archive: Path, environ: Mapping[str, str]) -> None:
    """Drop the notes about every part of an archive: the damage that they count may have been mended."""
    for path in _folder(environ).glob(f"{_name(archive)}*.json"):
        with suppress(OSError):
            path.unlink()


def _folder(environ: Mapping[str, str]) -> Path:
    state = Path(environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "syncer"


def _name(archive: Path) -> str:
    return f"verify-{hashlib.sha256(str(archive.absolute()).encode()).hexdigest()[:16]}-"
