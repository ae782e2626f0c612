"""Say in one line for people how the daemon stands. No I/O: a line is made of what it is given."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from syncer.daemon.queue import Batch
from syncer.daemon.schedule import Job, Work
from syncer.daemon.snapshot import Cause
from syncer.daemon.troubles import Trouble
from syncer.model import Report
from syncer.operations.verification import Progress

NAMES = {Work.FULL: "full pass", Work.QUICK: "quick pass", Work.VERIFY: "verification", Work.UPLOAD: "upload"}


def standing(
    *,
    paused: bool,
    running: Batch | None,
    progress: Report | Progress | None,
    trouble: Trouble | None,
    again: datetime | None,
    last_good: datetime | None,
    following: Mapping[Job, datetime],
    refused: str,
    only_uploads: bool,
) -> str:
    """Write what the service manager shows: what is being done or wrong, and what comes next.

    With `only_uploads` no passes are made, so none is missed.
    """
    parts = []
    if refused:
        parts.append(f"The changed configuration was refused: {refused}")
    if trouble is not None and trouble.cause is not Cause.CONFIGURATION:
        parts.append(f"Degraded since {_time(trouble.since)}: {trouble.text}")
    if running is not None:
        parts.append(_doing(running, progress))
    elif again is not None and not paused:
        parts.append(f"trying again at {_time(again)}")
    elif trouble is None:
        parts.append("Paused" if paused else "Idle")
    if running is None:
        if not only_uploads:
            parts.append(f"last good run {_time(last_good)}" if last_good else "no good run yet")
        if paused:
            parts.append("`syncer resume` goes on" if "Paused" in parts else "paused: `syncer resume` goes on")
        elif only_uploads:
            parts.append("waits for files in the watch folders")
        elif not following:
            parts.append("nothing is scheduled")
        elif again is None:
            job, time = min(following.items(), key=lambda item: item[1])
            parts.append(f"next {NAMES[job.work]} {_time(time)}")
    return "; ".join(parts)


def _doing(running: Batch, progress: Report | Progress | None) -> str:
    name = NAMES[running.work].capitalize()
    match progress:
        case Report():
            done = f"{progress.listed:,} listed, {progress.new + progress.changed:,} copied"
            return f"{name} over {progress.name}: {done}, {progress.failed:,} failed"
        case Progress():
            return f"{name}: {progress.stage} {progress.done:,}"
        case None:
            return f"{name} begins"


def _time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M:%S} UTC"
