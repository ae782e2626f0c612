"""How syncer speaks: human text to stderr, data to stdout, colour only for a terminal, and never a secret."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

from rich.console import Console
from rich.markup import escape

from syncer.errors import ConfigError, SyncerError
from syncer.redaction import redact

BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


class _Patient(Console):
    """A console whose reader may leave: what it would have said is dropped, and the work goes on."""

    def on_broken_pipe(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


err = _Patient(stderr=True, highlight=False, soft_wrap=True)
out = Console(highlight=False, soft_wrap=True)


def say(text: str = "") -> None:
    """Tell the person something; rich markup is understood."""
    err.print(redact(text))


_to_json = json.JSONEncoder(ensure_ascii=False, default=str).encode


def data(line: dict[str, Any]) -> None:
    """Write one JSON line to stdout. A reader that has left does not end the work that is being told of."""
    all_data([line])


def all_data(lines: Iterable[dict[str, Any]]) -> int:
    """Write JSON lines to stdout, as many at a time as it takes; returns how many. A reader that leaves ends it."""
    count = 0
    try:
        for line in lines:
            sys.stdout.write(_to_json(redact.value(line)) + "\n")
            count += 1
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return count


def complain(error: SyncerError) -> None:
    """Tell the person what went wrong and what to do next, without a traceback."""
    say(f"[bold red]syncer: {clean(error.message)}[/]")
    for problem in error.problems if isinstance(error, ConfigError) else ():
        say(f"  {clean(problem)}")
    for name, value in error.facts.items():
        if value is not None:
            say(f"  [dim]{name}:[/] {clean(value)}")
    if error.hint:
        say(f"  [bold]→[/] {clean(error.hint)}")


def size(count: int | None) -> str:
    """Write a number of bytes for people."""
    if count is None:
        return "?"
    value = float(count)
    for unit in BYTE_UNITS:
        if value < 1024 or unit == BYTE_UNITS[-1]:
            break
        value /= 1024
    return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"


def clean(text: object) -> str:
    """Make text from outside harmless on a terminal: no markup, no control characters."""
    return escape(plain(text, allowed="\n"))


def plain(text: object, allowed: str = "") -> str:
    """Put a replacement in the place of control characters, so that text from outside stays on its line."""
    text = str(text)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in allowed else "\N{REPLACEMENT CHARACTER}" for c in text)


def plural(count: int, noun: str) -> str:
    """Write a count with its noun."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def interactive() -> bool:
    """Say whether a person is watching: stderr is a terminal that can move its cursor."""
    return err.is_terminal and os.environ.get("TERM") != "dumb"
