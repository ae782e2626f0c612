"""Fixtures of the inbox's tests."""

from __future__ import annotations

from inbox_parts import mounted

__all__ = ["mounted"]
