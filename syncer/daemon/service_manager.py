"""Tell the service manager how the daemon stands: sd_notify(3), a datagram at a time.

Telling never waits and never raises: a manager that is busy or gone must not hold up a backup. What it acts on
(ready, reloading, stopping) is kept until it gets through, in order; a status or a sign of life that finds the
socket full is lost, for the next one says more. Where nobody listens (no `NOTIFY_SOCKET`) nothing happens.
When to say what is the daemon's affair.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Mapping

from syncer.redaction import redact

STATUS_LENGTH = 500  # characters: a manager drops a datagram of more than 4,096 bytes, whatever else it says
_KEPT = 8  # announcements: far more than a life has between two chances to send them


class ServiceManager:
    """The service manager that started this process, or nobody."""

    def __init__(
        self,
        address: bytes | None,
        watchdog_seconds: float | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._watchdog_seconds = watchdog_seconds
        self._clock = clock
        self._owed: deque[bytes] = deque(maxlen=_KEPT)
        self._said: str | None = None
        self._socket = _socket() if address else None

    @classmethod
    def of(cls, environ: Mapping[str, str], *, clock: Callable[[], float] = time.monotonic) -> ServiceManager:
        """Return the one that the environment names. `clock` gives seconds of CLOCK_MONOTONIC."""
        name = environ.get("NOTIFY_SOCKET", "")
        if name.startswith("/"):
            return cls(os.fsencode(name), _watchdog(environ), clock=clock)
        if name.startswith("@"):  # Linux' abstract names, as systemd spells them
            return cls(b"\0" + os.fsencode(name[1:]), _watchdog(environ), clock=clock)
        return cls(None, clock=clock)

    @property
    def watchdog_seconds(self) -> float | None:
        """Seconds between two signs of life, half of what the manager allows; None if it wants none."""
        return self._watchdog_seconds

    def ready(self, status: str) -> None:
        """Say that the start, or the reload, is done; and how the daemon stands now."""
        self._said = _line(status)
        self._announce("READY=1", f"STATUS={self._said}")

    def status(self, text: str) -> None:
        """Say how the daemon stands in one line for people; the same line is not sent twice in a row."""
        line = _line(text)
        if line != self._said and self._mention(f"STATUS={line}"):
            self._said = line

    def alive(self) -> None:
        """Give a sign of life: without one for twice `watchdog_seconds`, the manager ends this process."""
        self._mention("WATCHDOG=1")

    def reloading(self) -> None:
        """Say that the configuration is being read anew; `ready` ends it."""
        # Type=notify-reload waits for a stamp that is not older than its SIGHUP; others ignore it.
        self._announce("RELOADING=1", f"MONOTONIC_USEC={int(self._clock() * 1_000_000)}")

    def stopping(self, status: str) -> None:
        """Say that the daemon is on its way out, and what it still does."""
        self._said = _line(status)
        self._announce("STOPPING=1", f"STATUS={self._said}")

    def extend(self, seconds: float) -> None:
        """Ask for this much time from now, while starting, reloading or stopping, before the manager loses patience."""
        self._mention(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def close(self) -> None:
        """Say nothing more."""
        if self._socket is not None:
            self._socket.close()

    def _announce(self, *assignments: str) -> None:
        """Send what the manager acts on, now or with the next word: a lost READY=1 would have the daemon killed."""
        self._owed.append(_datagram(*assignments))
        self._settle()

    def _mention(self, assignment: str) -> bool:
        """Send what counts only now, and only after all that is owed: systemd reads it in that order."""
        return self._settle() and self._sent(_datagram(assignment))

    def _settle(self) -> bool:
        while self._owed:
            if not self._sent(self._owed[0]):
                return False
            self._owed.popleft()
        return True

    def _sent(self, datagram: bytes) -> bool:
        if self._socket is None or self._address is None:
            return False
        try:
            # By its name each time: a manager that was executed anew may listen on another socket of that name.
            self._socket.sendto(datagram, self._address)
        except OSError:  # full, vanished, forbidden, closed: no error of ours
            return False
        return True


def _socket() -> socket.socket | None:
    try:
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)  # Python closes it on exec
    except OSError:  # no descriptor left, or a sandbox without AF_UNIX
        return None
    opened.setblocking(False)
    return opened


def _watchdog(environ: Mapping[str, str]) -> float | None:
    """Read the interval in seconds, if it is meant for this process and not for one that started it."""
    try:
        microseconds = int(environ.get("WATCHDOG_USEC", ""))
        process = int(environ.get("WATCHDOG_PID") or os.getpid())
    except ValueError:
        return None
    return microseconds / 2_000_000 if microseconds > 0 and process == os.getpid() else None


def _line(text: str) -> str:
    """Make one short line of it, without secrets; redacted first, for half a secret is not recognised."""
    words = " ".join(redact(text).split())  # a newline would begin an assignment of its own
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in words)
    return line if len(line) <= STATUS_LENGTH else line[: STATUS_LENGTH - 1] + "…"


def _datagram(*assignments: str) -> bytes:
    return "\n".join(assignments).encode()
