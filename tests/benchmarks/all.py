"""Run every benchmark and print the tables of docs/performance.md: `python tests/benchmarks/all.py [--quick]`.

Needs Debian's nginx, rclone, curl, wget2, openssl, gcc and iproute2, 20 GB of room under TMPDIR, and two hours; with
`--quick` (fewer images, two rounds) some minutes, to see that all of it works. One that fails does not stop the rest.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from machine import needs

EVERY = """
bench_first.py small
bench_first.py small --tls
bench_first.py pictures
bench_first.py pictures --tls
bench_first.py photographs --tls
bench_distance.py small --connections 32
bench_distance.py small --connections 64
bench_unchanged.py
bench_unchanged.py --tls
bench_unchanged.py --growth --rounds 3
bench_verify.py
bench_rebuild.py
bench_limited.py --rounds 3
bench_distance.py pictures --connections 32 --mbit 200
"""
QUICK = {
    "bench_first.py": ["--images", "200"],
    "bench_distance.py": ["--images", "100"],
    "bench_unchanged.py": ["--images", "2000"],
    "bench_verify.py": ["--images", "100"],
    "bench_rebuild.py": ["--images", "1000"],
    "bench_limited.py": ["--images", "400", "--rate", "100"],
}


def main() -> None:
    """Run them one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    needs("nginx", "rclone", "curl", "wget2", "openssl", "gcc", "ip", "unshare")
    failed = []
    for line in EVERY.split("\n"):
        if not line:
            continue
        script, *words = line.split()
        words += [*QUICK[script], "--rounds", "2"] if given.quick else []
        sys.stderr.write(f"{script} {' '.join(words)}\n")
        sys.stderr.flush()
        if subprocess.run([sys.executable, Path(__file__).with_name(script), *words], check=False).returncode:
            failed.append(line)
    if failed:
        raise SystemExit(f"failed: {'; '.join(failed)}")


if __name__ == "__main__":
    main()
