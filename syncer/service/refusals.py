"""Read what the service says about an error. No I/O, no log.

Whatever it says is for people: bounded, printable, and never a token that it echoed. What the error means for a request
belongs to others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from http import HTTPStatus

import msgspec

_LONGEST_ERROR_BODY = 64 * 1024
_LONGEST_ERROR_TEXT = 200
# What a service may echo and must not be repeated: bearer tokens, queries, and anything long and random.
_ECHO = re.compile(r"(?i)bearer\s+\S+|\?[^\s=]+=\S+|[\w.~+/=-]{32,}|((?:token|secret|password)\s*[=:]\s*)\S+")


def decode_error(status: int, body: bytes) -> tuple[str, str | None]:
    """Read the service's words about an error, and its machine-readable code; never a token that it echoed."""
    words: list[str] = []
    code: object = None
    try:
        found = msgspec.json.decode(body) if len(body) <= _LONGEST_ERROR_BODY else None
    except (msgspec.DecodeError, ValueError, RecursionError):
        found = None  # a gateway's HTML says no more than the status does
    if isinstance(found, dict):
        code = found.get("code")
        words = list(_error_words(found))
    text = _plain(": ".join(dict.fromkeys(words))) or _phrase(status)
    return text, _plain(str(code)) if isinstance(code, str | int) else None


def _error_words(found: dict[str, object]) -> Iterator[str]:
    for name in ("error", "error_description", "message"):
        value = found.get(name)
        if isinstance(value, str) and value:
            yield value
    errors = found.get("errors")
    for item in errors if isinstance(errors, list) else ():
        if isinstance(item, dict):
            parts = (item.get("field"), item.get("message") or item.get("type"))
            yield " ".join(str(part) for part in parts if isinstance(part, str | int))


def _plain(text: str) -> str:
    """One line of printable text, bounded, with everything blanked that looks like a credential."""
    printable = "".join(character if character.isprintable() else " " for character in text[:2000])
    blanked = _ECHO.sub(r"\1…", " ".join(printable.split()))
    return blanked if len(blanked) <= _LONGEST_ERROR_TEXT else f"{blanked[: _LONGEST_ERROR_TEXT - 1]}…"


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"status {status}"
