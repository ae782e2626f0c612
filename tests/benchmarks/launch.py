"""Run a command from a small process, and write to a file what it cost, as JSON: a child's peak counts its parent's.

A process begins with the memory of the one that it was started from, and the kernel counts that into its peak. So a
benchmark that holds much itself has this small one start what it measures.
"""

import json
import os
import sys
import time

if __name__ == "__main__":
    report, *command = sys.argv[1:]
    started = time.perf_counter()
    child = os.posix_spawnp(command[0], command, os.environ)
    _, status, usage = os.wait4(child, 0)
    wall = time.perf_counter() - started
    with open(report, "w", encoding="utf-8") as file:  # noqa: PTH123  pathlib would double our own size
        json.dump([wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024], file)
    sys.exit(os.waitstatus_to_exitcode(status))
