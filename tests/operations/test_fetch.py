"""What fails becomes an outcome that can be kept."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from syncer.errors import Damaged
from syncer.model import Image
from syncer.operations.fetch import _failed
from syncer.operations.rooms import utc_now


def test_a_reason_is_whole_letters_without_secrets():
    """A header may hold bytes that are no letters, and journal and manifest take only those that are."""
    rooms: Any = SimpleNamespace(now=utc_now)
    error = Damaged("not a picture", declared="text/\udcff", said="Bearer abcdef0123456789")

    failed = _failed(rooms, Image("a", "w", None), error)

    assert failed.reason.encode().decode() == failed.reason
    assert "abcdef" not in failed.reason
