"""Killed at any step of an upload, the next run finds what became of it, and sends nothing twice.

A spread sample of the steps; `python tests/system/upload_kills.py` strikes at every one.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import upload_kills

SAMPLE = 24


@pytest.mark.slow
async def test_killed_at_a_spread_of_steps(tmp_path: Path):
    """One image at the service, one row, one file in .syncer/done, wherever it was killed."""
    if upload_kills.STRACE is None:
        (pytest.fail if os.environ.get("SYNCER_CI") else pytest.skip)("strace is not installed")
    kills = await upload_kills.prepared(tmp_path)
    chosen = kills.points[:: max(1, len(kills.points) // SAMPLE)]
    unmet, wrong = await kills.strike_all(chosen, jobs=2)

    assert len(kills.points) > SAMPLE
    assert len(unmet) < len(chosen) / 4
    assert wrong == {}
