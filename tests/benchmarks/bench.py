"""How fast, beside what people would take instead: `python tests/benchmarks/bench.py small --tls --rounds 5`.

Needs Debian's nginx, rclone, curl, wget2 and openssl. Prints a table in Markdown: medians, and paired ratios.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import tools
from corpus import WORKSPACE, Corpus, make, picture, small
from measure import Cost, rounds, run, say, table
from web import Web, free_ports, serving

KINDS = {"small": (20_000, small), "pictures": (2_000, picture)}
OURS = "syncer"

CONFIGURATION = """
[service]
url = "{origin}/api"
token_url = "{origin}/token"
client_id = "bench"
client_secret_file = "{secret}"
content_origins = []
ca_file = "{ca}"
[archive]
path = "{archive}"
reserve = 0
[limits]
downloads = {downloads}
[[workspaces]]
id = "{workspace}"
"""


class Bench:
    """One corpus that is served, and fresh folders to copy it to."""

    def __init__(self, work: Path, corpus: Corpus, web: Web, *, tls: bool, downloads: int) -> None:
        self.work, self.corpus, self.web, self.tls, self.downloads = work, corpus, web, tls, downloads
        self._numbers = itertools.count()

    def fresh(self) -> Path:
        """Make a folder that nothing was in before: to write where much was just deleted is slow."""
        folder = self.work / f"round-{next(self._numbers)}"
        folder.mkdir()
        return folder

    def syncer(self, folder: Path) -> list[str]:
        """Write a configuration for an archive in the folder; returns the command that backs it up."""
        secret = folder / "secret"
        secret.write_text("secret")
        secret.chmod(0o600)
        text = CONFIGURATION.format(
            origin=self.web.origin(tls=self.tls), secret=secret, ca=self.web.ca, archive=folder / "archive",
            workspace=WORKSPACE, downloads=self.downloads,
        )  # fmt: skip
        (folder / "syncer.toml").write_text(text)
        return [
            sys.executable,
            "-m",
            "syncer",
            "--config",
            str(folder / "syncer.toml"),
            "--log-level",
            "warning",
            "backup",
        ]

    def timed(self, make_command: Callable[[Path], list[str]]) -> Cost:
        """Run a command that copies into a fresh folder."""
        return run(make_command(self.fresh()), requests=self.web.served)


def first_copy(bench: Bench, count: int, chosen: set[str]) -> str:
    """Copy everything for the first time: us, the others' bare copies, and the same work."""
    work: dict[str, Callable[[], Cost]] = {OURS: lambda: bench.timed(bench.syncer)}
    for tool in (tools.rclone, tools.curl, tools.wget2):
        if chosen and tool.__name__ not in chosen:
            continue

        def bare(folder: Path, tool: Callable[..., list[str]] = tool) -> list[str]:
            return tool(bench.web, bench.corpus, folder / "copy", folder, tls=bench.tls)

        def equal(folder: Path, bare: Callable[[Path], list[str]] = bare) -> list[str]:
            return tools.equal_work(bare(folder), folder / "copy")

        work[f"{tool.__name__}, bare"] = lambda bare=bare: bench.timed(bare)
        work[f"{tool.__name__}, equal work"] = lambda equal=equal: bench.timed(equal)
    return table(rounds(count, work), OURS)


def main() -> None:
    """Read the arguments, make a corpus, serve it, and print the table."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("kind", choices=KINDS)
    arguments.add_argument("--tls", action="store_true")
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--images", type=int)
    arguments.add_argument("--downloads", type=int, default=32)
    arguments.add_argument("--only", nargs="*", default=[], help="tools to compare with")
    arguments.add_argument("--work", type=Path, help="a folder for everything; removed at the end if not given")
    given = arguments.parse_args()
    images, size = KINDS[given.kind]
    work = given.work or Path(tempfile.mkdtemp(prefix="syncer-bench-"))
    work.mkdir(exist_ok=True)
    http, https = free_ports(2)
    origin = f"https://localhost:{https}" if given.tls else f"http://127.0.0.1:{http}"
    say(f"making {given.images or images:,} {given.kind} under {work}")
    corpus = make(work / "served", given.images or images, size, origin)
    try:
        with serving(work / "served", work / "nginx", http=http, https=https) as web:
            bench = Bench(work, corpus, web, tls=given.tls, downloads=given.downloads)
            sys.stdout.write(first_copy(bench, given.rounds, set(given.only)) + "\n")
    finally:
        if given.work is None:
            shutil.rmtree(work)


if __name__ == "__main__":
    main()
