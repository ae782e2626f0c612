"""Boot a Debian 12 guest that installs syncer as docs/systemd.md says, and see that the hardened units carry it.

    python tests/system/qemu_guest.py [--work FOLDER] [--minutes M]

Needs root, network for the packages, and from Debian: mmdebstrap, qemu-system-x86, e2fsprogs. The guest is emulated
(no KVM), has no network, and gets the program's packages as wheels; `qemu_inside.py` is what it does when it is up. It
writes one JSON line a check to its second serial port. The first system is kept in the folder for the next time.
Ends with 0 only if every check was made and held.
"""
# ruff: noqa: T201  a command prints

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from typing import Any

import qemu_inside

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCES = ["syncer", "config", "systemd", "docs", "pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE"]
TOOLS = ("mmdebstrap", "qemu-system-x86_64", "mke2fs")
SUITE = "bookworm"
PACKAGES = (
    *("systemd", "systemd-sysv", "udev", "dbus", "libnss-systemd", "procps"),  # what an ordinary Debian has
    *("linux-image-cloud-amd64", "initramfs-tools", "ca-certificates", "python3-venv"),
)
DISK, MEMORY = "3G", "2G"
RUNNER = """\
[Service]
ExecStart=/usr/bin/python3 /opt/guest/qemu_inside.py /dev/ttyS1
ExecStopPost=/bin/systemctl --no-block poweroff
[Install]
WantedBy=multi-user.target
"""


def main() -> int:
    """Build, boot, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("/tmp/syncer-guest"))
    parser.add_argument("--minutes", type=float, default=60)
    options = parser.parse_args()
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        print(f"missing: {', '.join(missing)}; apt-get install mmdebstrap qemu-system-x86 e2fsprogs", file=sys.stderr)
        return 2
    os.nice(5)
    options.work.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    root = lay(system(options.work), options.work)
    image = options.work / "disk.img"
    image.unlink(missing_ok=True)
    do("mke2fs", "-qF", "-t", "ext4", "-d", root, image, DISK)
    print(f"built after {time.monotonic() - began:.0f} s", flush=True)
    told = boot(root, image, options.work, options.minutes * 60)
    shutil.rmtree(root)
    image.unlink()
    return judge(told)


def do(*command: object) -> None:
    """Run a command, which must succeed."""
    subprocess.run([str(word) for word in command], check=True)


def system(work: Path) -> Path:
    """Make the first system, a tar file, from where this machine's own packages come from."""
    base = work / "base.tar"
    if not base.exists():
        apt = Path("/etc/apt")
        sources = [apt / "sources.list.d/debian.sources", apt / "sources.list"]
        source = next(path for path in sources if path.exists() and path.stat().st_size)
        include = f"--include={','.join(PACKAGES)}"
        do("mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", include, SUITE, f"{base}.new.tar", source)
        Path(f"{base}.new.tar").rename(base)
    return base


def lay(base: Path, work: Path) -> Path:
    """Lay the sources, the wheels and the runner over the first system."""
    root = work / "root"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    with tarfile.open(base) as tar:
        tar.extractall(root, filter="fully_trusted")
    (root / "etc/apt/sources.list").unlink(missing_ok=True)  # there is no network
    shutil.rmtree(root / "etc/apt/sources.list.d")
    (root / "etc/machine-id").write_text(f"{0x5EC0DE:032x}\n")  # or the first boot asks its questions
    (root / "etc/hostname").write_text("guest\n")
    sources, guest = root / "opt/sources", root / "opt/guest"
    for name in SOURCES:
        at = CHECKOUT / name
        sources.mkdir(exist_ok=True)
        if at.is_dir():
            shutil.copytree(at, sources / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(at, sources / name)
    guest.mkdir()
    shutil.copy(qemu_inside.__file__, guest)
    wheels(sources, guest / "wheels")
    units = root / "etc/systemd/system"
    (units / "guest.service").write_text(RUNNER)
    (units / "multi-user.target.wants").mkdir(exist_ok=True)
    (units / "multi-user.target.wants/guest.service").symlink_to("/etc/systemd/system/guest.service")
    return root


def wheels(sources: Path, folder: Path) -> None:
    """Fetch what `pip install .` needs, for the guest's Python."""
    platforms = [f"--platform=manylinux_2_{minor}_x86_64" for minor in (17, 28)]
    common = [*platforms, "--python-version=3.11", "--only-binary=:all:", "-qq", "--dest", folder]
    pip = [sys.executable, "-m", "pip"]
    do(*pip, "wheel", "-qq", "--no-deps", "--wheel-dir", folder, sources)
    (made,) = folder.glob("neuroflash_syncer-*.whl")
    do(*pip, "download", *common, made)
    do(*pip, "download", *common, "hatchling")  # builds it in the guest


def boot(root: Path, image: Path, work: Path, seconds: float) -> list[dict[str, Any]]:
    """Run the guest until it powers off, and return what it told."""
    (kernel,), (initrd,) = (sorted(root.glob(f"boot/{name}-*")) for name in ("vmlinuz", "initrd.img"))
    results, console = work / "results.jsonl", work / "console.log"
    results.unlink(missing_ok=True)
    machine = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", MEMORY]
    machine += ["-nodefaults", "-display", "none", "-nic", "none", "-no-reboot", "-device", "virtio-rng-pci"]
    machine += ["-kernel", str(kernel), "-initrd", str(initrd)]
    machine += ["-append", "root=/dev/vda rw console=ttyS0 panic=-1 quiet"]
    machine += ["-drive", f"file={image},format=raw,if=virtio,cache=unsafe"]
    machine += ["-serial", f"file:{console}", "-serial", f"file:{results}"]
    began = time.monotonic()
    told: list[dict[str, Any]] = []
    with subprocess.Popen(machine) as guest:
        try:
            while guest.poll() is None:
                if time.monotonic() - began > seconds:
                    print(f"the guest took longer than {seconds / 60:g} minutes; see {console}")
                    break
                time.sleep(1)
                told += tell(results, len(told))
        finally:
            guest.kill()
    told += tell(results, len(told))
    print(f"the guest ran for {time.monotonic() - began:.0f} s")
    return told


def tell(results: Path, known: int) -> list[dict[str, Any]]:
    """Print the lines that are new, and return them."""
    text = results.read_text(errors="replace") if results.exists() else ""
    whole = [line for line in text.split("\n")[:-1] if line.strip()]
    fresh = [json.loads(line) for line in whole[known:]]
    for line in fresh:
        mark = "ok " if line["ok"] else "NOT"
        print(f"{mark} {line['seconds']:7.1f} s  {line['check']}: {line['detail']}", flush=True)
    return fresh


def judge(told: list[dict[str, Any]]) -> int:
    """Every check has to have been made, and to have held."""
    held = {line["check"] for line in told if line["ok"]}
    lacking = [check for check in qemu_inside.CHECKS if check not in held]
    print(f"{len(held)} of {len(qemu_inside.CHECKS)} held" + "".join(f"\n  not: {check}" for check in lacking))
    return 1 if lacking else 0


if __name__ == "__main__":
    if os.geteuid():
        sys.exit("this builds a system: only root can")
    sys.exit(main())
