"""Passes that find nothing new: `python tests/benchmarks/bench_unchanged.py`, and `--growth` for 1 k to 1 M images.

Without `--growth`, 20,000 small images are copied for real, by us and by rclone, and then both look again. With it,
archives of growing size are passed over; their manifests are written as `held` says, for a first backup of a million
images takes too long. The start of the program, some 0.3 to 0.8 s, is in all of our figures.
"""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Callable
from pathlib import Path

import tools
from bench import OURS, Bench, asked, tell, workplace
from corpus import list_pages, make, small
from held import hold
from machine import needs
from measure import Cost, rounds, say, table
from web import free_ports, serving

SIZES = (1_000, 10_000, 100_000, 1_000_000)


def main() -> None:
    """Read the arguments and print the table."""
    parser = asked(__doc__)
    parser.add_argument("--growth", action="store_true")
    parser.add_argument("--images", type=int, nargs="*", help="how many; with --growth several")
    parser.add_argument("--tls", action="store_true")
    given = parser.parse_args()
    needs("nginx", "openssl")
    with workplace(given.work) as work:
        if given.growth:
            growth(work, given.images or SIZES, given.rounds)
        else:
            needs("rclone")
            beside_rclone(work, given.images[0] if given.images else 20_000, given.rounds, tls=given.tls)


def beside_rclone(work: Path, images: int, count: int, *, tls: bool) -> None:
    """Copy, and look again."""
    http, https = free_ports(2)
    say(f"making {images:,} small under {work}")
    made = make(work / "served", images, small, f"https://localhost:{https}" if tls else f"http://127.0.0.1:{http}")
    with serving(work / "served", work / "nginx", http=http, https=https) as web:
        bench = Bench(work, web, tls=tls)
        ours, told, listed = bench.fresh(), bench.fresh(), bench.fresh()
        commands = {
            OURS: bench.syncer(ours),
            f"{OURS} --quick": bench.syncer(ours, "--quick"),
            "rclone, told what there is": tools.rclone(web, made, told, told, tls=tls),
            "rclone, by listings": tools.rclone_again(web, listed, tls=tls),
        }
        for command in commands.values():
            bench.again(command)  # the first copy, and a look that warms up
        work_: dict[str, Callable[[], Cost]] = {
            name: lambda command=command: bench.again(command) for name, command in commands.items()
        }
        told_table = table(rounds(count, work_), OURS)
        tell(f"Unchanged: {images:,} small images, {'https' if tls else 'http'}", told_table)


def growth(work: Path, sizes: list[int], count: int) -> None:
    """Pass over archives of each size, and list the newest of them."""
    lines = [
        "| images | full: wall s | CPU µs an image | peak MB | requests | quick: CPU s | peak MB | requests | "
        "`list --limit 10`: CPU s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [_passed_over(work / f"{images}", images, count) for images in sizes]
    tell("Unchanged, growing", "\n".join(lines))


def _passed_over(work: Path, images: int, count: int) -> str:
    http, https = free_ports(2)
    say(f"making a listing and a manifest of {images:,} under {work}")
    list_pages(work / "served", images, f"http://127.0.0.1:{http}", lambda _: 8192)
    with serving(work / "served", work / "nginx", http=http, https=https) as web:
        bench = Bench(work, web, tls=False)
        folder = bench.fresh()
        (folder / "archive").mkdir()
        held = asyncio.run(hold(folder / "archive", work / "served/pages"))
        assert held == images, f"{held} of {images} are held"
        work_ = {
            "full": lambda: bench.again(bench.syncer(folder)),
            "quick": lambda: bench.again(bench.syncer(folder, "--quick")),
            "list": lambda: bench.again(bench.syncer(folder, "--limit", "10", command="list")),
        }
        costs = rounds(count, work_)
        full, quick, listed = (costs[name] for name in work_)
        least = -(-images // 200) + 1  # the pages, and a token
        assert all(cost.requests <= least + 1 for cost in full), "more requests than pages, and an empty one"
        cpu = statistics.median(cost.cpu for cost in full) / images * 1e6
        return (
            f"| {images:,} | {statistics.median(c.wall for c in full):.1f} | {cpu:.1f} "
            f"| {max(c.memory for c in full) / 1e6:.0f} | {full[0].requests} "
            f"| {statistics.median(c.cpu for c in quick):.2f} | {max(c.memory for c in quick) / 1e6:.0f} "
            f"| {quick[0].requests} | {statistics.median(c.cpu for c in listed):.2f} |"
        )


if __name__ == "__main__":
    main()
