"""What a table was measured on, and whether what it needs is there."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
PACKAGES = {"ip": "iproute2", "unshare": "util-linux", "sha256sum": "coreutils"}  # where the name is another one
LIBRARIES = ("aiohttp", "msgspec", "sqlite-utils")
_ASKED = {"nginx": "-v", "rclone": "version", "curl": "--version", "wget2": "--version", "openssl": "version"}


def needs(*tools: str) -> None:
    """End with a sentence where a tool is missing."""
    missing = [tool for tool in tools if shutil.which(tool, path=PATH) is None]
    if missing:
        packages = " ".join(PACKAGES.get(tool, tool) for tool in missing)
        raise SystemExit(f"missing: {', '.join(missing)}. On Debian: apt-get install {packages}")


def described() -> str:
    """Say in a line what machine this is, and which versions are at work."""
    cores = os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    tools = ", ".join(_version(tool) for tool in _ASKED if shutil.which(tool, path=PATH))
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    load = os.getloadavg()[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {cores} cores, {memory:.0f} GB, Linux {platform.release()}, "
        f"Python {platform.python_version()}, {libraries}; {tools}; load {load:.1f} at the start"
    )


def commanded() -> str:
    """Write the command that this program was started with, as it is to be typed in the checkout."""
    return " ".join(["python", f"tests/benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def _version(tool: str) -> str:
    asked = subprocess.run(
        [shutil.which(tool, path=PATH) or tool, _ASKED[tool]], capture_output=True, text=True, check=False
    )
    words = (asked.stdout or asked.stderr).replace("/", " ").split()
    number = next((word for word in words if word.lstrip("v")[:1].isdigit()), "?")
    return f"{tool} {number.lstrip('v')}"
