"""What the benchmarks share: a corpus that is served, fresh folders, our own command, and the telling of a table."""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from corpus import WORKSPACE
from machine import commanded, described
from measure import Cost, run
from web import Web

OURS = "syncer"
LITTLE = 65_536  # bytes: what is not larger stays, since there would be many of them

CONFIGURATION = """
[service]
url = "{origin}/api"
token_url = "{origin}/token"
client_id = "bench"
client_secret_file = "{secret}"
content_origins = []
{authority}
[archive]
path = "{archive}"
reserve = 0
[limits]
downloads = {downloads}
[[workspaces]]
id = "{workspace}"
"""


class Bench:
    """A server, and fresh folders to copy to what it serves."""

    def __init__(self, work: Path, web: Web, *, tls: bool, downloads: int = 32) -> None:
        self.work, self.web, self.tls, self.downloads = work, web, tls, downloads
        self._numbers = itertools.count()

    def fresh(self) -> Path:
        """Make a folder that nothing was in before: to write where much was just deleted is slow."""
        folder = self.work / f"round-{next(self._numbers)}"
        folder.mkdir()
        return folder

    def syncer(self, folder: Path, *words: str, command: str = "backup") -> list[str]:
        """Write a configuration for `archive` in the folder; returns a command that works on it."""
        secret = folder / "secret"
        secret.write_text("secret")
        secret.chmod(0o600)
        text = CONFIGURATION.format(
            origin=self.web.origin(tls=self.tls), secret=secret, archive=folder / "archive",
            workspace=WORKSPACE, downloads=self.downloads, authority=f'ca_file = "{self.web.ca}"' if self.tls else "",
        )  # fmt: skip
        config = folder / "syncer.toml"
        config.write_text(text)
        return [sys.executable, "-m", "syncer", "--config", str(config), "--log-level", "warning", command, *words]

    def timed(self, make_command: Callable[[Path], list[str]]) -> Cost:
        """Run a command that copies into a fresh folder, with nothing left of an earlier one to be written or held."""
        folder = self.fresh()
        command = make_command(folder)
        os.sync()
        cost = self.again(command)
        empty(folder)
        return cost

    def again(self, command: list[str]) -> Cost:
        """Run a command, and count what it asks of the server."""
        cost = run(command, requests=self.web.served)
        return replace(cost, requests=cost.requests - 1)  # the second question for their number was one as well


def empty(folder: Path) -> None:
    """Give back what large files take, on the disk and in its cache: they are cut to nothing.

    To delete them would slow new ones.
    """
    for path in folder.glob("**/*"):
        if path.is_file() and not path.is_symlink() and path.stat().st_size > LITTLE:
            os.truncate(path, 0)


def asked(description: str | None) -> argparse.ArgumentParser:
    """Make a parser with what every benchmark understands."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--work", type=Path, help="a folder for everything; one under TMPDIR if not given")
    return parser


@contextmanager
def workplace(given: Path | None) -> Iterator[Path]:
    """Make a folder for everything; it is removed in the end, all at once, since removing in between slows others."""
    work = Path(tempfile.mkdtemp(prefix="syncer-bench-", dir=given))
    try:
        yield work
    finally:
        shutil.rmtree(work)


def tell(title: str, table: str) -> None:
    """Write a table in Markdown, with the command that repeats it and the machine."""
    sys.stdout.write(f"### {title}\n\n{table}\n\n`{commanded()}`; {described()}.\n\n")
    sys.stdout.flush()
