"""Commit two batches in processes that die at their first, second, third … step on the disk; run by `test_commit`.

For each step a process is forked that works in a folder of its own, below the one given. It says on standard output
which batches it saw committed. The last process is the one that came through.
"""

import asyncio
import itertools
import os
import sys
from functools import partial
from pathlib import Path

from archive_parts import FOLDER, content, image, opened, picture, remembered

from syncer.archive import disk
from syncer.archive.disk import Disk

DEAD = 9


async def keep(root: Path, committed=lambda batch: None) -> None:
    """Keep two pictures, then other metadata of the first, other bytes of the second, and a third picture."""
    async with opened(root) as archive:
        first = [
            await archive.stage(image(name), content(picture(seed=seed)), folder=FOLDER, entry=None, run="r1")
            for name, seed in (("a", 1), ("b", 2))
        ]
        await archive.commit(first)
        committed(1)
        a, b = (remembered(staged.revision) for staged in first)
        later = {"updated_at": "2026-04-01T00:00:00Z"}
        second = [
            await archive.stage(image("a", **later), content(picture(seed=1)), folder=FOLDER, entry=a, run="r1"),
            await archive.stage(image("b", **later), content(picture(seed=3)), folder=FOLDER, entry=b, run="r1"),
            await archive.stage(image("c"), content(picture(seed=4)), folder=FOLDER, entry=None, run="r1"),
        ]
        await archive.commit(second)
        committed(2)


def die_at(step: int) -> None:
    """End the process without any cleaning before its n-th step; a write dies halfway."""
    steps = itertools.count(1)

    def counted(real):
        def call(*args, **options):
            if next(steps) == step:
                os._exit(DEAD)
            return real(*args, **options)

        return call

    def half(file, data, **how):
        if next(steps) == step:
            file.write(bytes(data[: len(data) // 2]))
            os._exit(DEAD)
        write_all(file, data, **how)

    write_all = disk.write_all
    disk.write_all = half
    os.fsync = counted(lambda fd: None)  # no power is cut here, and the real one takes its time
    for name in ("mkdir", "rename", "unlink"):
        setattr(os, name, counted(getattr(os, name)))
    Disk.settle = counted(Disk.settle)


def say(step: int, batch: int) -> None:
    os.write(1, f"{step} {batch}\n".encode())


def main(base: Path, whole: bool) -> None:
    if whole:
        disk._MANY = 0  # sync the whole file system, as for large batches
    for step in itertools.count(1):
        child = os.fork()
        if child == 0:
            die_at(step)
            asyncio.run(keep(base / str(step), partial(say, step)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if os.waitstatus_to_exitcode(status) != DEAD:
            sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] == "whole")
