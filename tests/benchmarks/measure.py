"""Run a command as a whole process and say what it cost; pair rounds of several, and print the ratios."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Seconds on the wall and of processors, the peak of memory of its largest process in bytes, requests served."""

    wall: float
    cpu: float
    memory: int
    requests: int = 0


def run(command: Sequence[str | os.PathLike[str]], *, requests: Callable[[], int] = lambda: 0) -> Cost:
    """Run a command to its end; raises `RuntimeError` with what it said if it fails."""
    before, started = requests(), time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - started
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}: {said.decode()[-2000:]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, requests() - before)


def rounds(count: int, work: Mapping[str, Callable[[], Cost]]) -> dict[str, list[Cost]]:
    """Do each work so many times, in turn, so that what the machine does meanwhile meets all of them."""
    costs: dict[str, list[Cost]] = {name: [] for name in work}
    for number in range(count):
        order = list(work) if number % 2 == 0 else list(reversed(work))
        for name in order:
            costs[name].append(work[name]())
            say(f"  round {number + 1}: {name} {costs[name][-1].wall:.2f} s")
    return costs


def table(costs: Mapping[str, Sequence[Cost]], ours: str) -> str:
    """Write medians, and our paired ratios to each of the others with their spread, as a table in Markdown."""
    lines = ["| what | wall s | CPU s | peak MB | requests | ours / it |", "| --- | --- | --- | --- | --- | --- |"]
    for name, all_ in costs.items():
        pairs = [mine.wall / its.wall for mine, its in zip(costs[ours], all_, strict=True)]
        ratio = "–" if name == ours else f"{statistics.median(pairs):.2f} ({min(pairs):.2f}–{max(pairs):.2f})"
        lines.append(
            f"| {name} | {_median(c.wall for c in all_):.2f} | {_median(c.cpu for c in all_):.2f} "
            f"| {max(c.memory for c in all_) / 1e6:.0f} | {max(c.requests for c in all_)} | {ratio} |"
        )
    return "\n".join(lines)


def say(text: str) -> None:
    """Tell whoever waits how far it is."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _median(values: object) -> float:
    return statistics.median(values)  # type: ignore[call-overload, no-any-return]
