"""Run a verification in this process and keep what it told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syncer.model import Finding
from syncer.operations.verification import Options, Verification
from syncer.operations.verify import verify


@dataclass
class Verified:
    """What one verification told."""

    findings: list[Finding] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)
    result: Verification = field(default_factory=Verification)

    @property
    def told(self) -> list[tuple[str, str]]:
        """The findings, as kind and path."""
        return sorted((str(finding.harm), finding.path) for finding in self.findings)


async def verified(archive: Path, **options: Any) -> Verified:
    """Verify an archive."""
    seen = Verified()

    def watch(event: Any) -> None:
        seen.events.append(event)
        if isinstance(event, Finding):
            seen.findings.append(event)

    await verify(archive, Options(**options), watch, seen.result)
    return seen
