"""Carry out one piece of work for the daemon: a pass over some workspaces, or the verification of a part.

Whatever goes wrong is told as an `Ended`; only a cancellation passes through. What outlasts a single run is kept here:
the connection to the service, whose token is good for hours, and which archive it is that we look after: another one
in its place, or none, is a safety stop and never a new beginning. When work is done, and when again, is left to others.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack

import structlog

from syncer import app
from syncer.daemon import deliveries
from syncer.daemon.ends import BUG, DAMAGE, INCOMPLETE, UNAVAILABLE, End, Ended
from syncer.errors import SafetyStop, SyncerError, Unauthorized, Unavailable, UnexpectedAnswer
from syncer.model import Finding, Report
from syncer.operations.backup import Backup, backup, chosen
from syncer.operations.events import Watch
from syncer.operations.parcels import Parcel, Uploads, UploadWatch
from syncer.operations.passes import Mode
from syncer.operations.passes import Options as PassOptions
from syncer.operations.rooms import utc_now
from syncer.operations.upload import upload
from syncer.operations.verification import Options, Part, Progress, Verification
from syncer.operations.verify import verify
from syncer.redaction import redact
from syncer.service.client import ImageService
from syncer.settings import Settings

log = structlog.get_logger()

NAMED = ("origin", "archive", "workspace", "pid", "command", "since")  # facts that fit into a line of status
GRAVITY = (SafetyStop.exit_code, UNAVAILABLE, INCOMPLETE)  # of what may be wrong with a workspace


class Worker:
    """Does the work, one piece at a time."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        self.settings = settings
        self._environ = environ
        self._archive: str | None = None
        self._connection = AsyncExitStack()
        self._service: ImageService | None = None

    @property
    def activity(self) -> int:
        """A count that goes up while the service sends anything."""
        return 0 if self._service is None else self._service.activity

    @property
    def statuses(self) -> dict[int, int]:
        """How often the service answered with each status, since the connection was opened."""
        return {} if self._service is None else dict(self._service.statuses)

    @property
    def token_age(self) -> float | None:
        """The seconds since the access token was asked for."""
        return None if self._service is None else self._service.token_age

    async def prove(self) -> None:
        """Open the archive once, and make it where there is none. Raises what makes it unusable."""
        service = await self._connected()
        async with app.opened(self.settings, self._environ, "run", make=True, service=service) as rooms:
            self._archive = rooms.archive.id

    async def use(self, settings: Settings) -> None:
        """Work with other settings from now on."""
        self.settings = settings
        await self.disconnect()

    async def disconnect(self) -> None:
        """Let go of the connection; the next work fetches the credentials and connects anew."""
        self._service = None
        stack, self._connection = self._connection, AsyncExitStack()
        await stack.aclose()

    async def back_up(
        self, run: str, mode: Mode, wanted: Sequence[str], watch: Watch, *, accept: bool = False
    ) -> Ended:
        """Make one pass over the wanted workspaces, `*` for those without an entry of their own.

        With `accept` the deletion brake does not hold: a person has looked.
        """
        result = Backup()

        async def work() -> int:
            service = await self._connected()
            service.try_anew()
            async with app.opened(self.settings, self._environ, "run", service=service, run=run) as rooms:
                self._recognise(rooms.archive.id)
                await backup(rooms, wanted, PassOptions(mode, accept), watch, result)
            return result.exit_code

        code, error = await _tried(work)
        if isinstance(error, Unauthorized):
            await self.disconnect()  # a secret that was changed at the service may have been changed in its file
        errors = [one for one in (error, *result.errors) if one is not None]
        told = {redact(str(one)) for one in errors}
        others = [text for report in result.reports for text in report.why if text not in told]
        return Ended(
            code,
            _joined([*map(_clause, errors), *others]) if code else _summed_up(mode, result),
            next((hint for one in errors if (hint := _hint(one))), ""),
            futile=error is not None or code == UNAVAILABLE,
            run=run,
            whole=self._whole(result, wanted) if error is None else _complete(result),
            each=self._each(result) if error is None and not result.down else {},
        )

    async def upload(
        self, run: str, wanted: Sequence[str], parcels: Sequence[Parcel], watch: UploadWatch, result: Uploads
    ) -> Ended:
        """Upload what was dropped for the wanted workspaces, and settle what is open of earlier times."""

        async def work() -> int:
            service = await self._connected()
            service.try_anew()
            async with app.opened(self.settings, self._environ, "run", service=service, run=run) as rooms:
                self._recognise(rooms.archive.id)
                await upload(rooms, parcels, watch, result, workspaces=await chosen(rooms, wanted))
            return result.exit_code

        code, error = await _tried(work)
        if isinstance(error, Unauthorized):
            await self.disconnect()
        errors = [one for one in (error, *result.errors) if one is not None]
        each = deliveries.each(result, utc_now()) if error is None and code != UNAVAILABLE else {}
        if code in {0, INCOMPLETE} and not errors:
            code = INCOMPLETE if each else 0  # what was refused lies beside the reason: nothing is left for us to do
        return Ended(
            code,
            _joined([*map(_clause, errors), *(end.text for end in each.values())]) or deliveries.summed_up(result),
            next((hint for hint in (*map(_hint, errors), *(end.hint for end in each.values())) if hint), ""),
            futile=error is not None or code == UNAVAILABLE,
            run=run,
            whole=frozenset(wanted) - each.keys() if error is None else frozenset(),
            each=each,
        )

    async def verify(self, run: str, part: Part, watch: Callable[[Finding | Progress], None]) -> Ended:
        """Hash a part of the archive again, and hold its records against each other."""
        settings, options, result = self.settings, Options(part=part), Verification()

        async def work() -> int:
            await verify(settings.archive.path, options, watch, result)
            reason = await app.remember_verified(settings, "run", options, result, archive=self._archive)
            if reason is not None:
                log.warning("verification.unrecorded", reason=reason)
            return DAMAGE if result.damage else 0

        code, error = await _tried(work)
        looked = f"part {part.number} of {part.of}: {result.pictures:,} pictures, {result.bytes:,} bytes"
        if error is not None:
            return Ended(code, _joined([_clause(error)]), _hint(error), futile=True, run=run)
        told = log.error if code else log.info
        facts = {name: getattr(result, name) for name in ("pictures", "sidecars", "bytes", "damage")}
        told("verification.ended", part=part.number, parts=part.of, **facts)
        if code:
            kinds = ", ".join(f"{count:,} {harm.replace('_', ' ')}" for harm, count in result.found.items())
            hint = "run `syncer verify --repair`, and then `syncer verify`"
            return Ended(code, f"damage found: {kinds} ({looked})", hint, run=run, damage=result.damage)
        return Ended(0, f"no damage in {looked}", run=run, damage=0)

    def _each(self, result: Backup) -> dict[str, End]:
        """Say of each workspace that is not complete why; of those that `*` stands for, the gravest under that name."""
        own = {workspace.id for workspace in self.settings.workspaces}
        found: dict[str, End] = {}
        for report in result.reports:
            if report.complete:
                continue
            name = report.workspace_id if report.workspace_id in own else "*"
            end = _end(report, result.of_workspaces.get(report.workspace_id))
            if name not in found or GRAVITY.index(end.code) < GRAVITY.index(found[name].code):
                found[name] = end
        return found

    def _whole(self, result: Backup, wanted: Sequence[str]) -> frozenset[str]:
        """Name what is complete after a run over all that was wanted, `*` too where all are that it stands for."""
        own = {workspace.id for workspace in self.settings.workspaces}
        others = [report for report in result.reports if report.workspace_id not in own]
        star = "*" in wanted and bool(result.reports) and all(report.complete for report in others)
        return _complete(result) | ({"*"} if star else set())

    def _recognise(self, archive: str | None) -> None:
        if archive != self._archive:
            raise SafetyStop(
                "another archive lies where ours was",
                hint="see that the right disk is mounted; if the new one is meant, restart the daemon",
                archive=self.settings.archive.path,
            )

    async def _connected(self) -> ImageService:
        if self._service is None:
            self._service = await self._connection.enter_async_context(app.connected(self.settings, self._environ))
        return self._service


async def _tried(work: Callable[[], Awaitable[int]]) -> tuple[int, Exception | None]:
    """Carry the work out to its exit code; an error that ended it is returned beside it."""
    try:
        return await work(), None
    except SyncerError as error:
        return error.exit_code, error
    except Exception as error:
        inner: BaseException = error
        while isinstance(inner, BaseExceptionGroup):
            inner = inner.exceptions[0]
        if isinstance(inner, SyncerError):
            return inner.exit_code, inner
        log.exception("daemon.bug")  # told as one, and the daemon goes on
        return BUG, error


def _complete(result: Backup) -> frozenset[str]:
    return frozenset(report.workspace_id for report in result.reports if report.complete)


def _end(report: Report, error: SyncerError | None) -> End:
    if error is None:
        return End(INCOMPLETE, _joined(report.why))
    match error:
        case SafetyStop():
            code = SafetyStop.exit_code
        case Unavailable() | UnexpectedAnswer():
            code = UNAVAILABLE
        case _:
            code = INCOMPLETE
    return End(code, _joined([_clause(error)]), _hint(error), futile=code == UNAVAILABLE)


def _hint(error: Exception) -> str:
    """Say what to do next; what a command would do is for the daemon to be asked for."""
    hint = error.hint if isinstance(error, SyncerError) else ""
    return hint.replace("syncer backup --accept-deletions", "syncer trigger --accept-deletions")


def _clause(error: Exception) -> str:
    """Say what went wrong in a few words for a line of status; the log has all the facts."""
    if not isinstance(error, SyncerError):
        return f"a bug: {type(error).__name__}"
    facts = [str(error.facts[name]) for name in NAMED if error.facts.get(name)]
    return f"{error.message} ({', '.join(facts)})" if facts else error.message


def _joined(clauses: Sequence[str], most: int = 3) -> str:
    different = list(dict.fromkeys(clauses))
    more = [f"and {len(different) - most} more"] if len(different) > most else []
    return redact("; ".join([*different[:most], *more]))


def _summed_up(mode: Mode, result: Backup) -> str:
    totals = result.totals
    counts = ", ".join(f"{totals[name]:,} {name}" for name in ("listed", "new", "changed", "gone"))
    many = len(result.reports)
    return f"{mode} pass over {many:,} workspace{'s' if many != 1 else ''}: {counts}"
