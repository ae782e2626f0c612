"""Strike a command at each of its system calls that change the disk, and see that every promise holds.

    python tests/system/kill_sweep.py [--every K] [--jobs N] [--fault kill|EIO|ENOSPC] [--twice] [--threads]
                                      [--scenario NAME]...

A run is recorded once, undisturbed, under `strace`: that gives the points. Then, for each point, a fresh copy of the
archive gets the same run with a fault there: SIGKILL on entering the call, or the call fails. What is left has to be
sound as it lies (see `soundness`) but for what was wrong before, none of the bytes that were there may be lost, and a
run after it has to end in exactly the state of the undisturbed one. `scenarios` has the commands and their archives.
"""
# ruff: noqa: T201  a command prints

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
if __name__ == "__main__":
    sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent)]

import one_backup  # noqa: E402
from scenarios import SCENARIOS, Scenario, shelf_of  # noqa: E402
from soundness import lost, state, unsound  # noqa: E402
from support import CANARY, configure, environment  # noqa: E402

from syncer.archive.lock import settle  # noqa: E402
from syncer.errors import SyncerError  # noqa: E402
from syncer.model import Finding, Harm  # noqa: E402
from syncer.operations import verification  # noqa: E402
from syncer.operations.verification import Progress  # noqa: E402
from syncer.operations.verify import verify  # noqa: E402
from syncer.simulator.server import Options, Simulator  # noqa: E402

STRACE = shutil.which("strace")
CHANGING = (
    "openat,write,writev,pwrite64,pwritev,fsync,fdatasync,syncfs,sync,rename,renameat,renameat2,link,linkat,symlink,"
    "symlinkat,unlink,unlinkat,rmdir,mkdir,mkdirat,ftruncate,truncate,fallocate"
)
FAULTS = {"kill": "signal=SIGKILL", "EIO": "error=EIO", "ENOSPC": "error=ENOSPC"}

_LINE = re.compile(r"(\d+) +(\w+)\((.*)")
_UNTIL = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, order=True)
class Point:
    """The n-th call of a kind, counted as strace does: from 1, in one thread, whatever the call is about."""

    call: str
    number: int


@dataclass(frozen=True)
class Struck:
    """What became of one point; `wrong` is empty if every promise held."""

    point: Point
    fired: bool
    code: int
    wrong: tuple[str, ...]


class Sweep:
    """A run that can be struck: `points` on its way, and how it ends when it is not."""

    def __init__(self, folder: Path, sim: Simulator, scenario: Scenario, base: Path | None, *, threads: bool) -> None:
        self.points: list[Point] = []
        self._folder = folder
        self._sim = sim
        self._scenario = scenario
        self._base = base
        self._mode = "threads" if threads else "alone"
        self._code = self._then = 0  # the exit codes of the run, and of the one after it
        self._harmed = set[str]()  # what `syncer verify` finds damaged before the run
        self._before = set[str]()  # and what is unsound then
        self._end: dict[str, Any] = {}

    async def record(self) -> None:
        """Run once undisturbed, and note where the archive is changed."""
        if self._base is not None:
            self._harmed = {finding.path for finding in await verified(self._base, lambda harm: harm.damage)}
            self._before = {*unsound(self._base), *unsound(self._bare())}
        assert self._scenario.harmed == bool(self._harmed)
        config = self._fresh("undisturbed")
        archive, trace = config.parent / "archive", config.parent / "trace"
        self._code = self._then = await self._run(config, trace)
        self.points = sorted(points(trace.read_text(), archive))
        if self._scenario.then is not None:
            self._then = await one_backup.perform(self._scenario.then, config)
        self._end = await self._ended(archive)
        assert self._scenario.lasting == bool(self._end["troubles"]), self._end["troubles"]
        assert self._lost(archive) == []

    async def strike(self, point: Point, fault: str = "kill", *then: Point) -> Struck:
        """Run with a fault at one point, judge what is left, run again and compare; `then` strikes the runs between."""
        async with self.struck(point, fault, *then) as (config, fired, code):
            archive = config.parent / "archive"
            left = unsound(archive, strays=fault != "kill") if archive.exists() else []
            left = [trouble for trouble in left if trouble not in self._before] + self._lost(archive)
            if (archive / "journal").exists():  # what is stray, and what only unfinished, was judged just now
                found = await verified(archive, lambda harm: harm.damage and harm is not Harm.STRAY)
                left += [f"verify: {finding}" for finding in found if finding.path not in self._harmed]
            wrong = [f"as it was left: {trouble}" for trouble in left]
            if fault != "kill" and code not in {9, self._code}:
                wrong.append(f"a failing disk gave exit code {code}")
            wrong += [f"after the next run: {trouble}" for trouble in await self.heal(config)]
        return Struck(point, fired, code, tuple(wrong))

    @asynccontextmanager
    async def struck(self, point: Point, fault: str, *then: Point) -> AsyncIterator[tuple[Path, bool, int]]:
        """Run with a fault at one point: the configuration of what is left, whether it fired, and the exit code."""
        config = self._fresh(f"{fault}-{point.call}-{point.number}")
        trace = config.parent / "trace"
        code = await self._run(config, trace, fault, point)
        fired = code == -signal.SIGKILL if fault == "kill" else "(INJECTED)" in trace.read_text()
        for later in then:
            await self._run(config, trace, fault, later)
        yield config, fired, code
        shutil.rmtree(config.parent)

    async def heal(self, config: Path) -> list[str]:
        """Run undisturbed over what is left, and say where the end is not that of the undisturbed run."""
        try:
            code = await one_backup.perform(self._scenario.then or self._scenario.command, config)
            end = await self._ended(config.parent / "archive")
        except (SyncerError, AssertionError) as error:
            return [f"{type(error).__name__}: {error}"]
        wrong = [f"{name} are not as undisturbed" for name in end if end[name] != self._end[name]]
        wrong += [trouble for trouble in end["troubles"] if trouble not in self._end["troubles"]]
        if code != self._then:
            wrong.append(f"exit code {code}, undisturbed {self._then}")
        return wrong + self._lost(config.parent / "archive")

    async def _ended(self, archive: Path) -> dict[str, Any]:
        """Describe an archive as a run has left it that came to its end; `troubles` is what is still wrong with it."""
        held = state(archive, *self._scenario.tables)
        return held | {"troubles": [*unsound(archive), *map(str, await verified(archive))]}

    def _lost(self, archive: Path) -> list[str]:
        return [] if self._base is None else lost(self._base, archive, *self._scenario.names)

    async def strike_all(self, chosen: Iterable[Point], fault: str, *, jobs: int, twice: bool = False) -> list[Struck]:
        """Strike at many points, some at a time; `twice` strikes the run after as well, at any point."""
        slots, done, chance = asyncio.Semaphore(jobs), list[Struck](), random.Random(1)

        async def one(point: Point) -> None:
            async with slots:
                done.append(await self.strike(point, fault, *(chance.choices(self.points, k=1) if twice else ())))

        async with asyncio.TaskGroup() as group:
            for point in chosen:
                group.create_task(one(point))
        return done

    def _bare(self) -> Path:
        """Make a copy of the archive before the run without damaged sidecars: a crash may leave them moved aside."""
        assert self._base is not None
        bare = shutil.copytree(self._base, self._folder / "bare")
        for path in self._harmed:
            if path.endswith(".json"):
                (bare / path).unlink(missing_ok=True)
        return bare

    def _fresh(self, name: str) -> Path:
        """Make a folder with a configuration and a copy of the archive as it is before the run."""
        folder = self._folder / name
        downloads = 4 if self._mode == "threads" else 1
        config = configure(self._sim, folder, [shelf_of(self._sim)], limits={"downloads": downloads, "retries": 0})
        if self._base is not None:
            shutil.copytree(self._base, folder / "archive")
            settle(folder / "archive" / ".staging")  # it is the archive for the run, not a copy of it
        return config

    async def _run(self, config: Path, trace: Path, fault: str = "", point: Point | None = None) -> int:
        assert STRACE is not None
        inject = ("-e", f"inject={point.call}:{FAULTS[fault]}:when={point.number}") if point else ()
        process = await asyncio.create_subprocess_exec(
            *(STRACE, "-f", "-qq", "-y", "-s", "0", "-o", trace, "-e", f"trace={CHANGING}"),
            *(*inject, sys.executable, one_backup.__file__, config, self._mode, self._scenario.command),
            env=environment(
                {
                    "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE.parent)]),
                    "PYTHONDONTWRITEBYTECODE": "1",  # what the interpreter writes is not ours to strike
                    "PYTHONHASHSEED": "0",
                }
            ),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        return await process.wait()


@asynccontextmanager
async def prepared(folder: Path, name: str, *, threads: bool = False) -> AsyncIterator[Sweep]:
    """Prepare a scenario's service, and the archive as it is before the run, and record the run."""
    scenario, options = SCENARIOS[name], Options(images=16, client_secret=CANARY, until=_UNTIL)
    async with Simulator.start(options, clock=_UNTIL.timestamp) as sim:
        base = await scenario.archive(sim, folder / "base") if scenario.archive else None
        sweep = Sweep(folder, sim, scenario, base, threads=threads)
        await sweep.record()
        yield sweep


async def verified(archive: Path, harms: Callable[[Harm], bool] = lambda harm: True) -> list[Finding]:
    """Return what `syncer verify` finds: another judge, which may lean on other things than `unsound` does."""
    found: list[Finding] = []

    def see(event: Finding | Progress) -> None:
        if isinstance(event, Finding) and harms(event.harm):
            found.append(event)

    await verify(archive, verification.Options(), see, verification.Verification())
    return found


def points(trace: str, archive: Path) -> set[Point]:
    """Find the calls in a trace that can change something below the archive."""
    found, counted = set(), Counter[tuple[str, str]]()
    for line in trace.splitlines():
        if match := _LINE.match(line):
            thread, call, rest = match.groups()
            counted[thread, call] += 1
            if str(archive) in rest and (call != "openat" or "O_CREAT" in rest or "O_TRUNC" in rest):
                found.add(Point(call, counted[thread, call]))
    return found


def spread(chosen: Sequence[Point], count: int) -> list[Point]:
    """Choose about so many points, evenly: of every kind of call at least one."""
    step = max(1, len(chosen) // count)
    kinds = {point.call: point for point in chosen}
    return sorted({*chosen[step // 2 :: step], *kinds.values()})


async def sweep_all(options: argparse.Namespace, folder: Path) -> bool:
    """Sweep the scenarios and print a table of each; says whether every promise held."""
    good = True
    for scenario in options.scenario or SCENARIOS:
        started = time.monotonic()
        async with prepared(folder / scenario, scenario, threads=options.threads) as sweep:
            chosen = sweep.points[:: options.every]
            print(f"\n{scenario}: {len(chosen)} of {len(sweep.points)} points, {options.fault}", flush=True)
            struck = await sweep.strike_all(chosen, options.fault, jobs=options.jobs, twice=options.twice)
        seconds = time.monotonic() - started
        print(f"{table(struck)}\n{seconds:.0f} s")
        print(*(f"{one.point}: {wrong}" for one in struck for wrong in one.wrong), sep="\n")
        # With threads the order of calls is not the same every time, so that the last ones may not be reached.
        good = good and not any(one.wrong or not (one.fired or options.threads) for one in struck)
    return good


def table(struck: Iterable[Struck]) -> str:
    """Count by kind of call: points, how many fired, how many were sound and healed."""
    rows: dict[str, list[int]] = {}
    for one in sorted(struck, key=lambda one: one.point):
        for name in (one.point.call, "all"):
            row = rows.setdefault(name, [0, 0, 0])
            for column, counts in enumerate((True, one.fired, not one.wrong)):
                row[column] += counts
    rows["all"] = rows.pop("all")
    head = f"| {'call':10} | points | fired | sound and healed |\n| --- | ---: | ---: | ---: |\n"
    return head + "\n".join(f"| {name:10} | {a:6} | {b:5} | {c:16} |" for name, (a, b, c) in rows.items())


def main() -> int:
    """Sweep as the arguments say."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--every", type=int, default=1, help="strike only at every K-th point")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--fault", choices=FAULTS, default="kill")
    parser.add_argument("--scenario", choices=SCENARIOS, action="append", help="only this one (may be repeated)")
    parser.add_argument("--twice", action="store_true", help="strike the run after as well, at any point")
    parser.add_argument("--threads", action="store_true", help="leave the program its threads")
    options = parser.parse_args()
    if STRACE is None:
        parser.error("strace is not installed")
    with tempfile.TemporaryDirectory() as folder:
        return 0 if asyncio.run(sweep_all(options, Path(folder))) else 1


if __name__ == "__main__":
    sys.exit(main())
