"""The manifest that is made for the moment, to hold another one to it."""

from __future__ import annotations

import pytest

from syncer.manifest.audit import Audit


async def test_doubts_come_together_or_not_at_all():
    """In one transaction: one for each of a million takes four times as long."""
    async with Audit.begin(lambda *_: True) as audit:
        with pytest.raises(UnicodeEncodeError):  # half a pair is no letter
            await audit.doubt([("ws", "a", 1), ("ws", "\ud800", 1)])

        assert await audit._call(lambda: audit._db.execute("select count(*) from doubts").fetchone()) == (0,)
