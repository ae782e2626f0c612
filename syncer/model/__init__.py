"""The words of syncer as values: what the service shows, what we keep, what we decide, what happened.

Plain frozen dataclasses without behaviour that touches the outside. `updated_at` is opaque: kept as it was
received, compared for inequality only, since the documentation does not promise a clock that only goes forward.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum

from syncer.model.uploads import Upload as Upload  # it is one of the changes
from syncer.model.uploads import UploadState as UploadState

# --- what the service shows ---------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Workspace:
    """One workspace as the workspace service shows it."""

    id: str
    name: str | None = None


@dataclass(frozen=True, slots=True)
class Image:
    """One image as the service shows it; `document` is the service's own JSON, byte for byte.

    The one exception to "byte for byte": values of signature parameters in signed URLs are blanked on entry,
    because they are credentials. `content` is the link exactly as received, which may be relative or nonsense.
    """

    id: str
    workspace_id: str
    updated_at: str | None
    created_at: str | None = None
    prompt: str | None = None
    model: str | None = None
    created_by: str | None = None
    generation_id: str | None = None
    width: int | None = None
    height: int | None = None
    size: int | None = None
    content: str | None = None
    document: bytes = b"{}"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row of a listing that cannot be read; `name` is its id where one could be made out, else `?` and a digest."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class ImagePage:
    """One page of a listing. `rows` counts what the service sent, before any judgement; totals are its own claims."""

    images: tuple[Image, ...]
    unreadable: tuple[Unreadable, ...] = ()
    rows: int = 0
    total: int | None = None
    pages: int | None = None
    number: int | None = None
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """The body of one picture on its way to us. Reading `chunks` may raise `Unavailable` or `Damaged`.

    `length` is the number of bytes that the answer's header promises (None: not said), `media_type` what it
    declares, `digests` the hashes that its headers state, by algorithm (`md5`, `crc32c`, `sha256`), as raw bytes.
    """

    chunks: AsyncIterator[bytes]
    length: int | None = None
    media_type: str | None = None
    digests: Mapping[str, bytes] = field(default_factory=dict)


# --- what we keep -------------------------------------------------------------------------------------


class State(StrEnum):
    """Whether the service still has the image. We keep it either way."""

    LIVE = "live"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Entry:
    """What the manifest remembers of one image: the newest revision of it that we hold."""

    image_id: str
    state: State
    revision: int
    updated_at: str | None
    sha256: str
    size: int
    media_type: str
    path: str  # of the file that holds the bytes, relative to the archive, with "/"
    sidecar: str  # of the newest revision's sidecar, likewise; it also fixes the folder of later revisions


@dataclass(frozen=True, slots=True)
class Revision:
    """What we kept of an image at one time. `path` and `sidecar` are relative to the archive, with "/"."""

    workspace_id: str
    image_id: str
    number: int
    sha256: str
    size: int
    media_type: str
    path: str
    sidecar: str
    fetched_at: str
    run: str
    document: bytes


# --- what we decide -----------------------------------------------------------------------------------


class Reason(StrEnum):
    """Why an image is fetched."""

    NEW = "new"
    CHANGED = "changed"
    RETURNED = "returned"


@dataclass(frozen=True, slots=True)
class Keep:
    """The image is as we remember it: nothing to do, no request."""

    image: Image


@dataclass(frozen=True, slots=True)
class Fetch:
    """The image's bytes and document are to be fetched; `entry` is what we hold of it so far."""

    image: Image
    reason: Reason
    entry: Entry | None = None


Action = Keep | Fetch


# --- what happened ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stored:
    """An image's bytes and document are durably in the archive. `notes` is what an auditor may wonder about."""

    image: Image
    revision: Revision
    reason: Reason
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """An image that we owe: it is tried first on the next run, until it is made good."""

    workspace_id: str
    image_id: str
    reason: str
    at: str


@dataclass(frozen=True, slots=True)
class Gone:
    """The service deleted an image that we hold. Its files stay."""

    workspace_id: str
    image_id: str
    at: str


@dataclass(frozen=True, slots=True)
class Vanished:
    """The service deleted an image before we could copy it; nothing is owed any more."""

    workspace_id: str
    image_id: str
    at: str


Outcome = Stored | Failed | Gone | Vanished


@dataclass(frozen=True, slots=True)
class Introduced:
    """A workspace was seen for the first time, or under another name. Its folder stays the first one."""

    workspace_id: str
    name: str | None
    folder: str


@dataclass(frozen=True, slots=True)
class Hole:
    """Whether known ground can (not) be trusted for a workspace: a pass may have ended before it settled all."""

    workspace_id: str
    open: bool


@dataclass(frozen=True, slots=True)
class Forgiven:
    """A debt that cannot be owed any more: what failed is not to be found under that name."""

    workspace_id: str
    image_id: str


@dataclass(frozen=True, slots=True)
class Found:
    """A whole pair in the archive of which nothing told; it counts as the image's newest only if it is."""

    image: Image
    revision: Revision


@dataclass(frozen=True, slots=True)
class Lost:
    """A kept file that is damaged or missing, and that the service has no more. Told for ever in `status`."""

    workspace_id: str
    image_id: str
    revision: int
    path: str
    reason: str
    at: str


@dataclass(frozen=True, slots=True)
class Repaired:
    """A damaged or missing file was put back as it was; `evidence` is where the damaged one lies, if there was one."""

    workspace_id: str
    image_id: str
    revision: int
    path: str
    evidence: str | None
    at: str


@dataclass(frozen=True, slots=True)
class Verified:
    """A verification came to its end: what of the archive it looked at, and what it found.

    `part` of `parts` says which images; `quick` that no byte was hashed, `resumed` that an earlier, interrupted one had
    hashed some of the pictures. `files` were looked at, `size` bytes of them read. `findings` counts them by the value
    of their `Harm`; `damage` counts those that are damage, the interrupted one's among them.
    """

    part: int
    parts: int
    quick: bool
    resumed: bool
    files: int
    size: int
    damage: int
    findings: Mapping[str, int]
    at: str


# All that the manifest can learn.
Change = Outcome | Introduced | Hole | Forgiven | Found | Lost | Repaired | Verified | Upload


@dataclass(frozen=True, slots=True)
class Read:
    """What a pass saw of a workspace whose listing was proven whole; no row changes with it.

    `images` is how many were listed, `ids_sha256` the hash over their sorted ids in UTF-8, each ended by a line feed.
    `complete` says whether the pass was.
    """

    workspace_id: str
    mode: str
    images: int
    ids_sha256: str
    complete: bool


@dataclass(slots=True)
class Report:
    """What one pass over one workspace came to. `listed = new + changed + unchanged + filtered + failed` holds.

    `why` says in plain words why a pass is not complete; `owed` counts the failures that stand after it.
    """

    workspace_id: str = ""
    name: str = ""
    mode: str = "full"
    run: str = ""
    started: str = ""
    ended: str = ""
    listed: int = 0
    new: int = 0
    changed: int = 0
    unchanged: int = 0
    filtered: int = 0
    failed: int = 0
    gone: int = 0
    restored: int = 0
    vanished: int = 0
    owed: int = 0
    bytes: int = 0
    requests: int = 0
    seconds: float = 0.0
    complete: bool = False
    why: list[str] = field(default_factory=list)


# --- what a look at the bytes finds --------------------------------------------------------------------


class Harm(StrEnum):
    """What can be wrong with an archive. The last two are no damage: what a crash leaves, and the next backup mends."""

    CORRUPT = "corrupt"
    MISSING = "missing"
    STRAY = "stray"
    UNREADABLE = "unreadable"
    SIDECAR = "altered_sidecar"
    CHAIN = "broken_chain"
    MARKER = "marker"
    MANIFEST = "manifest"
    UNRECORDED = "unrecorded"
    BEHIND = "behind"

    @property
    def damage(self) -> bool:
        """Whether something has been lost or altered."""
        return self not in {Harm.UNRECORDED, Harm.BEHIND}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be: what, where (relative to the archive, with "/"), and how it shows."""

    harm: Harm
    path: str
    detail: str
    workspace_id: str | None = None
    image_id: str | None = None
    revision: int | None = None


def moment(text: object) -> datetime | None:
    """Read a timestamp of the service as a UTC time; None for what is not one.

    The documentation shows `2024-01-15T10:30:00Z` and leaves fractions and offsets open, so all of ISO 8601
    that the standard library reads is taken; a time without an offset is UTC.
    """
    if not isinstance(text, str):
        return None
    try:
        read = datetime.fromisoformat(text.strip())
        if read.tzinfo is UTC:
            return read
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
