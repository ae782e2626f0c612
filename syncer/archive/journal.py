"""The record of what happened: one file a run, one line an event, each line sealed by the next.

Every line carries the hash of the line before it, and a file's first line also the name of the file before it, so that
a line that is changed or a file that is removed later shows. Each ends with a sum over itself, so that a changed line
can be told from the one behind it. Written append-only; `flush` makes it durable. It has to survive a lawful erasure:
ids, hashes, sizes, paths, times and reasons belong in it, no prompts, links or documents.
"""

from __future__ import annotations

import asyncio
import hashlib
import mmap
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from io import FileIO
from pathlib import Path
from typing import Any

import msgspec

from syncer.archive import layout
from syncer.archive.disk import fsync, in_thread, now, translated, write_all
from syncer.errors import ArchiveUnwritable

GENESIS = "0" * 64  # what stands for the hash of the line before the very first one

_NAME = re.compile(r"(\d{8}T\d{12}Z)-.+\.jsonl")
_START = "%Y%m%dT%H%M%S%fZ"
_OURS = ("n", "at", "event", "prev", "sum")
_SUM = len(',"sum":"0123456789abcdef"}')


@dataclass(frozen=True, slots=True)
class JournalLine:
    """One event as it was written; `line` counts from 1.

    `seal` is the line's hash. A line that is not `whole` fails its own sum: what it says may not be believed.
    """

    file: str
    line: int
    event: str
    at: str
    facts: dict[str, Any] = field(default_factory=dict)
    seal: str = field(default="", compare=False)
    whole: bool = True


@dataclass(frozen=True, slots=True)
class Break:
    """A place where the chain does not hold: the line, or what was `before` it, is not as it was written.

    Without a `file`, and with line 0, it is the whole journal: nobody can say which files there are.
    """

    file: str
    line: int
    reason: str
    before: bool = False


class Journal:
    """One run's file; it begins with the first event that is flushed."""

    def __init__(self, root: Path, run: str, clock: Callable[[], datetime]) -> None:
        self._root = root
        self._clock = clock
        self._folder = root / layout.JOURNAL
        self._after, self._seal = _last_line(self._folder)
        self.path = self._folder / f"{_start(self._folder, clock())}-{layout.encode(run)}.jsonl"
        self._file: FileIO | None = None
        self._count = 0
        self._pending: list[bytes] = []
        self._turn = asyncio.Lock()
        self._failure: ArchiveUnwritable | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, root: Path, run: str, clock: Callable[[], datetime] = now) -> AsyncIterator[Journal]:
        """Open a run's journal for the block, flushing at its end; the archive's lock has to be held."""
        root = root.absolute()
        with translated(root):
            journal = await in_thread(cls, root, run, clock)
        try:
            yield journal
        except BaseException:
            with suppress(ArchiveUnwritable):  # what ended the block is what the caller has to hear of
                await journal.flush()
            raise
        else:
            await journal.flush()
        finally:
            if journal._file is not None:
                journal._file.close()

    @property
    def seal(self) -> str:
        """The hash of the last line so far, of an earlier run if this one has none."""
        return self._seal

    def append(self, event: str, /, *, at: str | None = None, **facts: object) -> None:
        """Add an event that happened `at` a time, now if not said; it is durable after the next `flush`."""
        sealed = {"prev": self._seal} if self._count else {"prev": self._seal, "after": self._after}
        fields = dict(n=self._count, at=at or layout.stamp(self._clock()), event=event, **sealed, **facts)
        line = _summed(msgspec.json.encode(fields, enc_hook=str))
        self._pending.append(line + b"\n")
        self._seal = _hash(line)
        self._count += 1

    async def flush(self) -> None:
        """Make all events so far durable. After a failure it fails for good: what was written is not known."""
        async with self._turn:
            if self._failure is not None:
                raise self._failure
            if self._pending:
                lines, self._pending = self._pending, []
                await in_thread(self._write, b"".join(lines))

    def _write(self, lines: bytes) -> None:
        try:
            with translated(self._root):
                begun = self._file is not None
                if self._file is None:
                    self._folder.mkdir(exist_ok=True)
                    self._file = self.path.open("xb", buffering=0)
                write_all(self._file, lines)
                for path in (self.path,) if begun else (self.path, self._folder, self._root):
                    fsync(path)
        except ArchiveUnwritable as error:
            self._failure = error
            raise


def read(root: Path) -> Iterator[JournalLine | Break]:
    """Read all journals in the order they were written, saying where the chain is broken; it goes on behind a break.

    A last line without its end is what a crash leaves: it counts as not written.
    """
    after, seal = None, GENESIS
    try:
        files = _files(root / layout.JOURNAL)
    except OSError as error:
        yield Break("", 0, f"the folder cannot be read: {error.strerror}")
        return
    for path in files:
        number = 1
        try:
            with path.open("rb") as file:
                for number, raw in enumerate(file, 1):
                    if not raw.endswith(b"\n"):
                        if _whole(raw[:-1]):
                            yield Break(path.name, number, "its last line does not end as it was written")
                        break
                    fields = _parse(raw)
                    if fields is None:
                        yield Break(path.name, number, "not a line of a journal")
                    else:
                        if number == 1 and fields.get("after") != after:
                            reason = f"it was written after {fields.get('after')}, and comes after {after}"
                            yield Break(path.name, number, reason, before=True)
                        elif fields["prev"] != seal or fields["n"] != number - 1:
                            reason = "the line before it is not the one it was written after"
                            yield Break(path.name, number, reason, before=True)
                        ours = (*_OURS, "after") if number == 1 else _OURS
                        facts = {name: fact for name, fact in fields.items() if name not in ours}
                        this, whole = _hash(raw[:-1]), _whole(raw[:-1])
                        yield JournalLine(path.name, number, fields["event"], fields["at"], facts, this, whole)
                    after, seal = path.name, _hash(raw[:-1])
        except OSError as error:
            yield Break(path.name, number, f"it cannot be read: {error.strerror}")


def _parse(raw: bytes) -> dict[str, Any] | None:
    try:
        fields = msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    whole = all(isinstance(fields.get(name), kind) for name, kind in (("event", str), ("at", str), ("prev", str)))
    return fields if whole and isinstance(fields.get("n"), int) else None


def _summed(line: bytes) -> bytes:
    """Put a sum over a line to its end: a part of the hash, enough to notice an accident."""
    return line[:-1] + b',"sum":"' + _hash(line)[:16].encode() + b'"}'


def _whole(line: bytes) -> bool:
    return line == _summed(line[:-_SUM] + b"}")


def _hash(line: bytes) -> str:
    return hashlib.sha256(line).hexdigest()


def is_journal(name: str) -> bool:
    """Say whether a file of this name in the journal's folder is one of the journals."""
    return _NAME.fullmatch(name) is not None


def _files(folder: Path) -> list[Path]:
    """List the journals, oldest first: their names begin with the time."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if is_journal(path.name))


def _start(folder: Path, now: datetime) -> str:
    """Spell a run's start so that it sorts behind all others, even if the clock has stepped back."""
    files = _files(folder)
    if files and (newest := _NAME.fullmatch(files[-1].name)):
        before = datetime.strptime(newest[1], _START).replace(tzinfo=UTC)
        now = max(now, before + timedelta(microseconds=1))
    return now.astimezone(UTC).strftime(_START)


def _last_line(folder: Path) -> tuple[str | None, str]:
    """Find the last whole line of all: the file that holds it, and its hash."""
    for path in reversed(_files(folder)):
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                continue
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
                end = mapped.rfind(b"\n")
                if end >= 0:
                    return path.name, _hash(mapped[mapped.rfind(b"\n", 0, end) + 1 : end])
    return None, GENESIS
