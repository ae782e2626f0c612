"""Rebuild a manifest in this process, and read all of one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support import rows
from verifying import settings_for

from syncer import app
from syncer.model import Finding
from syncer.operations.rebuild import Rebuilt, rebuild

TABLES = ("workspaces", "images", "revisions", "failures", "losses", "verifications", "runs", "uploads")


def tables(archive: Path, *without: str) -> dict[str, list[dict[str, Any]]]:
    """All rows of all tables."""
    return {
        table: sorted(rows(archive, table), key=lambda row: [str(value) for value in row.values()])
        for table in TABLES
        if table not in without
    }


async def rebuilt(archive: Path) -> tuple[Rebuilt, list[Finding]]:
    """Rebuild an archive's manifest."""
    result, findings = Rebuilt(), []
    async with app.held(settings_for(archive), "rebuild") as (opened, journal, run):
        await rebuild(opened, journal, run, lambda e: findings.append(e) if isinstance(e, Finding) else None, result)
    return result, findings
