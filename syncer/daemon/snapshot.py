"""What the daemon knows at one moment, as values: for the metrics, the health answers, and whoever asks for its status.

`remembered` takes what the manifest knows; it changes only when a run ends, so it need not be read at every question.
`judged` holds it against the schedule and the time. Nothing here asks a clock, a disk or the service.

A good run is what `syncer status` calls one: quick passes count only while the last full pass was complete.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from syncer.model import moment

if TYPE_CHECKING:
    from syncer.manifest.reader import Reader, Row

LONGEST_RUN = 86400.0  # seconds; a run that takes longer does not excuse that the last good one is old
COUNTS = ("new", "changed", "unchanged", "filtered", "failed", "gone", "restored")

_NOTHING: Mapping[Any, Any] = MappingProxyType({})


class State(StrEnum):
    """What the daemon is doing."""

    STARTING = "starting"
    IDLE = "idle"
    RUNNING = "running"
    DEGRADED = "degraded"
    PAUSED = "paused"
    STOPPING = "stopping"


class Cause(StrEnum):
    """Why the daemon is degraded: the meaning of the exit code that a single run would have ended with.

    `UPLOADS` is for what is not there yet on its way up, so that it hides no backup that is not complete.
    """

    BUG = "bug"
    CONFIGURATION = "configuration"
    INCOMPLETE = "incomplete"
    DAMAGE = "damage"
    SAFETY_STOP = "safety_stop"
    LOCKED = "locked"
    CREDENTIALS = "credentials"
    SERVICE = "service"
    ARCHIVE = "archive"
    UPLOADS = "uploads"

    @classmethod
    def of(cls, exit_code: int) -> Cause | None:
        """Return what an exit code from 1 to 9 means; None for any other."""
        return dict(enumerate((cause for cause in cls if cause is not cls.UPLOADS), start=1)).get(exit_code)

    @property
    def passing(self) -> bool:
        """Whether it may well pass by itself: the schedule's patience is for these, the others need a person now."""
        return self in {Cause.INCOMPLETE, Cause.LOCKED, Cause.SERVICE, Cause.UPLOADS}


@dataclass(frozen=True, slots=True)
class LastRun:
    """The last run of one mode over one workspace: its end (epoch seconds), length in seconds, and summary."""

    ended: float
    seconds: float
    complete: bool
    counts: Mapping[str, int]
    bytes: int
    requests: int


@dataclass(frozen=True, slots=True)
class Verification:
    """A verification that ran to its end (epoch seconds): how much damage it found, in which part of how many.

    Part 0 speaks of every byte: `ended` is when the last of the parts had been hashed that was hashed the longest
    ago, `damage` what was found by the latest verification of each.
    """

    ended: float
    damage: int
    parts: int
    part: int = 0


@dataclass(frozen=True, slots=True)
class WorkspaceState:
    """One workspace: what is held, how its runs went, and when the next are due. Times are epoch seconds."""

    workspace_id: str
    name: str | None = None
    last_success: float | None = None  # the end of the last good run
    last_full: float | None = None  # the end of the last complete full pass
    last_run: Mapping[str, LastRun] = field(default_factory=lambda: _NOTHING)  # by mode
    live: int = 0
    gone: int = 0
    bytes: int = 0  # of the newest revision of every image
    owed: int = 0
    uploads: Mapping[str, int] = field(default_factory=lambda: _NOTHING)  # by state
    next_run: Mapping[str, float] = field(default_factory=lambda: _NOTHING)  # by mode
    stale_after: float | None = None  # seconds
    stale: bool = False


@dataclass(frozen=True, slots=True)
class Remembered:
    """What the manifest knows, workspaces that are not configured any more included."""

    workspaces: Mapping[str, WorkspaceState] = field(default_factory=lambda: _NOTHING)
    lost: int = 0
    verified: Verification | None = None  # the last one, whatever it looked at
    verified_whole: Verification | None = None

    @property
    def bytes(self) -> int:
        """The bytes of the newest revision of every image."""
        return sum(workspace.bytes for workspace in self.workspaces.values())


@dataclass(frozen=True, slots=True)
class Expected:
    """What configuration and schedule say of one workspace; `stale_after` None: nothing is scheduled for it."""

    name: str | None = None
    stale_after: float | None = None
    next_run: Mapping[str, float] = field(default_factory=lambda: _NOTHING)


@dataclass(frozen=True, slots=True)
class Running:
    """The run under way: its kind, when it fell due (earlier than its start, if it had to wait) and when it began."""

    work: str
    due: float
    began: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All that the daemon tells about itself. Times are epoch seconds, `token_age` is in seconds."""

    at: float
    version: str
    started: float
    ready: bool  # configuration and archive have been proven usable
    state: State
    causes: frozenset[Cause] = frozenset()
    reason: str = ""  # the gravest of them in words, without secrets
    running: Running | None = None
    queue: int = 0  # runs that are due and wait for the one under way
    paused: bool = False
    workspaces: tuple[WorkspaceState, ...] = ()
    lost: int = 0
    archive_bytes: int = 0
    archive_free_bytes: int | None = None
    requests: Mapping[int, int] = field(default_factory=lambda: _NOTHING)  # by status, since the connection was opened
    token_age: float | None = None
    verified: Verification | None = None
    verified_whole: Verification | None = None
    next_verification: float | None = None

    @property
    def stale(self) -> tuple[WorkspaceState, ...]:
        """The workspaces that have had no good run for too long."""
        return tuple(workspace for workspace in self.workspaces if workspace.stale)

    @property
    def healthy(self) -> bool:
        """Whether backups happen as scheduled; trouble that may pass by itself counts once a workspace is stale."""
        able = self.ready and self.state not in {State.STARTING, State.STOPPING}
        return able and not self.stale and all(cause.passing for cause in self.causes)


def stale(last_success: float | None, stale_after: float | None, *, since: float, at: float) -> bool:
    """Say whether the last good run is too long ago at the time `at`.

    Before the first good run the time counts from `since`, the daemon's start. So it does for a good run that lies in
    the future: the clock was wrong then, and must not silence us for as long as it was wrong.
    """
    if stale_after is None:
        return False
    counted = since if last_success is None or last_success > at else last_success
    return at - counted > stale_after


def judged(
    known: Mapping[str, WorkspaceState],
    expected: Mapping[str, Expected],
    *,
    since: float,
    at: float,
    running: Running | None = None,
) -> tuple[WorkspaceState, ...]:
    """Hold what is known against what is expected, for the expected workspaces in their order.

    `*` stands for every known workspace that is not expected by its own id; for itself, as long as there is none.

    A run under way keeps all others waiting. So what it takes, from when it fell due, is not held against any
    workspace, within reason: a nightly full pass of an hour is no alarm where quick ones are due every ten minutes.
    """
    asked = running.due if running is not None and at - running.due <= LONGEST_RUN else at
    named = _named(known, expected)
    return tuple(_judged(known.get(key, WorkspaceState(key)), one, since, asked) for key, one in named.items())


def _named(known: Iterable[str], expected: Mapping[str, Expected]) -> Mapping[str, Expected]:
    others = [key for key in known if key not in expected]
    if "*" not in expected or not others:
        return expected
    own = {key: one for key, one in expected.items() if key != "*"}
    return own | dict.fromkeys(others, expected["*"])


def _judged(known: WorkspaceState, expected: Expected, since: float, at: float) -> WorkspaceState:
    return replace(
        known,
        name=known.name or expected.name,
        next_run=expected.next_run,
        stale_after=expected.stale_after,
        stale=stale(known.last_success, expected.stale_after, since=since, at=at),
    )


def remembered(reader: Reader) -> Remembered:
    """Read what the manifest knows; it takes as long as counting all images. Raises `ArchiveUnwritable`."""
    runs: dict[str, list[Row]] = {}
    for row in reader.last_runs():
        runs.setdefault(row["workspace_id"], []).append(row)
    incomplete = reader.incomplete()
    verifications, uploads = reader.verifications(), reader.upload_counts()
    return Remembered(
        {
            id_: _workspace(row, runs.get(id_, []), uploads.get(id_, {}), id_ in incomplete)
            for row in reader.workspaces()
            for id_ in [row["workspace_id"]]
        },
        lost=len(reader.losses()),
        verified=_verification(verifications.last),
        verified_whole=_verification(verifications.whole),
    )


def _workspace(row: Row, runs: Iterable[Row], uploads: Mapping[str, int], full_incomplete: bool) -> WorkspaceState:
    """Make a workspace's state of its row and its runs, the earliest first."""
    last: dict[str, LastRun] = {}
    good = full = None
    for run in runs:
        one = _last_run(run)
        last[run["mode"]] = one
        if one.complete:
            good = one.ended
            if run["mode"] == "full":
                full = one.ended
    return WorkspaceState(
        row["workspace_id"],
        row["name"],
        last_success=full if full_incomplete else good,
        last_full=full,
        last_run=last,
        live=row["live"],
        gone=row["gone"],
        bytes=row["bytes"],
        owed=row["owed"],
        uploads=uploads,
    )


def _last_run(run: Row) -> LastRun:
    return LastRun(
        ended=_seconds(run["ended"]),
        seconds=run["seconds"] or 0.0,
        complete=bool(run["complete"]),
        counts={name: run[name] or 0 for name in COUNTS},
        bytes=run["bytes"] or 0,
        requests=run["requests"] or 0,
    )


def _verification(row: Row | None) -> Verification | None:
    if row is None:
        return None
    return Verification(_seconds(row["verified_at"]), row["damage"], row["parts"], row.get("part", 0))


def _seconds(time: str) -> float:
    """Read a time of the manifest as epoch seconds; one that cannot be read is long past."""
    read = moment(time)
    return read.timestamp() if read else 0.0
