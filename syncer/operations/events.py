"""What an operation tells whoever watches it: the progress bars, the log, the JSON lines."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from syncer.model import Fetch, Outcome, Report


@dataclass(frozen=True, slots=True)
class PassBegan:
    """A pass over one workspace began."""

    report: Report


@dataclass(frozen=True, slots=True)
class PageListed:
    """A page of the listing was read; `total` is what the service says the workspace holds."""

    report: Report
    page: int
    sweep: int
    total: int | None


@dataclass(frozen=True, slots=True)
class FetchDecided:
    """An image is going to be fetched (in a dry run: would be)."""

    action: Fetch


@dataclass(frozen=True, slots=True)
class GoneDecided:
    """In a dry run: an image that would be marked gone."""

    workspace_id: str
    image_id: str


@dataclass(frozen=True, slots=True)
class PictureReceived:
    """The bytes of one picture have arrived and hold what they promise; they are not durable yet."""

    report: Report
    size: int


@dataclass(frozen=True, slots=True)
class Settled:
    """An outcome is durable: bytes on disk, journal flushed, rows written."""

    outcome: Outcome


@dataclass(frozen=True, slots=True)
class PassEnded:
    """A pass over one workspace ended, well or not."""

    report: Report


Event = PassBegan | PageListed | FetchDecided | GoneDecided | PictureReceived | Settled | PassEnded
Watch = Callable[[Event], None]
