"""Three ways to watch an operation: progress bars for a person, log lines for a journal, JSON lines for a program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import assert_never

import structlog
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from syncer.cli.output import clean, data, err, interactive, size
from syncer.model import Failed, Gone, Outcome, Report, Stored, Vanished
from syncer.operations.events import (
    Event,
    FetchDecided,
    GoneDecided,
    PageListed,
    PassBegan,
    PassEnded,
    PictureReceived,
    Settled,
    Watch,
)

log = structlog.get_logger()


@contextmanager
def watching(*, json: bool, dry: bool = False) -> Iterator[Watch]:
    """Choose what fits where we run: bars on a terminal, else log lines; JSON lines besides, if asked for."""
    watchers: list[Watch] = []
    if json:
        watchers.append(JsonLines(dry=dry))
    if interactive():
        with Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(compact=True),
            console=err,
            transient=True,
        ) as progress:
            yield _all([*watchers, Bars(progress)])
    else:
        yield _all([*watchers, LogLines(dry=dry)])


def _all(watchers: Sequence[Watch]) -> Watch:
    def watch(event: Event) -> None:
        for watcher in watchers:
            watcher(event)

    return watch


class Bars:
    """Pages, pictures, bytes, rate and time left, a pair of bars a workspace."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._pages: TaskID | None = None
        self._pictures: TaskID | None = None
        self._wanted = self._arrived = self._bytes = 0

    def __call__(self, event: Event) -> None:
        match event:
            case PassBegan(report):
                self._begin(report)
            case PageListed(report, _, sweep, total):
                again = f"sweep {sweep}" if sweep > 1 else ""
                self._set(self._pages, completed=report.listed + self._wanted - self._arrived, total=total, note=again)
            case FetchDecided():
                self._wanted += 1
                self._show()
            case PictureReceived(_, count):
                self._arrived += 1
                self._bytes += count
                self._show()
            case PassEnded():
                for task in (self._pages, self._pictures):
                    if task is not None:
                        self._progress.remove_task(task)
                self._pages = self._pictures = None
            case GoneDecided() | Settled():
                pass
            case _:
                assert_never(event)

    def _begin(self, report: Report) -> None:
        self._wanted = self._arrived = self._bytes = 0
        name = clean(report.name)
        self._pages = self._progress.add_task(f"[bold]{name}[/]  listed  ", total=None, note="")
        self._pictures = self._progress.add_task(f"[bold]{name}[/]  pictures", total=None, note="")

    def _show(self) -> None:
        speed = next((t.finished_speed or t.speed for t in self._progress.tasks if t.id == self._pictures), None)
        mean = self._bytes / self._arrived if self._arrived else 0
        rate = f"{size(int(mean * speed))}/s" if speed else ""
        self._set(self._pictures, completed=self._arrived, total=self._wanted, note=f"{size(self._bytes)}  {rate}")

    def _set(self, task: TaskID | None, *, completed: int, total: int | None, note: str) -> None:
        if task is not None:
            self._progress.update(task, completed=completed, total=total, note=note)


class LogLines:
    """What an operator wants to read tomorrow."""

    def __init__(self, *, dry: bool) -> None:
        self._dry = dry

    def __call__(self, event: Event) -> None:
        match event:
            case PassBegan(report):
                log.info("pass.began", workspace=report.workspace_id, mode=report.mode, run=report.run or None)
            case PageListed(report, page, sweep, total):
                log.debug("page.listed", workspace=report.workspace_id, page=page, sweep=sweep, total=total)
            case FetchDecided(action) if self._dry:
                log.info(
                    "image.would_fetch",
                    workspace=action.image.workspace_id,
                    image=action.image.id,
                    reason=action.reason,
                )
            case GoneDecided(workspace_id, image_id):
                log.info("image.would_be_gone", workspace=workspace_id, image=image_id)
            case Settled(outcome):
                _log_outcome(outcome)
            case PassEnded(report):
                told = log.info if report.complete else log.warning
                counts = {k: v for k, v in asdict(report).items() if isinstance(v, int | float) and k != "complete"}
                told(
                    "pass.ended",
                    workspace=report.workspace_id,
                    complete=report.complete,
                    why="; ".join(report.why) or None,
                    **counts,
                )
            case FetchDecided() | PictureReceived():
                pass
            case _:
                assert_never(event)


def _log_outcome(outcome: Outcome) -> None:
    match outcome:
        case Stored(image, revision, reason, notes):
            log.info(
                f"image.{'stored' if reason == 'new' else reason}",
                workspace=image.workspace_id,
                image=image.id,
                revision=revision.number,
                bytes=revision.size,
                sha256=revision.sha256,
                **({"notes": list(notes)} if notes else {}),
            )
        case Failed(workspace_id, image_id, reason):
            log.warning("image.failed", workspace=workspace_id, image=image_id, reason=reason)
        case Gone(workspace_id, image_id):
            log.info("image.gone", workspace=workspace_id, image=image_id)
        case Vanished(workspace_id, image_id):
            log.info("image.vanished", workspace=workspace_id, image=image_id)
        case _:
            assert_never(outcome)


class JsonLines:
    """A line for each image that changed anything, and one for each workspace."""

    def __init__(self, *, dry: bool) -> None:
        self._dry = dry

    def __call__(self, event: Event) -> None:
        match event:
            case FetchDecided(action) if self._dry:
                image = action.image
                data({"type": "image", "workspace": image.workspace_id, "image": image.id, "would": str(action.reason)})
            case GoneDecided(workspace_id, image_id):
                data({"type": "image", "workspace": workspace_id, "image": image_id, "would": "gone"})
            case Settled(outcome):
                data({"type": "image", **_line(outcome)})
            case PassEnded(report):
                data({"type": "workspace", **asdict(report)})
            case _:
                pass


def _line(outcome: Outcome) -> dict[str, object]:
    match outcome:
        case Stored(image, revision, reason, notes):
            return {
                "workspace": image.workspace_id,
                "image": image.id,
                "outcome": str(reason),
                "revision": revision.number,
                "sha256": revision.sha256,
                "bytes": revision.size,
                "path": revision.path,
                "notes": list(notes),
            }
        case Failed(workspace_id, image_id, reason):
            return {"workspace": workspace_id, "image": image_id, "outcome": "failed", "reason": reason}
        case Gone(workspace_id, image_id):
            return {"workspace": workspace_id, "image": image_id, "outcome": "gone"}
        case Vanished(workspace_id, image_id):
            return {"workspace": workspace_id, "image": image_id, "outcome": "vanished"}
