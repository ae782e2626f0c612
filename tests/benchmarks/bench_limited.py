"""A service that limits the rate, as nginx does, with 429: `python tests/benchmarks/bench_limited.py --rate 200`.

Everything, list pages and pictures, shares the rate. The limit's own time is what its requests take at that rate.
"""

from __future__ import annotations

import shlex
import sqlite3
import statistics
from contextlib import closing
from pathlib import Path

from bench import Bench, asked, tell, workplace
from corpus import make, small
from machine import needs
from measure import say, spread
from web import free_ports, serving

ZONE = "limit_req_zone $server_addr zone=all:1m rate={rate}r/s; limit_req_status 429; limit_req_log_level warn;"
LIMITED = "limit_req zone=all burst=20 nodelay;"


def main() -> None:
    """Copy against the limit, and print the table."""
    parser = asked(__doc__)
    parser.add_argument("--images", type=int, default=10_000, help="at the highest rate")
    parser.add_argument("--rate", type=int, nargs="*", default=[50, 200])
    given = parser.parse_args()
    needs("nginx", "openssl")
    lines = [
        "| requests a second | images | failed | wall s | the limit's own s | ours / it | requests | refused |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    with workplace(given.work) as work:
        lines += [
            _against(work / str(rate), given.images * rate // max(given.rate), rate, given.rounds)
            for rate in given.rate
        ]
    tell("A service that limits the rate", "\n".join(lines))


def _against(work: Path, images: int, rate: int, count: int) -> str:
    http, https = free_ports(2)
    made = make(work / "served", images, small, f"http://127.0.0.1:{http}")
    limit = ZONE.format(rate=rate)
    with serving(work / "served", work / "nginx", http=http, https=https, limit=limit, limited=LIMITED) as web:
        bench = Bench(work, web, tls=False)
        costs, refused, failed = [], [], []
        for number in range(count):
            before, folder = web.refused(), bench.fresh()
            # It may end with exit 3, not complete: that some images failed is told in the table.
            costs.append(bench.again(["sh", "-c", f"{shlex.join(bench.syncer(folder))} || test $? -eq 3"]))
            refused.append(web.refused() - before)
            with closing(sqlite3.connect(folder / "archive/manifest.db")) as db:
                failed.append(db.execute("select count(*) from failures").fetchone()[0])
            say(f"  {rate}/s, round {number + 1}: {costs[-1].wall:.2f} s, {refused[-1]} refused")
    needed = made.images + -(-made.images // 200)
    own = needed / rate
    shares = [100 * no / cost.requests for no, cost in zip(refused, costs, strict=True)]
    return (
        f"| {rate} | {made.images:,} | {max(failed)} | {statistics.median(c.wall for c in costs):.2f} | {own:.2f} "
        f"| {spread(c.wall / own for c in costs)} | {max(c.requests for c in costs)} | {max(shares):.1f} % |"
    )


if __name__ == "__main__":
    main()
