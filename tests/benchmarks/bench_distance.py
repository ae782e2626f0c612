"""The first copy over a distance: `python tests/benchmarks/bench_distance.py small --connections 64`.

The distance is a link with a round trip (and a bandwidth) between two addresses of a network namespace, see `link`.
The others copy over the same number of connections; what we do besides, the listing included, is in our time. With
`--mbit` the bytes alone take as long as the row "the link's limit" says.
"""

from __future__ import annotations

from collections.abc import Callable

from bench import OURS, Bench, asked, tell, workplace
from bench_first import made_of, others
from link import FAR, NEAR, build, device, enter, linked
from machine import needs
from measure import Cost, rounds, say, table
from web import free_ports, serving

IMAGES = {"small": 20_000, "pictures": 2_000}


def main() -> None:
    """Read the arguments, make a corpus, serve it over the link, and print the table."""
    parser = asked(__doc__)
    parser.add_argument("kind", choices=IMAGES)
    parser.add_argument("--images", type=int)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--milliseconds", type=float, default=40, help="of a round trip")
    parser.add_argument("--mbit", type=float, default=0, help="a second; 0: no bound")
    parser.add_argument("--only", nargs="*", default=[], help="tools to compare with")
    given = parser.parse_args()
    needs("nginx", "openssl", "curl", "sha256sum", *(given.only or ["rclone", "wget2"]))
    enter()
    images = given.images or IMAGES[given.kind]
    http, https = free_ports(2)
    with workplace(given.work) as work, device() as name:
        program = build(work)
        say(f"making {images:,} {given.kind} under {work}")
        made = made_of(given.kind, work / "served", images, f"https://{FAR}:{https}")
        with serving(work / "served", work / "nginx", http=http, https=https, host=NEAR, far=FAR) as web:
            bench = Bench(work, web, tls=True, downloads=given.connections)

            def over(milliseconds: float, mbit: float, make: Callable[..., list[str]]) -> Callable[[], Cost]:
                def once() -> Cost:
                    with linked(program, name, milliseconds=milliseconds, mbit=mbit, port=https):
                        return bench.timed(make)

                return once

            work_ = {OURS: over(given.milliseconds, given.mbit, bench.syncer)}
            for what, make in others(bench, made, set(given.only)).items():
                work_[what] = over(given.milliseconds, given.mbit, make)
            curl = others(bench, made, {"curl"})["curl, bare"]
            work_["curl, bare, the link without its delay and bound"] = over(0, 0, curl)
            if given.mbit:
                seconds = made.bytes * 8 / given.mbit / 1e6
                work_["the link's limit"] = lambda: Cost(seconds, 0, 0)
            bound = f", {given.mbit:g} Mbit/s" if given.mbit else ""
            title = (
                f"First copy over {given.milliseconds:g} ms{bound}: {images:,} {given.kind}, "
                f"{made.bytes / 1e6:,.0f} MB, https, {given.connections} connections"
            )
            tell(title, table(rounds(given.rounds, work_), OURS))


if __name__ == "__main__":
    main()
