"""The exit codes, in one place: for each command's help and for the documentation."""

from __future__ import annotations

from collections.abc import Iterable

MEANINGS = {
    0: "complete",
    1: "unexpected error (a bug)",
    2: "usage or configuration",
    3: "finished, but not complete: something failed or is pending",
    4: "verification found damage",
    5: "safety stop: the deletion brake, or the archive's marker is missing",
    6: "another process holds the archive",
    7: "credentials refused",
    8: "the service could not be reached, or kept failing",
    9: "the archive cannot be written (full, read-only, I/O error)",
    130: "stopped by SIGINT; all that was finished is kept",
    143: "stopped by SIGTERM; all that was finished is kept",
}


def epilogue(beyond: Iterable[int] | None = None) -> str:
    """Write the end of a command's help: 0, 1, 2 and those `beyond` them; without, all there are."""
    chosen = sorted(MEANINGS) if beyond is None else sorted({0, 1, 2, *beyond})
    return "Exit codes:\n" + "\n".join(f"  {code:>3}  {MEANINGS[code]}" for code in chosen)
