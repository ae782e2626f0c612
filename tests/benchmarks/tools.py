"""What people would take instead, on the very same objects: their bare copy, and with what we do besides."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from corpus import Corpus
from web import Web

AT_ONCE = 32


def rclone(web: Web, corpus: Corpus, target: Path, work: Path, *, tls: bool) -> list[str]:
    """Copy with rclone, without a listing: it is told what there is."""
    names = work / "rclone.txt"
    names.write_text("\n".join(corpus.paths()) + "\n")
    command = ["rclone", "copy", ":http:", str(target), "--http-url", web.origin(tls=tls), "--files-from", str(names)]
    options = ["--no-traverse", "--transfers", str(AT_ONCE), "--checkers", str(AT_ONCE), "--config", "/dev/null"]
    return [*command, *options, "--ca-cert", str(web.ca)]


def curl(web: Web, corpus: Corpus, target: Path, work: Path, *, tls: bool) -> list[str]:
    """Copy with curl, many at once."""
    names = work / "curl.txt"
    lines = [f'url = "{web.origin(tls=tls)}/{path}"\noutput = "{target}/{path}"' for path in corpus.paths()]
    names.write_text("\n".join(lines) + "\n")
    options = ["--parallel", "--parallel-max", str(AT_ONCE), "--create-dirs", "--silent", "--show-error", "--fail"]
    return ["curl", *options, "--cacert", str(web.ca), "--config", str(names)]


def wget2(web: Web, corpus: Corpus, target: Path, work: Path, *, tls: bool) -> list[str]:
    """Copy with wget2, many at once."""
    names = work / "wget.txt"
    names.write_text("\n".join(f"{web.origin(tls=tls)}/{path}" for path in corpus.paths()) + "\n")
    options = ["--max-threads", str(AT_ONCE), "--force-directories", "--no-host-directories", "--quiet"]
    return ["wget2", *options, "--ca-certificate", str(web.ca), "-P", str(target), "-i", str(names)]


def equal_work(command: Sequence[str], target: Path) -> list[str]:
    """Add what gives the same assurance: a hash of every file, and all of it on the disk."""
    files = f"find {shlex.quote(str(target))} -type f -print0"
    script = f"{shlex.join(command)} && {files} | xargs -0 -P2 -n 200 sha256sum > /dev/null && sync -f {target}"
    return ["sh", "-c", script]
