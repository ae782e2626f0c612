"""Where an interrupted verification stopped, kept with this user's other state, never in the archive.

It is a note for going on, not a proof: losing it costs time only.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from syncer.operations.verification import Options, Verification

SAVE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Stop:
    """How far a verification came, and how much damage it had found by then."""

    reached: str = ""
    damage: int = 0


class Note:
    """The note about one archive and one part of it."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = path
        self._clock = clock
        self._saved = clock()

    @classmethod
    def of(cls, archive: Path, options: Options, environ: Mapping[str, str]) -> Note:
        """Say where the note about this archive and part stands."""
        state = Path(environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
        key = f"{archive.absolute()}\0{options.part.number}/{options.part.of}"
        return cls(state / "syncer" / f"verify-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json")

    def read(self) -> Stop:
        """Return where the last verification stopped; the beginning where nothing is noted."""
        try:
            return Stop(**json.loads(self._path.read_text("utf-8")))
        except (OSError, ValueError, TypeError):
            return Stop()

    def save_now_and_then(self, result: Verification, before: Stop) -> None:
        """Note how far it came, not more often than every few seconds."""
        if self._clock() - self._saved >= SAVE_SECONDS:
            self.save(result, before)

    def save(self, result: Verification, before: Stop) -> None:
        """Note how far it came; a state folder that cannot be written is no reason to stop verifying."""
        self._saved = self._clock()
        stop = Stop(result.reached, before.damage + result.damage)
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            staged = self._path.with_suffix(f".{os.getpid()}")
            staged.write_text(json.dumps(asdict(stop)), "utf-8")
            staged.replace(self._path)

    def drop(self) -> None:
        """It came to its end: there is nothing to go on with."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
