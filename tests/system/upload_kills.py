"""Kill an upload at each of its system calls, start again, and count what the service got.

    python tests/system/upload_kills.py [--every K] [--jobs N]

An upload is recorded once, undisturbed, under `strace`: every write to the disk and to the service, every read of an
answer, every rename is a point. For each one, a picture in a fresh watch folder is on its way to a fresh service, is
killed on entering that call, and is uploaded anew, undisturbed. The service must have exactly one image of it then, the
manifest must say so, and the file must lie in `.syncer/done`, once and whole.
"""
# ruff: noqa: T201  a command prints

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import structlog

HERE = Path(__file__).parent
if __name__ == "__main__":
    sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

import one_upload  # noqa: E402
from support import CANARY, configure, environment, rows  # noqa: E402

from syncer.simulator.pictures import Picture  # noqa: E402
from syncer.simulator.server import Options, Simulator  # noqa: E402

STRACE = shutil.which("strace")
CALLS = (
    "write,pwrite64,fsync,fdatasync,syncfs,rename,renameat,renameat2,link,unlink,mkdir,ftruncate,"
    "connect,sendto,sendmsg,recvfrom,recvmsg"
)
PICTURE = Picture(0, "dropped").render()
DONE = Path(".syncer/done")


@dataclass(frozen=True, order=True)
class Point:
    """The n-th call of a kind, counted from 1."""

    call: str
    number: int


class Kills:
    """Uploads, each from a folder of its own to a service of its own; `points` are where one can be killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.points: list[Point] = []

    async def record(self) -> None:
        """Upload once undisturbed, and note the points on the way."""
        async with self._fresh("undisturbed") as (sim, config):
            trace = config.parent / "trace"
            assert await self._run(config, trace) == 0
            assert self._wrong(sim, config) == []
            lines = trace.read_text().splitlines()
        calls = Counter(line.split("(", 1)[0].split()[-1] for line in lines if "(" in line)
        self.points = [Point(call, n) for call in CALLS.split(",") for n in range(1, calls[call] + 1)]

    async def strike(self, point: Point) -> tuple[bool, list[str]]:
        """Kill an upload at a point, make it anew; returns whether it was killed, and what is not as it must be."""
        async with self._fresh(f"{point.call}-{point.number}") as (sim, config):
            code = await self._run(config, config.parent / "trace", point)
            result = await one_upload.perform(config)
            wrong = [] if result.exit_code == 0 else [f"exit code {result.exit_code}: {result.why}"]
            return code == -signal.SIGKILL, wrong + self._wrong(sim, config)

    async def strike_all(self, chosen: Sequence[Point], *, jobs: int) -> tuple[list[Point], dict[Point, list[str]]]:
        """Strike at many points, some at a time; returns those that were not met, and what was wrong at others."""
        slots, unmet, wrong = asyncio.Semaphore(jobs), list[Point](), dict[Point, list[str]]()

        async def one(point: Point) -> None:
            async with slots:
                met, found = await self.strike(point)
            unmet.extend([] if met else [point])
            wrong.update({point: found} if found else {})

        async with asyncio.TaskGroup() as group:
            for point in chosen:
                group.create_task(one(point))
        return unmet, wrong

    @asynccontextmanager
    async def _fresh(self, name: str) -> AsyncIterator[tuple[Simulator, Path]]:
        async with Simulator.start(Options(images=4, client_secret=CANARY)) as sim:
            folder = self._folder / name
            config = configure(sim, folder, list(sim.workspaces)[:1], limits={"retries": 2})
            drop = folder / "drop"
            drop.mkdir()
            config.write_text(f"{config.read_text()}\nwatch = {json.dumps(str(drop))}\n")
            (drop / "one.png").write_bytes(PICTURE)
            yield sim, config
            shutil.rmtree(folder)

    def _wrong(self, sim: Simulator, config: Path) -> list[str]:
        digest, folder, sent = sha256(PICTURE).hexdigest(), config.parent, sim.uploads
        wrong = [] if len(sent) == 1 else [f"the service got it {len(sent)} times"]
        kept = [(row["sha256"], row["state"], row["image_id"]) for row in rows(folder / "archive", "uploads")]
        if kept != [(digest, "done", one.image) for one in sent[:1]]:
            wrong.append(f"the manifest says {kept}")
        if (folder / "drop" / "one.png").exists():
            wrong.append("the file is still there")
        there = [path.read_bytes() for path in (folder / "drop" / DONE).rglob("*") if path.is_file()]
        return wrong if there == [PICTURE] else [*wrong, f"{len(there)} files are in {DONE}, or they are not whole"]

    async def _run(self, config: Path, trace: Path, point: Point | None = None) -> int:
        assert STRACE is not None
        inject = ("-e", f"inject={point.call}:signal=SIGKILL:when={point.number}") if point else ()
        process = await asyncio.create_subprocess_exec(
            *(STRACE, "-f", "-qq", "-s", "0", "-o", trace, "-e", f"trace={CALLS}"),
            *(*inject, sys.executable, one_upload.__file__, config),
            env=environment(
                {
                    "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE.parent)]),
                    "PYTHONDONTWRITEBYTECODE": "1",  # what the interpreter writes is not ours to strike
                    "PYTHONHASHSEED": "0",
                }
            ),
            stdout=asyncio.subprocess.DEVNULL,  # its log
        )
        return await process.wait()


async def prepared(folder: Path) -> Kills:
    """Record an upload."""
    kills = Kills(folder)
    await kills.record()
    return kills


async def main(every: int, jobs: int) -> int:
    """Strike at every so many points, and tell."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory(prefix="syncer-kills-") as folder:
        kills = await prepared(Path(folder))
        chosen = kills.points[::every]
        unmet, wrong = await kills.strike_all(chosen, jobs=jobs)
    for point, found in sorted(wrong.items()):
        print(f"{point.call} {point.number}: {'; '.join(found)}")
    print(f"{len(chosen)} of {len(kills.points)} points, {len(unmet)} not met, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--every", type=int, default=1)
    arguments.add_argument("--jobs", type=int, default=2)
    given = arguments.parse_args()
    sys.exit(asyncio.run(main(given.every, given.jobs)))
