"""What the parts of one verification share: what was asked, what was found so far, and the threads that read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from syncer.manifest.audit import Audit, Expected
from syncer.model import Finding, Harm
from syncer.operations.tree import Reader
from syncer.operations.verification import Options, Verification, Watch

T = TypeVar("T")

READERS = 2  # threads that hash


class Inspection:
    """One verification under way. `audit` holds what should be there, `result` and `watch` learn what is found."""

    def __init__(self, root: Path, options: Options, watch: Watch, result: Verification, audit: Audit) -> None:
        self.root = root
        self.options = options
        self.watch = watch
        self.result = result
        self.audit = audit
        self.reader = Reader(options.rate)
        self._threads = ThreadPoolExecutor(READERS, thread_name_prefix="verify")
        self._told: set[tuple[Harm, str, str]] = set()

    def close(self) -> None:
        """Stop the threads, wherever they are."""
        self.reader.stop.set()
        self._threads.shutdown(wait=True, cancel_futures=True)

    async def in_thread(self, work: Callable[..., T], *args: object) -> T:
        """Do blocking work in one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)

    def find(self, harm: Harm, path: str, detail: str, about: Expected | None = None) -> None:
        """Tell of a finding, and of which image's file it is."""
        who = (about.workspace_id, about.image_id, about.revision) if about else ()
        self.tell(Finding(harm, path, detail, *who))

    def tell(self, finding: Finding) -> None:
        """Count a finding and pass it on, unless it has been told before."""
        key = (finding.harm, finding.path, finding.detail if finding.image_id is None else "")
        if key not in self._told:
            self._told.add(key)
            self.result.found[finding.harm] += 1
            self.watch(finding)
