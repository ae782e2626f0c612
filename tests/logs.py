"""Logging belongs to the whole process: tests that configure it give it back as it was."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog


@contextmanager
def logging_as_before() -> Iterator[None]:
    """Restore handlers and levels at the end of the block, and structlog's own defaults."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    libraries = {name: logging.getLogger(name).level for name in ("asyncio", "aiohttp", "apscheduler")}
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        for name, before in libraries.items():
            logging.getLogger(name).setLevel(before)
        structlog.reset_defaults()
