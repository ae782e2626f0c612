"""The house's rule, read from the imports themselves, lazy ones included: they point one way, downward."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

HOUSE = Path(__file__).parents[1] / "syncer"

WORDS = {"errors", "model", "settings"}
ROOMS = {"service", "archive", "manifest", "inbox"}  # none of them imports another: an operation introduces them
HALL = WORDS | ROOMS | {"log", "redaction", "operations"}
MAY_IMPORT = {
    "errors": set[str](),
    "simulator": set[str](),
    "redaction": set[str](),
    "log": {"redaction"},
    "model": {"errors"},
    "settings": {"errors", "model"},
    **dict.fromkeys(ROOMS, WORDS),
    "operations": HALL,
    "app": HALL,
    "daemon": HALL | {"app"},
    "web": HALL | {"app"},
    "cli": HALL | {"app", "daemon", "web", "simulator"},
    "__main__": {"cli"},
}
ONLY_IN = {
    "aiohttp": {"service", "simulator", "daemon"},  # the daemon as a server: its health
    "sqlite3": {"manifest"},
    "sqlite_utils": {"manifest"},
    "prometheus_client": {"daemon"},
    "apscheduler": {"daemon", "settings"},  # settings let its cron reader judge a schedule
}


@cache
def imports() -> list[tuple[str, str, str]]:
    """Read each import: the room it stands in, the file and line, and what is imported, with dots."""
    return list(_imports())


def _imports() -> Iterator[tuple[str, str, str]]:
    for file in sorted(HOUSE.rglob("*.py")):
        inside = ("syncer", *file.relative_to(HOUSE).with_suffix("").parts)
        room = "syncer" if inside[1] == "__init__" else inside[1]
        for node in ast.walk(ast.parse(file.read_bytes())):
            where = f"{file.relative_to(HOUSE)}:{getattr(node, 'lineno', '')}"
            if isinstance(node, ast.Import):
                yield from ((room, where, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                base = ".".join(inside[: -node.level]) if node.level else ""
                module = ".".join(filter(None, [base, node.module]))
                yield from ((room, where, f"{module}.{alias.name}") for alias in node.names)


def test_imports_point_downward():
    """Rooms know nothing of each other or of what is above them; the simulator knows nothing of the house."""
    breaches = []
    for room, where, name in imports():
        top, _, rest = name.partition(".")
        other = rest.partition(".")[0]
        if top == "syncer" and other not in {room, "__version__"} and other not in MAY_IMPORT.get(room, set()):
            breaches.append(f"{where} imports {name}")
    assert not breaches


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_has_its_room(library: str):
    """Only one room knows the HTTP client, only one SQLite, only one the scheduler."""
    users = {room: where for room, where, name in imports() if name.partition(".")[0] == library}
    assert users.keys() <= ONLY_IN[library], users
