"""Three ways to watch an operation: progress bars for a person, log lines for a journal, JSON lines for a program."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from syncer.cli.output import data, interactive
from syncer.model import Failed, Gone, Outcome, Stored, Vanished
from syncer.operations.events import Event, FetchDecided, GoneDecided, PassEnded, Settled, Watch
from syncer.operations.loglines import LogLines


@contextmanager
def watching(*, json: bool, dry: bool = False) -> Iterator[Watch]:
    """Choose what fits where we run: bars on a terminal, else log lines; JSON lines besides, if asked for."""
    watchers: list[Watch] = []
    if json:
        watchers.append(JsonLines(dry=dry))
    if interactive():
        from syncer.cli.bars import bars

        with bars() as watch:
            yield _all([*watchers, watch])
    else:
        yield _all([*watchers, LogLines(dry=dry)])


def _all(watchers: Sequence[Watch]) -> Watch:
    def watch(event: Event) -> None:
        for watcher in watchers:
            watcher(event)

    return watch


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
