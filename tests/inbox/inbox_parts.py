"""What the tests of the inbox share: a watched folder, somebody who takes what it offers, somebody who writes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from syncer.inbox.disposal import After
from syncer.inbox.drop import Drop, Signature
from syncer.inbox.inbox import Inbox

SETTLE = 0.15
RESCAN = 60.0  # so long that no test passes by it
SECONDS = 60  # after which what never comes is given up

WRITER = """
import sys
with open(sys.argv[1], "ab") as file:
    print("open", flush=True)
    for line in sys.stdin:
        file.write(line.encode() * 1000)
        file.flush()
        print("written", flush=True)
print("closed", flush=True)
"""


class Taker:
    """Takes what an inbox offers, when it says that there is something."""

    def __init__(self, inbox: Inbox, ready: asyncio.Event, folder: Path) -> None:
        self.inbox = inbox
        self.taken: list[Drop] = []
        self._ready = ready
        self._folder = folder
        self._sentinels = 0

    @property
    def names(self) -> list[str]:
        """What was taken, in order, but for sentinels."""
        return [drop.name for drop in self.taken if not drop.name.startswith("sentinel")]

    async def take(self, count: int = 1) -> list[Drop]:
        """Wait until so many more were offered."""
        before = len(self.taken)
        await self.until(lambda: len(self.taken) >= before + count)
        return self.taken[before:]

    async def until(self, happened: Callable[[], object]) -> None:
        """Take what is offered until something has happened."""
        async with asyncio.timeout(SECONDS):
            while True:
                self.taken += self.inbox.take()
                if happened():
                    return
                self._ready.clear()
                await self._ready.wait()

    async def a_while(self) -> None:
        """Let the time go by in which whatever was there before would have been offered: a new file is."""
        self._sentinels += 1
        name = f"sentinel{self._sentinels}.png"
        (self._folder / name).write_bytes(b"sentinel")
        await self.until(lambda: any(drop.name == name for drop in self.taken))


@asynccontextmanager
async def watching(
    folder: Path,
    *,
    settle: float = SETTLE,
    after: After = After.MOVE,
    most: int = 1 << 20,
    rescan: float = RESCAN,
    events: bool = True,
) -> AsyncIterator[Taker]:
    """Watch a folder in which things may be dropped."""
    ready = asyncio.Event()
    opened = Inbox.open(folder, settle=settle, after=after, most=most, ready=ready.set, rescan=rescan, events=events)
    async with opened as inbox:
        yield Taker(inbox, ready, folder)


async def eventually(happened: Callable[[], object]) -> None:
    """Wait until something has happened of which nobody tells."""
    async with asyncio.timeout(SECONDS):
        while not happened():  # noqa: ASYNC110 - there is no event
            await asyncio.sleep(0.005)


class Writer:
    """Another process that has a file open for writing."""

    def __init__(self, path: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WRITER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._expect("open")

    def write(self, text: str) -> None:
        """Have a line written, a thousand times."""
        assert self._process.stdin is not None
        print(text, file=self._process.stdin, flush=True)
        self._expect("written")

    def close(self) -> None:
        """Have the file closed, and end."""
        assert self._process.stdin is not None
        if not self._process.stdin.closed:
            self._process.stdin.close()
            self._expect("closed")
        self._process.wait()

    def _expect(self, word: str) -> None:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == f"{word}\n"
        if word == "closed":
            self._process.stdout.close()


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """Have another process write a file, until the end of the block at the latest."""
    writer = Writer(path)
    try:
        yield writer
    finally:
        writer.close()


@contextmanager
def copying(source: Path, target: Path) -> Iterator[None]:
    """Have another process copy a folder into another meanwhile, to its end."""
    with subprocess.Popen(["cp", "-r", source, target]) as process:
        yield
    assert process.returncode == 0


def remount(place: Path, option: str) -> None:
    """Change a file system that is mounted."""
    subprocess.run(["mount", "-o", f"remount,{option}", place], check=True)


def unmount(place: Path) -> None:
    """Unmount a file system, whoever is using it."""
    subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[Path], Path]]:
    """Mount small file systems of their own; skips where that is not allowed."""
    places: list[Path] = []

    def mount(place: Path) -> Path:
        place.mkdir(parents=True, exist_ok=True)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", place], capture_output=True).returncode:
            (pytest.fail if os.environ.get("SYNCER_CI") else pytest.skip)("no right to mount")
        places.append(place)
        return place

    yield mount
    for place in filter(os.path.ismount, reversed(places)):
        unmount(place)


def drop(path: Path, fault: str | None = None) -> Drop:
    """Make the drop that an inbox would make of a file."""
    return Drop(path, path.name, Signature.of(path.lstat()), fault)


def tree(folder: Path) -> set[str]:
    """List all files below a folder."""
    return {os.path.relpath(path, folder) for path in folder.rglob("*") if not path.is_dir()}
