"""The service's words about an error."""

from __future__ import annotations

import json

import pytest

from syncer.service import refusals

CANARY = "c4n4ry" * 8


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b'{"error": "no such image", "code": "NOT_FOUND"}', ("no such image", "NOT_FOUND")),
        (b'{"error": "limit reached"}', ("limit reached", None)),
        (b'{"errors": [{"field": "size", "message": "too big", "type": "v"}, 7]}', ("size too big", None)),
        (b'{"error": "invalid_client", "error_description": "unknown"}', ("invalid_client: unknown", None)),
        (b'{"error": {"odd": 1}, "code": 12}', ("Service Unavailable", "12")),
        (b"<html>secret gateway words</html>", ("Service Unavailable", None)),
        (b"", ("Service Unavailable", None)),
        (b"[" * 9000, ("Service Unavailable", None)),
        (b'{"error": "a\\u0000b\\u001b[31m\\n\\u202ec"}', ("a b [31m c", None)),
    ],
)
def test_an_error_says_what_the_service_says_on_one_printable_line(answer, words):
    """The service's text and code where there are any, the status's name otherwise, nothing that steers a terminal."""
    assert refusals.decode_error(503, answer) == words


def test_an_error_is_bounded_and_echoes_no_credential():
    """A service that repeats our token in its complaint, or talks without end, does not reach the log with it."""
    for echo in (f"Bearer {CANARY[:9]}", f"token={CANARY[:9]}", f"https://h/o?x={CANARY[:9]}", f"bad {CANARY} here"):
        text, code = refusals.decode_error(401, json.dumps({"error": echo, "code": echo}).encode())
        assert CANARY[:9] not in f"{text} {code}"
    for endless in ("so it goes " * 1000, "?" * 60_000):
        text, _ = refusals.decode_error(400, json.dumps({"error": endless}).encode())
        assert len(text) == 200
    assert refusals.decode_error(799, b"") == ("status 799", None)
