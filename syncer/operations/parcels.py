"""The words of uploading: what is given, what became of each, what a run of it came to. Values, without I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

from syncer.errors import SyncerError, Unavailable, UnexpectedAnswer
from syncer.inbox.drop import Drop
from syncer.inbox.inbox import Inbox
from syncer.model import Upload, Workspace


@dataclass(frozen=True, slots=True)
class Parcel:
    """Something that is to come to a workspace: a file (`drop`), or an `address` that the service fetches from.

    `source` is for people, and never holds an address's query. An `inbox` is told what became of its drop.
    """

    workspace: Workspace
    source: str
    drop: Drop | None = None
    address: str | None = field(default=None, repr=False)  # it may be signed
    inbox: Inbox | None = None

    @property
    def size(self) -> int:
        """The bytes of the file as its stat says; 0 for an address."""
        return self.drop.signature.size if self.drop is not None else 0


class Kind(StrEnum):
    """What became of one parcel."""

    UPLOADED = "uploaded"  # by this run; proven
    ALREADY = "already"  # there from before; proven
    REFUSED = "refused"  # it is not going to be there, as it is
    PENDING = "pending"  # not there yet, or not proven yet: the next run goes on
    UNDECIDED = "undecided"  # it may be there, and only a person can tell


@dataclass(frozen=True, slots=True)
class Delivered:
    """What became of one parcel, and why; `upload` is what is remembered of its content, where that is known."""

    kind: Kind
    parcel: Parcel
    upload: Upload | None = None
    reason: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class UploadsBegan:
    """A run began: `bytes` is the size of all files in it together."""

    total: int
    bytes: int


@dataclass(frozen=True, slots=True)
class UploadSending:
    """A parcel is about to be sent; `size` is in bytes, 0 where the service fetches it."""

    parcel: Parcel
    size: int


UploadEvent = UploadsBegan | UploadSending | Delivered
UploadWatch = Callable[[UploadEvent], None]


@dataclass(slots=True)
class Uploads:
    """What a run of uploads came to, filled while it runs, so that one that is stopped can still be told.

    `errors` are those that are not one content's own, each told once. `paused` says by workspace id why it takes no
    more for now. `opened` is what else is open in these workspaces, of earlier times. `away` counts the parcels that
    the service could not be reached for.
    """

    run: str = ""
    delivered: list[Delivered] = field(default_factory=list)
    errors: list[SyncerError] = field(default_factory=list)
    paused: dict[str, str] = field(default_factory=dict)
    opened: list[Upload] = field(default_factory=list)
    away: int = 0
    requests: int = 0
    seconds: float = 0.0

    @property
    def complete(self) -> bool:
        """Whether all that was given is there and proven."""
        return not self.errors and all(one.kind in {Kind.UPLOADED, Kind.ALREADY} for one in self.delivered)

    @property
    def counts(self) -> dict[str, int]:
        """How many parcels of each kind, and the `bytes` that this run uploaded."""
        kinds = Counter(one.kind for one in self.delivered)
        uploaded = sum(one.parcel.size for one in self.delivered if one.kind is Kind.UPLOADED)
        return {str(kind): kinds[kind] for kind in Kind} | {"bytes": uploaded}

    @property
    def why(self) -> list[str]:
        """Why it is not complete, in plain words; empty where it is."""
        counts = self.counts
        words = {Kind.REFUSED: "refused", Kind.PENDING: "pending", Kind.UNDECIDED: "undecided"}
        return [
            *(f"{counts[kind]} {word}" for kind, word in words.items() if counts[kind]),
            *(f"uploads are paused: {reason}" for reason in dict.fromkeys(self.paused.values())),
            *(str(error) for error in self.errors),
        ]

    @property
    def exit_code(self) -> int:
        """What the shell is told."""
        if self.complete:
            return 0
        silent = all(isinstance(error, Unavailable | UnexpectedAnswer) for error in self.errors)
        if self.errors and silent and self.away == len(self.delivered):
            return Unavailable.exit_code
        return 3
