"""The words of uploads: how far a content has come on its way to a workspace, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class UploadState(StrEnum):
    """How far a content has come on its way to a workspace.

    Nothing is sent from any state but none at all, `UNSENT` and `REFUSED`: sent twice, it would be there twice.
    """

    INTENDED = "intended"  # about to be sent; where a crash leaves it so, it may have been
    UNSENT = "unsent"  # nothing arrived: it may be sent (again)
    UNKNOWN = "unknown"  # sent, and not answered: to be looked for
    UNDECIDED = "undecided"  # looked for, and nobody but a person can tell
    UPLOADED = "uploaded"  # the service has made an image of it, which is not proven yet
    DONE = "done"  # proven: the service serves these bytes
    REENCODED = "reencoded"  # proven: the service serves the same picture in other bytes
    REFUSED = "refused"  # by the service, or what it made of it is another picture

    @property
    def settled(self) -> bool:
        """Whether it is there, proven: it is never sent again."""
        return self in {UploadState.DONE, UploadState.REENCODED}

    @property
    def open(self) -> bool:
        """Whether it may be there, and something is still to be done about it."""
        return self in {UploadState.INTENDED, UploadState.UNKNOWN, UploadState.UNDECIDED, UploadState.UPLOADED}


@dataclass(frozen=True, slots=True)
class Upload:
    """What became of one content that is meant for one workspace; the two together are its key.

    `sha256` is of the file's bytes, or of the address in UTF-8 for what the service fetches itself; `source` is the
    file's name as it was first seen, or the address without its query. `at` is when it came to this state.
    `served_sha256` is of the bytes that the service serves for `image_id`.
    """

    workspace_id: str
    sha256: str
    state: UploadState
    source: str
    size: int | None
    intended_at: str
    at: str
    image_id: str | None = None
    served_sha256: str | None = None
    reason: str | None = None
