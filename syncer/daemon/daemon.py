"""The process that looks after an archive: does what is due, one piece at a time, and says how it stands.

It is made to be left alone. What keeps a run from being done is told once, kept in sight, and tried again with growing
pauses; only what is wrong before it was ever ready ends it. Who cancels `run` ends the daemon: the work under way is
stopped where it stands, and all that was finished is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import structlog

from syncer import app
from syncer.archive.layout import STAGING
from syncer.archive.lock import TOLD
from syncer.daemon import control, words
from syncer.daemon.account import Account
from syncer.daemon.drops import Drops
from syncer.daemon.ends import Ended
from syncer.daemon.health import HealthServer
from syncer.daemon.orders import Orders
from syncer.daemon.queue import Batch, Queue
from syncer.daemon.schedule import Job, Schedule, Work, longest_gap, plan
from syncer.daemon.snapshot import Cause, Running, Snapshot, State
from syncer.daemon.telling import Telling
from syncer.daemon.troubles import Key, Troubles
from syncer.daemon.verdicts import Verdicts
from syncer.daemon.work import Worker
from syncer.daemon.world import World
from syncer.errors import ConfigError, SyncerError
from syncer.model import Finding, Report
from syncer.operations.events import Event, PassBegan, PictureReceived
from syncer.operations.loglines import FindingLines, LogLines
from syncer.operations.parcels import Uploads
from syncer.operations.passes import Mode
from syncer.operations.verification import Progress
from syncer.redaction import redact
from syncer.settings import Settings

log = structlog.get_logger()

TICK = 30.0  # seconds between two looks at ourselves, where no watchdog asks for more
JITTER_SHARE = 10  # the jitter is no longer than this part of the shortest schedule's longest wait
STATUS_SECONDS = 2.0  # between two lines that say how far a run is
EXTRA_PATIENCE = 60.0  # seconds without any progress, beyond what one request may take, before a run counts as hanging
CONFIGURATION: Key = (None, "configuration")
MODES = {Work.FULL: Mode.FULL, Work.QUICK: Mode.QUICK}


class Daemon:
    """Looks after one archive."""

    def __init__(
        self, settings: Settings, load: Callable[[], Settings], world: World, *, only_uploads: bool = False
    ) -> None:
        """Make one; `load` reads the configuration again, and raises `ConfigError` for one that cannot be used.

        With `only_uploads` nothing happens by the schedule, and others may make backups.
        """
        self.settings = settings
        self._only_uploads = only_uploads
        self._load = load
        self._world = world
        self._manager = world.manager
        self._later = world.call_later or asyncio.get_running_loop().call_later
        self._worker = Worker(settings, world.environ)
        self._account = Account(settings, world.now().timestamp())
        self._queue = Queue()
        self._wake = asyncio.Event()
        self._troubles = Troubles()
        self._jobs: dict[Job, str] = {}
        self._schedule: Schedule
        self._drops: Drops
        self._telling: Telling
        self._verdicts: Verdicts
        self._state = State.STARTING
        self._paused = False
        self._running: Batch | None = None
        self._progress: Report | Progress | None = None
        self._events = 0
        self._said = 0.0
        self._refused = ""  # why the changed configuration was
        self._waiting: dict[Job, list[asyncio.Future[Ended]]] = {}

    async def run(self, *, at_once: bool = False) -> None:
        """Look after the archive until cancelled; `at_once` begins with a full pass whatever the schedule says.

        Raises what keeps it from beginning: `ConfigError`, `AlreadyRunning`, `SafetyStop`, `ArchiveUnwritable`.
        """
        settings = self.settings
        if self._only_uploads and all(workspace.watch is None for workspace in settings.workspaces):
            raise ConfigError("no workspace has a folder to watch", hint='give one: watch = "/srv/drop/brand"')
        socket = control.address(settings.daemon.socket, settings.archive.path, self._world.environ)
        orders = Orders(self)
        async with AsyncExitStack() as stack:
            stack.enter_context(orders.hearing_signals())
            stack.enter_context(app.looked_after(settings, socket, only_uploads=self._only_uploads))
            stack.push_async_callback(self._worker.disconnect)
            await self._worker.prove()
            await self._account.read()
            memory = settings.archive.path / STAGING / TOLD
            self._telling = await stack.enter_async_context(Telling.open(settings, self._world.environ, memory))
            self._troubles = Troubles(self._telling.recalled())
            self._verdicts = Verdicts(
                self._queue, self._troubles, self._account, self._telling, self._possible, self._world
            )
            self._verdicts.remember_damage()
            self._verdicts.tell(self._troubles.heal([CONFIGURATION], self._world.now()), None)
            schedule = Schedule.open(
                self._due, clock=self._world.now, call_later=self._world.call_later, random=self._world.chance
            )
            self._schedule = await stack.enter_async_context(schedule)
            self._drops = await stack.enter_async_context(Drops.open(self._due))
            await stack.enter_async_context(control.listening(socket, orders.carry_out))
            if settings.daemon.listen:
                server = await stack.enter_async_context(HealthServer.open(settings.daemon.listen, self.snapshot))
                log.info("health.listening", port=server.port)
            self._arrange()
            if at_once:
                self.ask([Job(Work.FULL, workspace.id) for workspace in settings.workspaces])
            self._state = State.IDLE
            self._manager.ready(self.standing())
            log.info("daemon.ready", archive=str(settings.archive.path), socket=str(socket))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._work())
                group.create_task(orders.follow_signals())
                try:
                    await self._tick()
                finally:  # told before the work, which is stopped next, may take its time to end
                    self._state = State.STOPPING
                    self._manager.stopping("Stopping: keeping what is finished")
                    log.info("daemon.stopping")

    # --- what may be asked of it --------------------------------------------------------------------------

    def ask(self, jobs: Iterable[Job], *, accept: bool = False) -> None:
        """Have jobs done now, whatever the schedule and earlier failures say; `accept` lifts the deletion brake."""
        self._queue.add(jobs, self._world.clock(), asked=True, accept=accept)
        self._wake.set()

    async def ended(self, jobs: Iterable[Job], *, accept: bool = False) -> list[Ended]:
        """Have jobs done now as `ask` does, and wait until they are."""
        futures = []
        for job in jobs:
            futures.append(asyncio.get_running_loop().create_future())
            self._waiting.setdefault(job, []).append(futures[-1])
            self.ask([job], accept=accept)
        return list(await asyncio.gather(*futures))

    @property
    def busy(self) -> bool:
        """Whether a run is under way."""
        return self._running is not None

    @property
    def account(self) -> Account:
        """What is known of the archive."""
        return self._account

    @property
    def uploads(self) -> tuple[Job, ...]:
        """The uploads that may fall due."""
        return self._drops.jobs

    def pause(self) -> None:
        """Begin nothing more by the schedule; the run under way goes on, and so does what a person asks for."""
        self._paused = True
        self._schedule.pause()
        self._say()
        log.info("daemon.paused")

    def resume(self) -> None:
        """Go on by the schedule, with one catch-up of what was missed."""
        self._paused = False
        self._schedule.resume()
        self._wake.set()
        self._say()
        log.info("daemon.resumed")

    async def reload(self) -> None:
        """Read the configuration again; one that cannot be used is refused as a whole, and the old one stays.

        The run under way ends with the settings that it began with.
        """
        self._manager.reloading()
        try:
            changed = await asyncio.to_thread(self._load)
            if changed.archive.path != self.settings.archive.path:
                raise ConfigError("archive.path cannot change while the daemon runs", hint="restart it")
            await asyncio.to_thread(app.connect, changed, self._world.environ)
            await self._telling.use(changed)
        except Exception as error:  # also a bug in reading it: the old one is good
            self._refuse(error)
        else:
            old, self.settings, self._refused = self.settings, changed, ""
            self._verdicts.tell(self._troubles.heal([CONFIGURATION], self._world.now()), None)
            self._account.settings = changed
            if changed.daemon != old.daemon:
                log.warning("configuration.needs_restart", setting="daemon")
            self._arrange()
            self._queue.release()  # what was wrong may have been mended by it
            self._wake.set()
            log.info("configuration.reloaded")
        self._manager.ready(self.standing())

    def _refuse(self, error: Exception) -> None:
        if not isinstance(error, SyncerError):
            log.exception("daemon.bug")
        problems = error.problems if isinstance(error, ConfigError) else ()
        text = str(error) if isinstance(error, SyncerError) else f"it cannot be read: {type(error).__name__}"
        self._refused = redact("; ".join((text, *problems)))
        hint = getattr(error, "hint", "")
        log.error("configuration.refused", reason=self._refused, hint=hint or None)
        text = f"the changed configuration was refused: {self._refused}"
        self._verdicts.tell(
            self._troubles.arise(CONFIGURATION, Cause.CONFIGURATION, text, hint, self._world.now()), None
        )

    async def snapshot(self) -> Snapshot:
        """Tell all that is known at this moment."""
        now, clock = self._world.now().timestamp(), self._world.clock()
        times = self._schedule.next_times()
        running = None
        if self._running is not None:
            running = Running(str(self._running.work), now - (clock - self._running.due), now - (clock - self._began))
        verification = times.get(Job(Work.VERIFY))
        return await self._account.snapshot(
            now,
            self.state,
            self._troubles,
            self._account.expected(self._jobs, times),
            running=running,
            queue=len(self._queue),
            requests=self._worker.statuses,
            token_age=self._worker.token_age,
            next_verification=verification.timestamp() if verification else None,
        )

    @property
    def state(self) -> State:
        """What the daemon is doing, the most noteworthy first."""
        if self._state is not State.IDLE:
            return self._state
        if self._paused:
            return State.PAUSED
        if self._troubles.worst is not None:
            return State.DEGRADED
        return State.RUNNING if self.busy else State.IDLE

    def standing(self) -> str:
        """Say in one line how things stand."""
        held = self._queue.held_until
        return words.standing(
            paused=self._paused,
            running=self._running,
            progress=self._progress,
            trouble=self._troubles.worst,
            again=None if held is None else self._world.now() + timedelta(seconds=held - self._world.clock()),
            last_good=self._account.last_good,
            following=self._schedule.next_times(),
            refused=self._refused,
            only_uploads=self._only_uploads,
        )

    # --- the work -----------------------------------------------------------------------------------------

    def _arrange(self) -> None:
        everything = plan(self.settings, [workspace.id for workspace in self.settings.workspaces])
        self._jobs = {} if self._only_uploads else everything
        self._drops.arrange(self.settings)
        self._queue.drop({*self._jobs, *self._drops.jobs}, self._possible)
        vanished = Ended(ConfigError.exit_code, "the workspace is not configured any more")
        for job in [job for job in self._waiting if not self._possible(job)]:
            _answer(self._waiting.pop(job), vanished)
        passes = [(work, about) for work, about in self._troubles.keys if work in MODES or work is Work.UPLOAD]
        gone = [key for key in passes if not self._possible(Job(*key))]
        self._verdicts.tell(self._troubles.heal(gone, self._world.now()), None)
        for job in self._drops.jobs:
            self._due(job)  # something may be open of an earlier life, or could not be sent as it was
        last = self._account.last(self._jobs)
        new = [job for job in self._jobs if job.work is Work.FULL and job not in last]
        for job in set(new).difference(self._running.jobs if self._running else ()):
            self._due(job)  # somebody may be waiting to see it work: no jitter for these
        gaps = [longest_gap(text) for text in self._jobs.values()]
        self._schedule.jitter = min([self.settings.schedule.jitter, *(gap / JITTER_SHARE for gap in gaps)])
        self._schedule.arrange(self._jobs, last | dict.fromkeys(new, self._world.now()))

    def _possible(self, job: Job) -> bool:
        return job.workspace_id is None or self._account.resolve(job.workspace_id) is not None

    def _due(self, job: Job) -> None:
        self._queue.add([job], self._world.clock())
        self._wake.set()

    async def _work(self) -> None:
        while True:
            self._wake.clear()
            seconds = self._queue.wait(self._world.clock(), paused=self._paused)
            if seconds == 0 and (batch := self._queue.take(self._world.clock(), paused=self._paused)):
                await self._carry_out(batch)
                continue
            timer = None if seconds is None else self._later(seconds, self._wake.set)
            try:
                await self._wake.wait()
            finally:
                if timer is not None:
                    timer.cancel()

    async def _carry_out(self, batch: Batch) -> None:
        run = app.new_run(self._world.now())
        waiting = [one for job in batch.done for one in self._waiting.pop(job, [])]  # who asks later means another run
        self._running, self._began, self._progress = batch, self._world.clock(), None
        if batch.work is not Work.UPLOAD:  # whoever waits for a sign of life waits for one of the backup
            self._telling.began(run, words.NAMES[batch.work])
        self._say()
        try:
            if self._worker.settings is not self.settings:
                await self._worker.use(self.settings)
            with structlog.contextvars.bound_contextvars(run=run):
                tried, ended = await self._do(batch, run)
            await self._account.read()
        finally:
            self._running = None
        self._verdicts.judge(batch, tried, ended)
        _answer(waiting, ended)
        self._say()

    async def _do(self, batch: Batch, run: str) -> tuple[dict[Key, Job], Ended]:
        """Do the work; beside its end, returns what was tried."""
        if batch.work is Work.VERIFY:
            part = self._account.next_part()
            ended = await self._worker.verify(run, part, self._seeing(FindingLines()))
            if ended.damage is not None:
                self._account.looked(part, ended.damage, self._world.now().timestamp())
            return {(batch.work, f"{part.number}/{part.of}"): Job(batch.work)}, ended
        tried: dict[Key, Job] = {(batch.work, str(job.workspace_id)): job for job in batch.jobs}
        if batch.work is Work.UPLOAD:
            return tried, await self._upload(batch, run)
        # While trouble lasts, each try would say the same: it is told once, and reminded of.
        watch = self._seeing(LogLines(dry=False, quiet=all(key in self._troubles for key in tried)))
        return tried, await self._worker.back_up(run, MODES[batch.work], batch.workspaces, watch, accept=batch.accept)

    async def _upload(self, batch: Batch, run: str) -> Ended:
        parcels, result = self._drops.take(batch.workspaces), Uploads()
        try:
            return await self._worker.upload(run, batch.workspaces, parcels, self._moved, result)
        finally:
            self._drops.give_back(parcels)

    # --- what it says ---------------------------------------------------------------------------------------

    def _seeing(self, lines: Callable[[Any], None]) -> Callable[[Event | Finding | Progress], None]:
        def see(event: Event | Finding | Progress) -> None:
            self._events += 1
            lines(event)
            match event:
                case PassBegan(report) | PictureReceived(report, _):
                    self._progress = report
                case Progress():
                    self._progress = event
                case _:
                    pass
            if self._world.clock() - self._said >= STATUS_SECONDS:
                self._say()

        return see

    def _say(self) -> None:
        self._said = self._world.clock()
        if self._state is not State.STOPPING:
            self._manager.status(self.standing())

    async def _tick(self) -> None:
        """Look at ourselves: a sign of life while work goes on, and a word about what lasts."""
        seconds = min(self._manager.watchdog_seconds or TICK, TICK)
        pulse, moved = -1, self._world.clock()
        while True:
            beat = self._events + self._worker.activity
            if self._running is None or beat != pulse:
                pulse, moved = beat, self._world.clock()
            limits = self._worker.settings.limits
            if self._world.clock() - moved <= limits.retry_seconds + 2 * limits.stall_seconds + EXTRA_PATIENCE:
                self._manager.alive()
            self._verdicts.judge_folders(self._drops.problems)
            self._telling.reminded(self._troubles.reminder(self._world.now()))
            await asyncio.sleep(seconds)

    def _moved(self, _: object) -> None:
        self._events += 1


def _answer(waiting: Iterable[asyncio.Future[Ended]], ended: Ended) -> None:
    for future in waiting:
        if not future.done():  # who asked may have left
            future.set_result(ended)
