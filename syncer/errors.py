"""Every error that syncer raises on purpose. This module imports nothing.

    SyncerError                      exit 1   something we know by name went wrong
    ├── ConfigError                  exit 2   usage or configuration; fatal
    ├── Unavailable                  exit 8   no answer, or "later": a retry may help
    ├── Damaged                      exit 3   bytes that are not what was promised: a retry may help
    ├── Refused                      exit 3   the service, or a rule of ours, says no to this one request
    │   ├── NotFound                 exit 3   404 or 410: the service does not know it (any more)
    │   └── QuotaReached             exit 3   the workspace may not have more: later, or after somebody has paid
    ├── Unsettled                    exit 3   sent, and not answered: it may have been carried out
    ├── UnexpectedAnswer             exit 8   an answer that cannot be understood: a retry may help
    ├── Unauthorized                 exit 7   the credentials were refused; fatal
    ├── ServiceDown                  exit 8   the service cannot be reached, or keeps failing; fatal
    ├── ArchiveUnwritable            exit 9   the archive cannot be read or written; fatal
    │   └── StorageFull              exit 9   the disk has less than the reserve; fatal
    ├── SafetyStop                   exit 5   going on could lose something; fatal
    └── AlreadyRunning               exit 6   another process holds the archive; fatal

`retryable` says whether the same attempt may succeed later, `fatal` whether the run has to end. An
operation turns an error that is not fatal into the outcome of one image; fatal ones pass through it.
"""

from __future__ import annotations

from typing import ClassVar


class SyncerError(Exception):
    """Something that went wrong in a way we know by name.

    `message` is one plain clause, `hint` tells the person what to do next, `facts` are what the log and
    the command line print beside the message. None of them ever holds a secret or a signed query.
    """

    exit_code: ClassVar[int] = 1
    retryable: ClassVar[bool] = False
    fatal: ClassVar[bool] = False

    def __init__(self, message: str, *, hint: str = "", **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.facts = facts

    def __str__(self) -> str:
        facts = ", ".join(f"{name}={value}" for name, value in self.facts.items() if value is not None)
        return f"{self.message} ({facts})" if facts else self.message


class ConfigError(SyncerError):
    """A mistake in the configuration or on the command line; `problems` lists them all."""

    exit_code = 2
    fatal = True

    def __init__(self, message: str, *, problems: tuple[str, ...] = (), hint: str = "", **facts: object) -> None:
        super().__init__(message, hint=hint, **facts)
        self.problems = problems


class Unavailable(SyncerError):
    """No answer, or one that says "later"; `retry_after` is what the service asked for, in seconds."""

    exit_code = 8
    retryable = True

    def __init__(self, message: str, *, retry_after: float | None = None, hint: str = "", **facts: object) -> None:
        super().__init__(message, hint=hint, **facts)
        self.retry_after = retry_after


class Damaged(SyncerError):
    """Bytes that are not what was promised: cut, too long, another hash, not a picture."""

    exit_code = 3
    retryable = True

    def __init__(
        self, message: str, *, expected: object = None, actual: object = None, hint: str = "", **facts: object
    ) -> None:
        super().__init__(message, hint=hint, **{**facts, "expected": expected, "actual": actual})


class Refused(SyncerError):
    """The service, or a rule of ours, says no to one request; asking again would not change it."""

    exit_code = 3

    def __init__(
        self, message: str, *, status: int | None = None, code: str | None = None, hint: str = "", **facts: object
    ) -> None:
        super().__init__(message, hint=hint, **{**facts, "status": status, "code": code})
        self.status = status
        self.code = code


class NotFound(Refused):
    """404 or 410: the service does not know it, or not any more."""


class QuotaReached(Refused):
    """A limit of the workspace's own is reached: every request like this one is refused, for hours or days."""


class Unsettled(SyncerError):
    """A request was sent that must not be sent twice, and its answer was lost: it may have been carried out.

    `accepted` says that the service did say yes, in words that could not be read to their end.
    """

    exit_code = 3

    def __init__(self, message: str, *, accepted: bool = False, hint: str = "", **facts: object) -> None:
        super().__init__(message, hint=hint, **facts)
        self.accepted = accepted


class UnexpectedAnswer(SyncerError):
    """An answer that cannot be understood: HTML where JSON belongs, a page without rows."""

    exit_code = 8
    retryable = True


class Unauthorized(SyncerError):
    """The service refused the credentials."""

    exit_code = 7
    fatal = True


class ServiceDown(SyncerError):
    """The service cannot be reached, or kept failing for too long."""

    exit_code = 8
    fatal = True


class ArchiveUnwritable(SyncerError):
    """The archive cannot be read or written: a missing folder, a read-only file system, an I/O error."""

    exit_code = 9
    fatal = True


class StorageFull(ArchiveUnwritable):
    """The disk is full, or has less left than the reserve."""


class SafetyStop(SyncerError):
    """Going on could lose something: the deletion brake, or a marker that is missing."""

    exit_code = 5
    fatal = True


class AlreadyRunning(SyncerError):
    """Another process holds the archive."""

    exit_code = 6
    fatal = True
