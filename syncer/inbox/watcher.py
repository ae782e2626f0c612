"""Watch a folder: feed its book with what events tell and with what walks and looks find.

Promises that nothing in the folder stays unseen for longer than the time between two walks, whatever events tell; that
each file is looked at when it is due, by a timer; and that a folder which is missing, or is another one than before, is
noticed within about a second and begun anew. What blocks runs in a thread, so that a share that hangs holds up nobody
else. A mistake of ours is raised.
"""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, TypeVar, assert_never

import structlog

from syncer.inbox.book import Book
from syncer.inbox.events import Appeared, Events, Lost, NoEvents, PassedOver, Touched, Vanished, silent
from syncer.inbox.looking import Found, look, signature, walk
from syncer.inbox.names import printable

RESCAN = 60.0  # seconds between two walks, where events tell of what happens in between
IDLE, BUSY = 10.0, 2.0  # the same at most where there are no events, and while files are on their way
GLANCE = 1.0  # seconds between two looks at whether the folder is there, and still the same
PATIENCE = 60.0  # seconds after which a disk that does not answer is a problem; a long walk is over by then
PAUSE = 0.05  # seconds at least between two looks at files, however many are due one after the other

HINTS = {
    errno.ENOENT: "make it, or mount its disk",
    errno.ENOTDIR: "it has to be a folder",
    errno.EACCES: "give the user that syncer runs as the right to read, write and enter it",
    errno.EPERM: "give the user that syncer runs as the right to read, write and enter it",
    errno.EROFS: 'mount its file system for writing, or set watch_after = "keep"',
    errno.ENOSPC: "make room on its disk",
    errno.EDQUOT: "make room, or have the quota raised",
    errno.EXDEV: "it cannot be moved between file systems: remove it by hand",
    errno.ESTALE: "is the network share mounted?",
}

log = structlog.get_logger()

P = ParamSpec("P")
T = TypeVar("T")

Identity = tuple[int, int]


class Watcher:
    """Watches for one inbox, in the task that runs `run`."""

    def __init__(
        self,
        folder: Path,
        book: Book,
        most: int,
        ready: Callable[[], object],
        clock: Callable[[], float],
        rescan: float,
        loosen: Callable[[], Awaitable[None]],
    ) -> None:
        self._folder = folder
        self._book = book
        self._most = most
        self._ready = ready
        self._clock = clock
        self._rescan = rescan
        self._loosen = loosen  # has what could not be moved tried again
        self._asked: float | None = None  # since when a look at the disk has not been answered
        self._absent: str | None = None
        self._unreadable: str | None = None
        self._passed_over: set[Path] = set()  # and told so in the log
        self._silent: str | None = None  # why there are no events
        # What is to be done out of turn, and what wakes whoever does it.
        self._lost: str | None = None
        self._appeared: list[Path] = []
        self._doubtful: set[Path] = set()
        self._stirred = asyncio.Event()
        self._walked = self._loosened = float("-inf")

    @property
    def problem(self) -> str | None:
        """Why the folder cannot be watched just now, and what to do; None while it can."""
        if self._asked is not None and (waited := self._clock() - self._asked) > PATIENCE:
            return f"{printable(self._folder)}: has not answered for {waited:.0f} s: is the network share there?"
        return self._absent or self._unreadable

    def doubt(self, path: Path) -> None:
        """Look at a file again soon: it was out of sight."""
        self._doubtful.add(path)
        self._stirred.set()

    async def run(self, *, events: bool) -> None:
        """Watch until cancelled; without `events`, by walking alone."""
        before: Identity | None = None
        while True:
            identity = await self._in_thread(_identify, self._folder)
            if isinstance(identity, OSError):
                self._missing(identity)
                await asyncio.sleep(GLANCE)
                continue
            if self._absent is not None:
                log.info("inbox.back", folder=printable(self._folder))
                self._absent = None
            if identity != before:
                before, self._silent = identity, None if events else "events are switched off"
            self._lost, self._walked = None, float("-inf")
            try:
                await self._watch(identity)
            except* NoEvents as reasons:
                self._silent = str(reasons.exceptions[0])
                log.info("inbox.polling", folder=printable(self._folder), reason=self._silent)

    def _missing(self, error: OSError) -> None:
        if self._absent is None:
            log.warning("inbox.missing", folder=printable(self._folder), reason=error.strerror)
        self._absent = described(self._folder, error)
        self._unreadable = None
        self._book.clear()

    async def _watch(self, identity: Identity) -> None:
        """Watch this folder until it is another one, or something may have been missed.

        Raises `NoEvents`, in a group.
        """
        if self._silent is not None:
            await self._rounds(identity, lambda _: None)
            return
        if (reason := await self._in_thread(silent, self._folder)) is not None:
            raise NoEvents(reason)
        with Events.open(self._folder) as events:
            async with asyncio.TaskGroup() as group:
                reading = group.create_task(self._read(events))
                await self._rounds(identity, events.enter)
                reading.cancel()

    async def _read(self, events: Events) -> None:
        """Note what events tell. A look at one file just after its event is quicker than a hop to a thread."""
        async for happening in events.happenings():
            idle = self._book.becoming.next_due() is None
            match happening:
                case Touched(path, closed):
                    self._book.touched(path, signature(path), self._clock(), closed=closed)
                case Vanished(path, folder):
                    self._book.gone(path)
                    if folder:
                        self._book.gone_below(path)
                case Appeared(path):
                    self._appeared.append(path)
                    self._stirred.set()
                case PassedOver(path, reason):
                    self._pass_over(path, reason)
                case Lost(reason):
                    log.warning("inbox.lost", folder=printable(self._folder), reason=reason)
                    self._book.becoming.unsure()
                    self._lost = reason
                    self._stirred.set()
                case _:
                    assert_never(happening)
            if idle and self._book.becoming.next_due() is not None:
                # Only now: whoever sleeps may do so until the first is due, and further events only put that off.
                self._stirred.set()

    async def _rounds(self, identity: Identity, enter: Callable[[Path], None]) -> None:
        """Walk and look, each when it is due, until events were lost or the folder is another one."""
        while self._lost is None and await self._in_thread(_identify, self._folder) == identity:
            if self._clock() >= self._walked + self._every:
                await self._walk_all(enter)
            while self._appeared:
                self._note(await self._in_thread(walk, self._appeared.pop(), enter))
            doubtful, self._doubtful = self._doubtful, set()
            await self._look_again(doubtful)
            await self._look_due()
            await self._rest()

    @property
    def _every(self) -> float:
        """How many seconds lie between two walks."""
        if self._silent is None:
            return self._rescan
        return min(self._rescan, BUSY if len(self._book.becoming) else IDLE)

    async def _walk_all(self, enter: Callable[[Path], None]) -> None:
        """Walk the whole folder, and look at what is known and was not come by."""
        found = await self._in_thread(walk, self._folder, enter)
        self._note(found)
        self._passed_over &= {path for path, _ in found.ignored}
        self._unreadable = next((described(path, error) for path, error in found.unreadable), None)
        await self._look_again(set(self._book.paths()).difference(path for path, _ in found.files))
        self._walked = self._clock()
        if self._walked >= self._loosened + self._rescan:
            self._loosened = self._walked
            await self._loosen()

    def _note(self, found: Found) -> None:
        at = self._clock()
        for path, seen in found.files:
            self._book.found(path, seen, at)
        for path, reason in found.ignored:
            self._pass_over(path, reason)

    async def _look_again(self, paths: Iterable[Path]) -> None:
        """Look at files that are not where they are expected, or may be others."""
        known = list(paths)
        if not known:
            return
        seen = await self._in_thread(lambda: [signature(path) for path in known])
        at = self._clock()
        for path, now in zip(known, seen, strict=True):
            self._book.found(path, now, at)

    async def _look_due(self) -> None:
        """Look at the files that have been still for long enough; say so if any is complete."""
        due = self._book.becoming.due(self._clock())
        if not due:
            return
        looks = await self._in_thread(lambda: [look(path, most=self._most) for path in due])
        at = self._clock()
        if sum([self._book.judged(path, seen, at) for path, seen in zip(due, looks, strict=True)]):
            self._ready()

    async def _rest(self) -> None:
        """Wait until something is due, or happens."""
        now = self._clock()
        wait = [GLANCE, max(self._walked + self._every - now, PAUSE)]
        if (due := self._book.becoming.next_due()) is not None:
            wait.append(max(due - now, PAUSE))
        with suppress(TimeoutError):
            async with asyncio.timeout(min(wait)):
                await self._stirred.wait()
        self._stirred.clear()

    async def _in_thread(self, ask: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Look at the disk in a thread, one look at a time; how long it takes is known meanwhile."""
        self._asked = self._clock()
        try:
            return await asyncio.to_thread(ask, *args, **kwargs)
        finally:
            self._asked = None

    def _pass_over(self, path: Path, reason: str) -> None:
        """Tell once of a file that its name excludes."""
        if path not in self._passed_over:
            self._passed_over.add(path)
            log.debug("inbox.ignored", file=printable(path.relative_to(self._folder)), reason=reason)


def described(path: Path, error: OSError) -> str:
    """Say what is wrong with a file or folder, and what to do about it."""
    hint = HINTS.get(error.errno or 0)
    return f"{printable(path)}: {error.strerror or error}" + (f": {hint}" if hint else "")


def _identify(folder: Path) -> Identity | OSError:
    """Say which folder it is, or why there is none."""
    try:
        seen = folder.stat()
    except OSError as error:
        return error
    if not stat.S_ISDIR(seen.st_mode):
        return NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
    return seen.st_dev, seen.st_ino
