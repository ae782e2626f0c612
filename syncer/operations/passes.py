"""One pass over one workspace: what we owe, the listing until it is proven whole, then what is absent.

A full pass reads the whole listing and may mark images gone; a quick pass reads from the newest image down to known
ground and is blind to what lies below. A dry pass does the same looking and tells what it would do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum

from syncer.errors import NotFound, Refused, SafetyStop, SyncerError
from syncer.model import (
    Failed,
    Fetch,
    Image,
    ImagePage,
    Keep,
    Reason,
    Report,
    Vanished,
    Workspace,
)
from syncer.operations import absence
from syncer.operations.ahead import Ahead
from syncer.operations.diff import decide
from syncer.operations.events import (
    FetchDecided,
    GoneDecided,
    PageListed,
    PassBegan,
    PassEnded,
    Watch,
)
from syncer.operations.pool import Pool
from syncer.operations.reading import read_page
from syncer.operations.rooms import Looking
from syncer.redaction import redact
from syncer.service.listing import Listing, Unproven, Whole

LISTED_BUT_UNKNOWN = "the service lists it, and answers 404 for its content and for its id"


class Mode(StrEnum):
    """How much of the listing a pass reads."""

    FULL = "full"
    QUICK = "quick"


@dataclass(frozen=True, slots=True)
class Options:
    """What the person asked for."""

    mode: Mode = Mode.FULL
    accept_deletions: bool = False


class Pass:
    """Looks at one workspace and says what it needs. This class alone is the dry run: it carries nothing out."""

    def __init__(self, rooms: Looking, workspace: Workspace, options: Options, watch: Watch) -> None:
        self.rooms = rooms
        self.workspace = workspace
        self.options = options
        self.watch = watch
        self.report = Report(workspace_id=workspace.id, name=workspace.name or workspace.id, mode=options.mode)
        self.error: SyncerError | None = None
        self._listing = Listing()
        self._owed: frozenset[str] = frozenset()
        self._met: set[str] = set()  # owed images that were handled before the listing showed them
        self._lost: set[str] = set()  # owed images that the service does not know any more
        self._kept = 0  # images that are live here and there, each counted once
        self._unknown: list[Fetch] = []  # listed, and then not known to the service by their id

    async def run(self) -> Report:
        """Go through the workspace. What fails is in the report and in `error`; only what ends the run is raised."""
        report, started, asked = self.report, time.monotonic(), self.rooms.service.requests
        report.started = self._now()
        self.watch(PassBegan(report))
        try:
            async with self._carrying_out():
                await self._look()
            await self._sum_up()
            if self.options.mode is Mode.FULL and isinstance(self._listing.verdict, Whole):
                await self._tell_read()
            report.complete = not report.why
        except SyncerError as error:
            self._give_up(error)
            if error.fatal:
                raise
        except asyncio.CancelledError:
            report.why.append("stopped before the end")
            raise
        finally:
            report.ended = self._now()
            report.seconds = round(time.monotonic() - started, 3)
            report.requests = self.rooms.service.requests - asked
            await self._close()
            self.watch(PassEnded(report))
        return report

    def _give_up(self, error: SyncerError) -> None:
        self.error = error
        self.report.why.append(redact(str(error)))

    # --- what a backup does and a dry run does not ------------------------------------------------------

    @asynccontextmanager
    async def _carrying_out(self) -> AsyncIterator[None]:
        yield

    async def _fetch(self, action: Fetch) -> None:
        self._count(action.reason)

    async def _fail(self, failed: Failed) -> None:
        self.report.listed += 1
        self.report.failed += 1

    async def _drop(self, vanished: Vanished) -> None:
        pass

    async def _mark_gone(self, image_ids: Sequence[str]) -> None:
        for image_id in image_ids:
            self.watch(GoneDecided(self.workspace.id, image_id))
            self.report.gone += 1

    async def _settle_debts(self, image_ids: Sequence[str]) -> None:
        pass

    async def _set_hole(self, hole: bool) -> None:
        pass

    async def _tell_read(self) -> None:
        pass

    async def _close(self) -> None:
        pass

    # --- looking ----------------------------------------------------------------------------------------

    async def _look(self) -> None:
        manifest, listing = self.rooms.manifest, self._listing
        owed = await manifest.owed(self.workspace.id)
        self._owed = frozenset(owed)
        to_the_end = self.options.mode is Mode.FULL or await manifest.hole(self.workspace.id)
        trouble: SyncerError | None = None
        async with self._pool() as pool:
            for image_id in owed:
                if not image_id.startswith("?"):
                    await pool.submit(self._retry, image_id)
        async with self._pool() as pool:
            try:
                await self._read_listing(pool, to_the_end=to_the_end)
            except SyncerError as error:  # what was listed so far is fetched all the same
                if error.fatal:
                    raise
                trouble = error
        vanished = await self._judge_unknown() if self._unknown else []
        for row in listing.unreadable:
            await self._fail(Failed(self.workspace.id, row.name, f"unreadable row: {row.reason}", self._now()))
        if trouble is not None:
            self._give_up(await self._named(trouble))
        elif listing.next is None and isinstance(listing.verdict, Unproven):
            self.report.why.append(listing.verdict.reason)
        elif self.options.mode is Mode.FULL:
            await self._set_hole(False)
            await self._look_for_absent(vanished)
        elif len(listing.seen) or not await self._braked(await self._absent()):
            await self._set_hole(False)  # a quick pass judges no absence, but nothing at all is never a good run

    async def _sum_up(self) -> None:
        report = self.report
        if report.failed:
            report.why.append(f"{report.failed} failed")
        report.owed = len(await self.rooms.manifest.owed(self.workspace.id))
        if report.owed > report.failed:
            report.why.append(f"{report.owed - report.failed} still owed from earlier runs")

    def _pool(self) -> Pool:
        bound = self.rooms.settings.limits.downloads_per_workspace
        own = [asyncio.Semaphore(bound)] if bound else []
        return Pool(*own, self.rooms.slots)

    async def _retry(self, image_id: str) -> None:
        """Try an image that we owe before anything else; what goes wrong here the listing tries again."""
        try:
            image = await self.rooms.service.image(self.workspace.id, image_id)
        except NotFound:
            self._lost.add(image_id)
            return
        except SyncerError as error:
            if error.fatal:
                raise
            return
        self._met.add(image_id)
        await self._consider([image], self._fetch)

    async def _read_listing(self, pool: Pool, *, to_the_end: bool) -> None:
        async def fetch_in_turn(action: Fetch) -> None:
            await pool.submit(self._fetch, action)

        listing = self._listing
        remembered = Ahead(self.rooms.manifest, self.workspace.id, besides=self._owed)
        page = await self._page(1)
        while True:
            images = listing.take(page)
            number = listing.next
            self.watch(PageListed(self.report, listing.pages, listing.sweeps, listing.total))
            # The next page is on its way while this one is worked on, unless this one may be the last to look at.
            ahead = asyncio.create_task(self._page(number)) if number and to_the_end else None
            try:
                shown = [image for image in images if image.id not in self._met] if self._met else images
                rest = await remembered.unsettled(shown) if to_the_end else shown
                self._keep(len(shown) - len(rest))
                known = await self._consider(rest, fetch_in_turn)
                if number is None or (known and images and not to_the_end):
                    return
                page = await (ahead or self._page(number))
            finally:
                if ahead is not None:
                    ahead.cancel()
                    await asyncio.gather(ahead, return_exceptions=True)

    async def _page(self, number: int) -> ImagePage:
        return await read_page(self.rooms, self.workspace.id, number)

    async def _consider(self, images: Sequence[Image], fetching: Callable[[Fetch], Awaitable[None]]) -> bool:
        """Decide what each image needs and have it done; says whether all of them were known ground."""
        if not images:
            return True
        entries = await self.rooms.manifest.entries(self.workspace.id, [image.id for image in images])
        known, paid = True, []
        for image in images:
            match decide(image, entries.get(image.id)):
                case Keep():
                    self._keep(1)
                    if image.id in self._owed:  # a change that failed, and that the service took back
                        paid.append(image.id)
                case Fetch() as action:
                    known = known and image.id in self._owed
                    self.watch(FetchDecided(action))
                    await fetching(action)
        if paid:
            await self._settle_debts(paid)
        return known

    def _keep(self, count: int) -> None:
        self._kept += count
        self.report.listed += count
        self.report.unchanged += count

    def _count(self, reason: Reason) -> None:
        self.report.listed += 1
        match reason:
            case Reason.NEW:
                self.report.new += 1
            case Reason.CHANGED:
                self.report.changed += 1
            case Reason.RETURNED:
                self.report.changed += 1
                self.report.restored += 1

    async def _named(self, trouble: SyncerError) -> SyncerError:
        """A workspace that we hold images of and that has become invisible is a safety stop, not an empty one."""
        if isinstance(trouble, Refused) and (trouble.status in {401, 403} or isinstance(trouble, NotFound)):
            held = await self.rooms.manifest.live(self.workspace.id)
            if held:
                return SafetyStop(
                    "the workspace is not visible any more; everything held of it is kept",
                    hint="see that the credentials still reach it; if it is gone for good, name only the others there",
                    workspace=self.workspace.id,
                    held=held,
                    status=trouble.status,
                )
            return Refused(
                "no access to this workspace",
                hint="see the id, and that the credentials may read it: `syncer check`",
                workspace=self.workspace.id,
                status=trouble.status,
            )
        return trouble

    # --- absence ----------------------------------------------------------------------------------------

    async def _judge_unknown(self) -> list[str]:
        """Tell what was deleted while we copied from what is listed for ever and cannot be had; the latter is owed.

        Returns the images that are not listed any more and of which we hold an older revision.
        """
        listed = await absence.listed_now(self.rooms, self.workspace.id)
        held = []
        for action in self._unknown:
            if listed is None or action.image.id in listed:
                await self._fail(Failed(self.workspace.id, action.image.id, LISTED_BUT_UNKNOWN, self._now()))
            elif action.entry is None:
                await self._drop(Vanished(self.workspace.id, action.image.id, self._now()))
            else:
                held.append(action.image.id)
                self.report.listed += 1
                self.report.unchanged += 1
        return held

    async def _look_for_absent(self, vanished: Sequence[str]) -> None:
        rooms, listing, report = self.rooms, self._listing, self.report
        absent = [*await self._absent(), *sorted(vanished)]
        if await self._braked(absent):
            return
        answers = await absence.confirm(rooms, self.workspace.id, absent)
        async with self._pool() as pool:

            async def fetch_in_turn(action: Fetch) -> None:
                await pool.submit(self._fetch, action)

            await self._consider(answers.alive, fetch_in_turn)
        await self._mark_gone(answers.missing)
        if answers.unsure:
            report.why.append(f"{len(answers.unsure)} not listed, and the service would not say whether they exist")
        unreadable = {row.name for row in listing.unreadable}
        settled = {i for i in self._owed if i in self._lost or i.startswith("?")} - unreadable
        await self._settle_debts([i for i in settled if i not in listing.seen])

    async def _absent(self) -> list[str]:
        unreadable = {row.name for row in self._listing.unreadable}
        if len(self._listing.seen) and self._kept == await self.rooms.manifest.live(self.workspace.id):
            return []  # the service has shown each of them, by its id if it was owed; an empty listing is braked
        absent = await self.rooms.manifest.absent(self.workspace.id, self._listing.seen)
        return [image_id for image_id in absent if image_id not in unreadable]

    async def _braked(self, absent: Sequence[str]) -> bool:
        """Pull the deletion brake where so many absences need a person's word; says whether it holds."""
        live = await self.rooms.manifest.live(self.workspace.id)
        why = absence.brake(len(absent), live, len(self._listing.seen), self.rooms.settings.safety)
        if not why or self.options.accept_deletions:
            return False
        self._give_up(
            SafetyStop(
                f"the deletion brake: {why}; every image is kept as live",
                hint="look at the workspace; if these deletions are meant, run `syncer backup --accept-deletions`",
                workspace=self.workspace.id,
                absent=_some(absent),
            )
        )
        return True

    def _now(self) -> str:
        return self.rooms.now().isoformat(timespec="seconds").replace("+00:00", "Z")


def _some(ids: Sequence[str], most: int = 10) -> str:
    shown = ", ".join(ids[:most])
    return shown if len(ids) <= most else f"{shown} and {len(ids) - most} more"
