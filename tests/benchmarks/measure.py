"""Run a command as a whole process and say what it cost; pair rounds of several, and print the ratios."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Cost:
    """Seconds on the wall and of processors, the peak of memory of its largest process in bytes, requests served."""

    wall: float
    cpu: float
    memory: int
    requests: int = 0


def run(command: Sequence[str | os.PathLike[str]], *, requests: Callable[[], int] = lambda: 0) -> Cost:
    """Run a command to its end; raises `RuntimeError` with what it said if it fails."""
    launcher = [sys.executable, "-I", "-S", Path(__file__).with_name("launch.py")]
    with tempfile.NamedTemporaryFile() as report:
        before = requests()
        ran = subprocess.run(
            [*launcher, report.name, *command],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            check=False,
            # What is installed is compiled; where nothing may be, each start would compile all of ours anew.
            env={name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"},
        )
        if ran.returncode:
            raise RuntimeError(f"{command[0]} ended with {ran.returncode}: {ran.stderr.decode()[-2000:]}")
        wall, cpu, memory = json.load(report)
    return Cost(wall, cpu, memory, requests() - before)


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
        ratio = "–" if name == ours else spread(m.wall / i.wall for m, i in zip(costs[ours], all_, strict=True))
        lines.append(
            f"| {name} | {_median(c.wall for c in all_):.2f} | {_median(c.cpu for c in all_):.2f} "
            f"| {max(c.memory for c in all_) / 1e6:.0f} | {max(c.requests for c in all_)} | {ratio} |"
        )
    return "\n".join(lines)


def spread(values: Iterable[float]) -> str:
    """Write a median with the least and the greatest of its values."""
    all_ = list(values)
    return f"{statistics.median(all_):.2f} ({min(all_):.2f}–{max(all_):.2f})"


def say(text: str) -> None:
    """Tell whoever waits how far it is."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _median(values: Iterable[float]) -> float:
    return statistics.median(values)
