"""Say what a run of uploads came to, for each workspace: what is not there yet, why, and when to try again. No I/O."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from syncer.daemon.ends import INCOMPLETE, End
from syncer.operations.parcels import Delivered, Kind, Uploads

DECIDE = "`syncer status` shows what to decide"


def each(result: Uploads, now: datetime) -> dict[str, End]:
    """Say of each workspace that has something open why, by its id.

    A workspace that may have no more is tried again when the next day (UTC) begins, or when somebody asks for it.
    """
    ends = {}
    open_ = {upload.workspace_id for upload in result.opened}
    late = [one for one in result.delivered if one.kind in {Kind.PENDING, Kind.UNDECIDED}]
    for workspace_id in {*open_, *(one.parcel.workspace.id for one in late), *result.paused}:
        if workspace_id in result.paused:
            tomorrow = (now + timedelta(days=1)).replace(hour=0, minute=0, second=0, microsecond=0)
            text = f"uploads are paused until {tomorrow:%Y-%m-%d %H:%M} UTC: {result.paused[workspace_id]}"
            hint = "`syncer trigger --uploads` tries again at once"
            ends[workspace_id] = End(INCOMPLETE, text, hint, futile=True, until=tomorrow.timestamp())
        else:
            own = [one for one in late if one.parcel.workspace.id == workspace_id]
            ends[workspace_id] = _late(own, sum(one.workspace_id == workspace_id for one in result.opened))
    return ends


def _late(late: Sequence[Delivered], opened: int) -> End:
    undecided = sum(one.kind is Kind.UNDECIDED for one in late)
    reasons = Counter(one.reason for one in late if one.kind is Kind.PENDING and one.reason)
    pending = len(late) - undecided
    parts = [f"{pending:,} not uploaded yet" + "".join(f": {reason}" for reason, _ in reasons.most_common(1))]
    told = [*(parts if pending else []), *([f"{undecided:,} uploads to be decided"] if undecided else [])]
    text = "; ".join(told) or f"{opened:,} uploads of earlier times are open"
    hint = next((one.hint for one in late if one.hint), "") if pending else DECIDE
    return End(INCOMPLETE, text, hint, futile=True)


def summed_up(result: Uploads) -> str:
    """Say in one line what became of it all."""
    counts = Counter(one.kind for one in result.delivered)
    return ", ".join(f"{counts[kind]:,} {kind}" for kind in Kind if counts[kind]) or "nothing to upload"
