"""How far a backup is, as progress bars on a terminal. What is drawn with is imported here alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import assert_never

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn

from syncer.cli.output import clean, err, size
from syncer.model import Failed
from syncer.operations.events import (
    Event,
    FetchDecided,
    GoneDecided,
    PageListed,
    PassBegan,
    PassEnded,
    PictureReceived,
    Settled,
)


@contextmanager
def bars() -> Iterator[Bars]:
    """Draw on stderr for the block, and leave nothing of it there."""
    with Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        console=err,
        transient=True,
    ) as progress:
        yield Bars(progress)


class Bars:
    """One bar a workspace: images that are settled or on their way to it, pages, bytes, rate and time left."""

    def __init__(self, progress: Progress, clock: Callable[[], float] = time.monotonic) -> None:
        self._progress = progress
        self._clock = clock
        self._task: TaskID | None = None
        self._total: int | None = None
        self._place = ""
        self._began = 0.0
        self._arrived = self._failed = self._bytes = 0

    def __call__(self, event: Event) -> None:
        match event:
            case PassBegan(report):
                self._began, self._total, self._place = self._clock(), None, ""
                self._arrived = self._failed = self._bytes = 0
                self._task = self._progress.add_task(f"[bold]{clean(report.name)}[/]", total=None, note="")
            case PageListed(report, page, sweep, total):
                self._total = total
                self._place = f"page {page}" if sweep == 0 else f"page {page}, reading again ({sweep + 1})"
                self._show(report.unchanged)
            case PictureReceived(report, count):
                self._arrived += 1
                self._bytes += count
                self._show(report.unchanged)
            case Settled(Failed()):
                self._failed += 1
            case PassEnded():
                if self._task is not None:
                    self._progress.remove_task(self._task)
                self._task = None
            case FetchDecided() | GoneDecided() | Settled():
                pass
            case _:
                assert_never(event)

    def _show(self, unchanged: int) -> None:
        if self._task is None:
            return
        seconds = max(self._clock() - self._began, 0.001)
        done = unchanged + self._arrived + self._failed
        parts = [self._place, size(self._bytes), f"{size(int(self._bytes / seconds))}/s"]
        if self._total and self._arrived and (left := self._total - done) > 0:
            parts.append(f"{timedelta(seconds=round(left * seconds / done))} left")
        self._progress.update(self._task, completed=done, total=max(self._total or 0, done), note=" · ".join(parts))
