"""Tell the world outside: a dead-man ping for each run, a webhook and a command for each change of state.

Nothing said here can harm a run: each call returns at once and never raises, deliveries happen behind it, in order for
each channel, with bounds on their number and their time. What could not be delivered is one line in the log, and a
dead-man's switch is there for just that. Which states there are, and when one ends, is left to the caller.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import signal
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from urllib.parse import urlsplit, urlunsplit

import structlog

from syncer.daemon.snapshot import Cause, WorkspaceState
from syncer.errors import SyncerError, Unavailable
from syncer.redaction import redact
from syncer.service.notices import Notices
from syncer.settings import NotifySettings

PAUSES = (2.0, 10.0)  # seconds before the second and the third try
LONGEST_QUEUE = 32  # notices of a channel that wait for those before them
LONGEST_BODY = 10_000  # bytes of a ping's text, which is what the receivers keep of it
COMMAND_SECONDS = 30.0
CLOSING_SECONDS = 5.0  # of the ten within which the daemon has to be gone

# No secret, and nothing by which a child could speak to the service manager in our name.
_KEPT_BACK = ("SYNCER_SERVICE__CLIENT_SECRET", "SYNCER_NOTIFY__", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_")
_TEXT, _JSON = "text/plain; charset=utf-8", "application/json"

log = structlog.get_logger()

Delivery = Callable[[], Awaitable[None]]
Sleep = Callable[[float], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class State:
    """Whether the daemon does what it was installed for: since when, and the cause where it does not."""

    since: datetime
    cause: Cause | None = None

    @property
    def name(self) -> str:
        return "ok" if self.cause is None else "degraded"

    @property
    def reason(self) -> str:
        return "" if self.cause is None else self.cause.value


@dataclass(frozen=True, slots=True)
class Facts:
    """What goes with a change of state: a clause or two for people, the run that brought it, every workspace."""

    text: str
    run: str | None = None
    workspaces: tuple[WorkspaceState, ...] = ()


class Notifier:
    """The three channels; those that are not configured stay silent."""

    def __init__(
        self,
        settings: NotifySettings,
        notices: Notices,
        environ: Mapping[str, str],
        *,
        sleep: Sleep,
        command_seconds: float,
    ) -> None:
        self._settings = settings
        self._notices = notices
        self._environ = environ
        self._command_seconds = command_seconds
        self._pings, self._webhook, self._command = self._channels = tuple(
            _Channel(name, sleep) for name in ("ping", "webhook", "command")
        )

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        settings: NotifySettings,
        notices: Notices,
        environ: Mapping[str, str],
        *,
        sleep: Sleep = asyncio.sleep,
        command_seconds: float = COMMAND_SECONDS,
        closing_seconds: float = CLOSING_SECONDS,
    ) -> AsyncIterator[Notifier]:
        """Deliver in the background until the end of the block, and then for up to `closing_seconds` what still waits.

        `environ` is what the command inherits, without what is secret in it.
        """
        for address in (settings.ping_url, settings.webhook_url):
            if address is not None:
                redact.learn(address.reveal())
        notifier = cls(settings, notices, environ, sleep=sleep, command_seconds=command_seconds)
        tasks = [asyncio.create_task(channel.deliver_all()) for channel in notifier._channels]
        try:
            yield notifier
        finally:
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(closing_seconds):
                        for channel in notifier._channels:
                            await channel.emptied()
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)

    @property
    def dropped(self) -> int:
        """How many notices gave way to newer ones before they could be sent."""
        return sum(channel.dropped for channel in self._channels)

    def began(self, run: str, what: str) -> None:
        """Say that a run began; `what` is for people."""
        self._ping("/start", run, what)

    def ended(self, run: str, ok: bool, text: str) -> None:
        """Say how a run ended; `text` is for people, and cut where receivers would."""
        self._ping("" if ok else "/fail", run, text)

    def changed(self, before: State, after: State, facts: Facts) -> None:
        """Say that the state changed; nothing is sent where it is the same, however long it lasts."""
        if after.cause is before.cause:
            return
        body = described(before, after, facts)
        if self._settings.webhook_url is not None:
            self._webhook.put(partial(self._notices.post, self._settings.webhook_url.reveal(), body, _JSON))
        if self._settings.command is not None:
            argv = shlex.split(self._settings.command)
            environ = _inherited(self._environ) | {
                "SYNCER_STATE": after.name,
                "SYNCER_REASON": after.reason,
                "SYNCER_RUN": facts.run or "",
            }
            self._command.put(partial(_run, argv, body, environ, self._command_seconds))

    def _ping(self, suffix: str, run: str, text: str) -> None:
        if self._settings.ping_url is not None:
            url = ping_address(self._settings.ping_url.reveal(), suffix, run)
            self._pings.put(partial(self._notices.post, url, _bounded(text), _TEXT))


def ping_address(url: str, suffix: str, run: str) -> str:
    """Say where a signal ("", "/start", "/fail") of a run is sent, in the form of healthchecks.io; a query stays."""
    parts = urlsplit(url)
    path = parts.path.rstrip("/") + suffix if suffix else parts.path
    # They pair start and end by a UUID of our choice: one made from the run's id needs no memory.
    rid = f"rid={uuid.uuid5(uuid.NAMESPACE_OID, run)}"
    return urlunsplit(parts._replace(path=path, query=f"{parts.query}&{rid}" if parts.query else rid))


def described(before: State, after: State, facts: Facts) -> bytes:
    """Write a change of state as JSON, without secrets; `docs/notifications.md` is its schema."""
    document = {
        "type": "state",
        "version": 1,
        **_state(after),
        "before": _state(before),
        "text": facts.text,
        "run": facts.run,
        "workspaces": [_workspace(workspace) for workspace in facts.workspaces],
    }
    return json.dumps(redact.value(document), ensure_ascii=False).encode(errors="replace")


def _state(state: State) -> dict[str, str]:
    return {"state": state.name, "reason": state.reason, "since": _time(state.since)}


def _workspace(known: WorkspaceState) -> dict[str, object]:
    """Tell of a workspace in the words of `syncer status --json`."""
    return {
        "workspace_id": known.workspace_id,
        "name": known.name,
        "live": known.live,
        "gone": known.gone,
        "owed": known.owed,
        "last_good": None if known.last_success is None else _time(datetime.fromtimestamp(known.last_success, UTC)),
        "stale": known.stale,
    }


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _bounded(text: str) -> bytes:
    # Redacted first: a secret that is cut is not recognised any more.
    return redact(text).encode(errors="replace")[:LONGEST_BODY].decode(errors="ignore").encode()


# --- delivery -----------------------------------------------------------------------------------------


class _Channel:
    """Delivers what is put in, in that order, in a task of its own."""

    def __init__(self, name: str, sleep: Sleep) -> None:
        self._name = name
        self._sleep = sleep
        self._queue: asyncio.Queue[Delivery] = asyncio.Queue(LONGEST_QUEUE)
        self.dropped = 0

    def put(self, delivery: Delivery) -> None:
        if self._queue.full():  # the newest says most about how things stand
            self._queue.get_nowait()
            self._queue.task_done()
            if not self.dropped:
                log.warning("notice.dropped", channel=self._name, waiting=LONGEST_QUEUE)
            self.dropped += 1
        self._queue.put_nowait(delivery)

    async def emptied(self) -> None:
        """Wait until everything put in is delivered, or given up."""
        await self._queue.join()

    async def deliver_all(self) -> None:
        while True:
            delivery = await self._queue.get()
            try:
                await self._try(delivery)
            except SyncerError as error:
                facts = {name: value for name, value in error.facts.items() if value is not None}
                log.warning("notice.failed", channel=self._name, reason=error.message, **facts)
            except asyncio.CancelledError:
                log.warning("notice.failed", channel=self._name, reason="stopped", waiting=self._queue.qsize())
                raise
            except Exception as error:  # a bug of ours; a channel that is silent for ever would be the worse one
                log.error("notice.failed", channel=self._name, reason=type(error).__name__)
            finally:
                self._queue.task_done()

    async def _try(self, delivery: Delivery) -> None:
        for pause in PAUSES:
            try:
                return await delivery()
            except SyncerError as error:
                if not error.retryable:
                    raise
            await self._sleep(pause)
        return await delivery()


def _inherited(environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if not name.upper().startswith(_KEPT_BACK)}


async def _run(argv: list[str], body: bytes, environ: Mapping[str, str], seconds: float) -> None:
    """Run a command without a shell; `Unavailable` when it fails. Its arguments and its output are not shown."""
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            env=environ,
            start_new_session=True,  # a group of its own, so that its children end with it
        )
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "its arguments or variables"
        raise Unavailable(f"the command cannot be run: {why}") from error
    try:
        async with asyncio.timeout(seconds):
            await process.communicate(body)
    except TimeoutError:
        raise Unavailable(f"the command took longer than {seconds:g} s and was stopped") from None
    finally:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    if process.returncode != 0:
        raise Unavailable(f"the command failed with exit status {process.returncode}")
