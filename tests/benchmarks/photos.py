"""Real photographs as a corpus: those of a Debian package of wallpapers, each served under many names."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from corpus import SHARDS, Corpus, list_pages, place
from machine import needs

PACKAGE = "plasma-workspace-wallpapers"
SUFFIXES = {".jpg", ".jpeg", ".png"}


def make(root: Path, images: int, origin: str) -> Corpus:
    """Lay out so many photographs; the same one comes again under other names, for the package holds some dozens."""
    needs("apt-get", "dpkg")
    package = root.parent / "package"
    if not package.exists():
        package.mkdir(parents=True)
        subprocess.run(["apt-get", "download", "-qq", PACKAGE], cwd=package, check=True)
        (deb,) = package.glob("*.deb")
        subprocess.run(["dpkg", "-x", deb, package / "root"], check=True)
    found = sorted(path for path in (package / "root").rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    for shard in range(min(SHARDS, images)):
        (root / f"content/{shard:02x}").mkdir(parents=True, exist_ok=True)
    sizes = []
    for number in range(images):
        photo = found[number % len(found)]
        shutil.copyfile(photo, root / place(number))
        sizes.append(photo.stat().st_size)
    list_pages(root, images, origin, sizes.__getitem__)
    return Corpus(root, images, sum(sizes))
