"""What people would take instead, on the very same objects: their bare copy, and with what we do besides."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from corpus import Corpus
from web import Web

AT_ONCE = 32


def rclone(web: Web, corpus: Corpus, target: Path, work: Path, *, tls: bool, at_once: int = AT_ONCE) -> list[str]:
    """Copy with rclone, without a listing: it is told what there is."""
    names = work / "rclone.txt"
    names.write_text("\n".join(corpus.paths()) + "\n")
    command = ["rclone", "copy", ":http:", str(target), "--http-url", web.origin(tls=tls), "--files-from", str(names)]
    options = ["--no-traverse", "--transfers", str(at_once), "--checkers", str(at_once), "--config", "/dev/null"]
    return [*command, *options, "--ca-cert", str(web.ca)]


def rclone_again(web: Web, target: Path, *, tls: bool) -> list[str]:
    """Look with rclone whether anything is new, by the server's own listings of its folders."""
    command = ["rclone", "copy", ":http:content", str(target / "content"), "--http-url", web.origin(tls=tls)]
    options = ["--transfers", str(AT_ONCE), "--checkers", str(AT_ONCE), "--config", "/dev/null"]
    return [*command, *options, "--ca-cert", str(web.ca)]


def curl(web: Web, corpus: Corpus, target: Path, work: Path, *, tls: bool, at_once: int = AT_ONCE) -> list[str]:
    """Copy with curl, many at once."""
    names = work / "curl.txt"
    lines = [f'url = "{web.origin(tls=tls)}/{path}"\noutput = "{target}/{path}"' for path in corpus.paths()]
    names.write_text("\n".join(lines) + "\n")
    options = ["--parallel", "--parallel-max", str(at_once), "--create-dirs", "--silent", "--show-error", "--fail"]
    return ["curl", *options, "--cacert", str(web.ca), "--config", str(names)]


def wget2(web: Web, corpus: Corpus, target: Path, work: Path, *, tls: bool, at_once: int = AT_ONCE) -> list[str]:
    """Copy with wget2, many at once."""
    names = work / "wget.txt"
    names.write_text("\n".join(f"{web.origin(tls=tls)}/{path}" for path in corpus.paths()) + "\n")
    options = ["--max-threads", str(at_once), "--force-directories", "--no-host-directories", "--quiet"]
    return ["wget2", *options, "--ca-certificate", str(web.ca), "-P", str(target), "-i", str(names)]


def equal_work(command: Sequence[str], target: Path) -> list[str]:
    """Add what gives the same assurance: a hash of every file, and all of it on the disk."""
    return ["sh", "-c", f"{shlex.join(command)} && {_hashes(target)} && sync -f {shlex.quote(str(target))}"]


def hashes(target: Path) -> list[str]:
    """Hash every file below a folder, two at once."""
    return ["sh", "-c", _hashes(target)]


def local(source: Path, target: Path) -> list[str]:
    """Read, write and hash the same bytes without any network, and have all of it on the disk: the machine's limit."""
    return equal_work(["cp", "-r", str(source), str(target)], target)


def _hashes(target: Path) -> str:
    return f"find {shlex.quote(str(target))} -type f -print0 | xargs -0 -P2 -n 200 sha256sum > /dev/null"
