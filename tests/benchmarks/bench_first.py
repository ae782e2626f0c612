"""The first copy, beside what people would take instead: `python tests/benchmarks/bench_first.py small --tls`.

Needs Debian's nginx, rclone, curl, wget2 and openssl. Prints a table in Markdown: medians, and paired ratios.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import corpus
import photos
import tools
from bench import OURS, Bench, asked, tell, workplace
from corpus import Corpus
from machine import needs
from measure import Cost, rounds, say, table
from web import free_ports, serving

IMAGES = {"small": 20_000, "pictures": 2_000, "photographs": 500}


def first_copy(bench: Bench, made: Corpus, count: int, chosen: set[str]) -> str:
    """Copy everything for the first time: us, the others' bare copies, the same work, and the machine's limit."""
    work: dict[str, Callable[[], Cost]] = {OURS: lambda: bench.timed(bench.syncer)}
    for name, make in others(bench, made, chosen).items():
        work[name] = lambda make=make: bench.timed(make)
    work["the machine's limit"] = lambda: bench.timed(
        lambda folder: tools.local(made.root / "content", folder / "copy")
    )
    return table(rounds(count, work), OURS)


def others(bench: Bench, made: Corpus, chosen: set[str]) -> dict[str, Callable[[Path], list[str]]]:
    """Name what makes the others' commands for a folder, bare and with the same work; all tools if none is chosen."""
    found: dict[str, Callable[[Path], list[str]]] = {}
    for tool in (tools.rclone, tools.curl, tools.wget2):
        if chosen and tool.__name__ not in chosen:
            continue

        def bare(folder: Path, tool: Callable[..., list[str]] = tool) -> list[str]:
            return tool(bench.web, made, folder / "copy", folder, tls=bench.tls, at_once=bench.downloads)

        def equal(folder: Path, bare: Callable[[Path], list[str]] = bare) -> list[str]:
            return tools.equal_work(bare(folder), folder / "copy")

        found |= {f"{tool.__name__}, bare": bare, f"{tool.__name__}, equal work": equal}
    return found


def main() -> None:
    """Read the arguments, make a corpus, serve it, and print the table."""
    parser = asked(__doc__)
    parser.add_argument("kind", choices=IMAGES)
    parser.add_argument("--tls", action="store_true")
    parser.add_argument("--images", type=int)
    parser.add_argument("--downloads", type=int, default=32)
    parser.add_argument("--only", nargs="*", default=[], help="tools to compare with")
    given = parser.parse_args()
    needs("nginx", "openssl", "sha256sum", *(given.only or ["rclone", "curl", "wget2"]))
    images = given.images or IMAGES[given.kind]
    http, https = free_ports(2)
    origin = f"https://localhost:{https}" if given.tls else f"http://127.0.0.1:{http}"
    with workplace(given.work) as work:
        say(f"making {images:,} {given.kind} under {work}")
        made = made_of(given.kind, work / "served", images, origin)
        with serving(work / "served", work / "nginx", http=http, https=https) as web:
            bench = Bench(work, web, tls=given.tls, downloads=given.downloads)
            title = (
                f"First copy of {images:,} {given.kind}, {made.bytes / 1e6:,.0f} MB, {'https' if given.tls else 'http'}"
            )
            tell(title, first_copy(bench, made, given.rounds, set(given.only)))


def made_of(kind: str, root: Path, images: int, origin: str) -> Corpus:
    """Make a corpus of a kind."""
    if kind == "photographs":
        return photos.make(root, images, origin)
    return corpus.make(root, images, {"small": corpus.small, "pictures": corpus.picture}[kind], origin)


if __name__ == "__main__":
    main()
