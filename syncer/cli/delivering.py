"""How uploads are told: bars for a person, JSON lines for a program, and in words what they came to.

Where nobody watches, the operation's own lines of the log tell what happens to each file.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, assert_never

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Column

from syncer.cli.output import clean, complain, data, err, interactive, say, size
from syncer.cli.unsettled import to_settle, unsettled
from syncer.model import Upload, UploadState, Workspace
from syncer.operations.parcels import (
    Delivered,
    Kind,
    Parcel,
    UploadEvent,
    Uploads,
    UploadsBegan,
    UploadSending,
    UploadWatch,
)
from syncer.redaction import redact

if TYPE_CHECKING:
    from syncer.errors import SyncerError
    from syncer.manifest.reader import Row

SHOWN = 20
THERE = frozenset({Kind.UPLOADED, Kind.ALREADY})
MARKS = {
    Kind.UPLOADED: "[green]✓[/]",
    Kind.ALREADY: "[green]✓[/]",
    Kind.REFUSED: "[bold red]✗[/]",
    Kind.PENDING: "[yellow]…[/]",
    Kind.UNDECIDED: "[bold yellow]?[/]",
}
WORDS = {Kind.ALREADY: "there already", Kind.PENDING: "not yet"}
STOPPED = frozenset({130, 143})


@contextmanager
def delivering(*, json: bool, dry: bool) -> Iterator[UploadWatch]:
    """Choose what fits where we run: a bar, and a line for each file that is there, on a terminal; JSON besides."""
    watchers: list[UploadWatch] = [JsonLines(dry=dry)] if json else []

    def watch(event: UploadEvent) -> None:
        for watcher in watchers:
            watcher(event)

    if not interactive():
        yield watch
        return
    with drawn(err) as progress:
        watchers.append(Bar(progress, silent=dry))
        yield watch


def drawn(console: Console) -> Progress:
    """Lay out what `Bar` fills."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),  # the last to be cut where there is little room
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=True,
    )


class Bar:
    """Files that have come to an end, bytes, rate, time left; unless `silent`, a line for each file that is there.

    All of it fits into 80 columns.
    """

    def __init__(
        self, progress: Progress, *, silent: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._progress = progress
        self._silent = silent
        self._clock = clock
        self._began = clock()
        self._task = progress.add_task("Uploading", total=None, note="")
        self._all = self._bytes = 0
        self._under_way: set[int] = set()  # one may be sent several times: what never arrived is sent again

    def __call__(self, event: UploadEvent) -> None:
        match event:
            case UploadsBegan(total, count):
                self._all, self._began = count, self._clock()
                self._progress.update(self._task, total=total)
            case UploadSending(parcel):
                self._under_way.add(id(parcel))
            case Delivered():
                self._bytes += event.parcel.size
                self._under_way.discard(id(event.parcel))
                self._progress.advance(self._task)
                if event.kind in THERE and not self._silent:
                    say(line(event))
            case _:
                assert_never(event)
        self._progress.update(self._task, note=self._note())

    def _note(self) -> str:
        if not self._bytes:  # addresses have none that are known, and the first file may take long
            return f"{len(self._under_way)} under way" if self._under_way else ""
        rate = self._bytes / max(self._clock() - self._began, 0.001)
        parts = [f"{size(self._bytes)} of {size(self._all)}", f"{size(int(rate))}/s"]
        if (left := self._all - self._bytes) > 0:
            parts.append(f"{timedelta(seconds=round(left / rate))} left")
        return " · ".join(parts)


class JsonLines:
    """A line for each file or address."""

    def __init__(self, *, dry: bool) -> None:
        self._dry = dry

    def __call__(self, event: UploadEvent) -> None:
        if isinstance(event, Delivered):
            data(as_json(event, dry=self._dry))


def as_json(one: Delivered, *, dry: bool) -> dict[str, object]:
    """Make the JSON line of what became of one parcel; `would` instead of `outcome` in a dry run."""
    row = one.upload
    return {
        "type": "upload",
        "workspace": one.parcel.workspace.id,
        "source": one.parcel.source,
        "would" if dry else "outcome": one.kind,
        "sha256": row and row.sha256,
        "image": row and row.image_id,
        "bytes": one.parcel.size if one.parcel.drop is not None else row and row.size,
        "reencoded": row is not None and row.state is UploadState.REENCODED,
        "reason": redact(one.reason),
        "hint": redact(one.hint),
    }


def line(one: Delivered, *, dry: bool = False) -> str:
    """Write what became of one parcel for people."""
    told = [WORDS.get(one.kind, str(one.kind))]
    if dry and one.kind is Kind.UPLOADED:
        told = ["would be uploaded"]
    if one.parcel.drop is not None:
        told[0] += f" ({size(one.parcel.size)})"
    if one.upload is not None and one.upload.image_id is not None:
        told.append(f"image {one.upload.image_id}")
    if one.upload is not None and one.upload.state is UploadState.REENCODED:
        told.append("re-encoded by the service")
    reason = f": {clean(redact(one.reason))}" if one.reason and one.kind not in THERE else ""
    return f"{MARKS[one.kind]} [bold]{clean(one.parcel.source)}[/]  {clean(', '.join(told))}{reason}"


def tell(result: Uploads, code: int, error: SyncerError | None, *, dry: bool) -> None:
    """Say what it all came to: what is not there, why, and what to do; in a dry run, all that would be done."""
    for one in result.delivered if dry else ():
        if one.kind in THERE:
            say(line(one, dry=True))
    left = sorted((one for one in result.delivered if one.kind not in THERE), key=lambda one: one.kind is Kind.PENDING)
    told = ""
    for one in left[:SHOWN]:
        say(line(one, dry=dry))
        if one.kind is Kind.UNDECIDED and one.upload is not None:
            for way in to_settle(one.upload.workspace_id, one.upload.sha256, one.upload.image_id):
                say(way)
        elif one.hint and one.hint != told:  # what goes for many is said once
            say(f"      [bold]→[/] {clean(redact(one.hint))}")
            told = one.hint
    if len(left) > SHOWN:
        say(f"… and {len(left) - SHOWN} more; --json tells of each")
    names = {one.parcel.workspace.id: one.parcel.workspace.name for one in result.delivered}
    for below in unsettled([_row(upload) for upload in result.opened], names):
        say(below)
    for trouble in _all(result, error):
        complain(trouble)
    _sum_up(result, code, dry=dry, broken=error is not None)


def _sum_up(result: Uploads, code: int, *, dry: bool, broken: bool) -> None:
    counts = result.counts
    some = f" ({size(counts['bytes'])})" if counts["bytes"] else ""  # not known of addresses
    words = {Kind.UPLOADED: f"would be uploaded{some}" if dry else f"uploaded{some}"} | WORDS
    parts = [f"{counts[kind]:,} {words.get(kind, kind)}" for kind in Kind if counts[kind]]
    told = ", ".join(parts) or "nothing came to an end"
    if code in STOPPED:
        say(f"[bold yellow]Stopped.[/] {told}; what is finished is kept, run the same command again to go on.")
    elif dry and not broken:
        say(f"[bold]Dry run:[/] {told}; nothing was sent or written.")
    elif code == 0:
        say(f"[bold green]Complete.[/] {told}, after {result.seconds:.1f} s; the service was seen to serve each.")
    elif result.delivered:
        on = " Run the same command again to go on." if counts[Kind.PENDING] else ""
        say(f"[bold yellow]Not complete.[/] {told}.{on} Exit code {code}.")


def decided(workspace: Workspace, upload: Upload) -> Delivered:
    """Say in the words of deliveries what has become of an upload that a person has settled."""
    kind = {UploadState.REFUSED: Kind.REFUSED, UploadState.UNDECIDED: Kind.UNDECIDED}.get(upload.state, Kind.PENDING)
    kind = Kind.UPLOADED if upload.state.settled else kind
    return Delivered(kind, Parcel(workspace, upload.source), upload, upload.reason or "")


def tell_decided(one: Delivered, *, json: bool) -> int:
    """Say what has become of an upload that a person has settled; returns the exit code."""
    assert one.upload is not None  # noqa: S101  it is what was settled
    lost = one.upload.state is UploadState.UNSENT
    if json:
        data(as_json(one, dry=False))
    if lost:
        say(f"{MARKS[Kind.UPLOADED]} [bold]{clean(one.parcel.source)}[/]  counts as never sent")
        say("      [bold]→[/] upload it, or drop it into the watch folder, once more")
    else:
        say(line(one))
    return 0 if lost or one.kind is Kind.UPLOADED else 3


def summary(result: Uploads, code: int, error: SyncerError | None, *, dry: bool) -> dict[str, object]:
    """Make the summary line."""
    why = result.why + ([text] if error is not None and (text := str(error)) not in result.why else [])
    why += ["stopped before the end"] if code in STOPPED else []
    return {
        "type": "summary",
        "command": "upload",
        "run": result.run,
        "dry_run": dry,
        **result.counts,
        "open": len(result.opened),
        "requests": result.requests,
        "seconds": result.seconds,
        "complete": result.complete and code == 0,
        "why": [redact(text) for text in why],
        "exit_code": code,
    }


def _all(result: Uploads, error: SyncerError | None) -> list[SyncerError]:
    """Everything that went wrong, what ended the run included."""
    return result.errors if error is None or error in result.errors else [*result.errors, error]


def _row(upload: Upload) -> Row:
    """Make of an upload what the manifest's row of it tells."""
    return {
        "workspace_id": upload.workspace_id,
        "sha256": upload.sha256,
        "state": upload.state,
        "source": upload.source,
        "bytes": upload.size,
        "image_id": upload.image_id,
        "reason": upload.reason,
        "intended_at": upload.intended_at,
    }
