"""A link over some distance, in a network namespace of its own: the kernel's TCP with a delay and a bandwidth.

`tc netem` is in few kernels of containers and small machines, so a small program in C (`link.c`) is the link.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from machine import needs

NEAR, FAR = "10.9.0.1", "10.9.0.2"  # where the server listens, and where clients find it
_INSIDE = "SYNCER_BENCH_INSIDE"


def enter() -> None:
    """Start this very program again in a network namespace of its own, unless it is in one."""
    needs("unshare", "ip", "gcc")
    if not os.environ.get(_INSIDE):
        os.execvpe("unshare", ["unshare", "-rn", sys.executable, *sys.argv], {**os.environ, _INSIDE: "1"})
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def build(folder: Path) -> Path:
    """Compile the link; returns the program."""
    program = folder / "link"
    source = Path(__file__).with_name("link.c")
    subprocess.run(["gcc", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, source], check=True)
    return program


@contextmanager
def device() -> Iterator[str]:
    """Make the device for the block, so that the server can listen at its address."""
    name = "far0"
    for words in (
        ["tuntap", "add", "dev", name, "mode", "tun"],
        ["addr", "add", f"{NEAR}/24", "dev", name],
        ["link", "set", name, "mtu", "1500", "txqueuelen", "10000", "up"],
    ):
        subprocess.run(["ip", *words], check=True)
    try:
        yield name
    finally:
        subprocess.run(["ip", "link", "del", name], check=True)


@contextmanager
def linked(program: Path, name: str, *, milliseconds: float, mbit: float, port: int) -> Iterator[None]:
    """Let the device be such a link for the block."""
    process = subprocess.Popen([program, name, str(milliseconds), str(mbit), str(port)])
    try:
        yield
    finally:
        process.terminate()
        process.wait()
