"""Watch an operation as lines of the log: what an operator wants to read tomorrow."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import assert_never

import structlog

from syncer.model import Failed, Finding, Gone, Outcome, Stored, Vanished
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
from syncer.operations.verification import Progress

log = structlog.get_logger()

PROGRESS_SECONDS = 30.0  # between two lines that say how far a verification is


class LogLines:
    """A line for each pass, and for each image that changed anything.

    With `quiet` what goes wrong, or does not come to anything, is left to the debug level: it has been told before.
    """

    def __init__(self, *, dry: bool, quiet: bool = False) -> None:
        self._dry = dry
        self._quiet = quiet

    def __call__(self, event: Event) -> None:
        match event:
            case PassBegan(report):
                told = log.debug if self._quiet else log.info
                told("pass.began", workspace=report.workspace_id, mode=report.mode, run=report.run)
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
                _log_outcome(outcome, quiet=self._quiet)
            case PassEnded(report):
                told = log.info if report.complete else log.debug if self._quiet else log.warning
                counts = {k: v for k, v in asdict(report).items() if isinstance(v, int | float) and k != "complete"}
                told(
                    "pass.ended",
                    workspace=report.workspace_id,
                    mode=report.mode,
                    complete=report.complete,
                    **({"why": "; ".join(report.why)} if report.why else {}),
                    **counts,
                )
            case FetchDecided() | PictureReceived():
                pass
            case _:
                assert_never(event)


def _log_outcome(outcome: Outcome, *, quiet: bool) -> None:
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
            told = log.debug if quiet else log.warning
            told("image.failed", workspace=workspace_id, image=image_id, reason=reason)
        case Gone(workspace_id, image_id):
            log.info("image.gone", workspace=workspace_id, image=image_id)
        case Vanished(workspace_id, image_id):
            log.info("image.vanished", workspace=workspace_id, image=image_id)
        case _:
            assert_never(outcome)


class FindingLines:
    """A line for each finding of a verification, and now and then one that says how far it is."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last = clock()

    def __call__(self, event: Finding | Progress) -> None:
        match event:
            case Finding():
                told = log.error if event.harm.damage else log.warning
                told("verify.found", finding=str(event.harm), path=event.path, detail=event.detail)
            case Progress() if self._clock() - self._last >= PROGRESS_SECONDS:
                self._last = self._clock()
                log.info("verify.progressed", stage=event.stage, done=event.done, bytes=event.bytes)
            case Progress():
                pass
            case _:
                assert_never(event)
