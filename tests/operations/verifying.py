"""Run a verification in this process and keep what it told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syncer import app
from syncer.archive import journal
from syncer.archive.journal import JournalLine
from syncer.archive.layout import stamp
from syncer.model import Finding, Verified
from syncer.operations import recording
from syncer.operations.rooms import utc_now
from syncer.operations.verification import Options, Verification
from syncer.operations.verify import verify
from syncer.settings import ArchiveSettings, Settings


@dataclass
class Found:
    """What one verification told."""

    findings: list[Finding] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)
    result: Verification = field(default_factory=Verification)

    @property
    def told(self) -> list[tuple[str, str]]:
        """The findings, as kind and path."""
        return sorted((str(finding.harm), finding.path) for finding in self.findings)


async def verified(archive: Path, **options: Any) -> Found:
    """Verify an archive."""
    seen = Found()

    def watch(event: Any) -> None:
        seen.events.append(event)
        if isinstance(event, Finding):
            seen.findings.append(event)

    await verify(archive, Options(**options), watch, seen.result)
    return seen


async def recorded(archive: Path, **options: Any) -> Verified:
    """Verify an archive, and tell it to its journal as the command does."""
    found = await verified(archive, **options)
    assert recording.against(archive, found.result) is None
    told = recording.verified(Options(**options), found.result, stamp(utc_now()))
    async with app.held(settings_for(archive), "verify") as (held, opened, _):
        await recording.write_down(held, opened, told, found.result)
    return told


def settings_for(archive: Path) -> Settings:
    """Settings for what needs no service."""
    return Settings(ArchiveSettings(path=archive, reserve=0), workspaces=())


def events(archive: Path, name: str) -> list[dict[str, Any]]:
    """The facts of all events of this name in an archive's journal, whose chain has to be whole."""
    lines = list(journal.read(archive))
    assert all(isinstance(line, JournalLine) for line in lines)
    return [line.facts for line in lines if isinstance(line, JournalLine) and line.event == name]
