"""How long `verify` takes beside `xargs -P2 sha256sum` of the same files: `python tests/benchmarks/bench_verify.py`."""

from __future__ import annotations

from collections.abc import Callable

import tools
from bench import OURS, Bench, asked, tell, workplace
from bench_first import made_of
from machine import needs
from measure import Cost, rounds, run, say, table
from web import free_ports, serving


def main() -> None:
    """Back up pictures, and look at the bytes."""
    parser = asked(__doc__)
    parser.add_argument("--kind", choices=["small", "pictures"], default="pictures")
    parser.add_argument("--images", type=int, default=2_000)
    given = parser.parse_args()
    needs("nginx", "openssl", "sha256sum")
    http, https = free_ports(2)
    with workplace(given.work) as work:
        say(f"making {given.images:,} {given.kind} under {work}")
        made = made_of(given.kind, work / "served", given.images, f"http://127.0.0.1:{http}")
        with serving(work / "served", work / "nginx", http=http, https=https) as web:
            bench = Bench(work, web, tls=False)
            folder = bench.fresh()
            bench.again(bench.syncer(folder))
        commands = {f"{OURS} verify": bench.syncer(folder, command="verify"), "xargs": tools.hashes(folder / "archive")}
        for command in commands.values():
            run(command)  # so that all of it is in memory for both
        work_: dict[str, Callable[[], Cost]] = {
            name: lambda command=command: run(command) for name, command in commands.items()
        }
        title = f"Verify {given.images:,} {given.kind}, {made.bytes / 1e6:,.0f} MB, from memory"
        tell(title, table(rounds(given.rounds, work_), f"{OURS} verify"))


if __name__ == "__main__":
    main()
