"""Logging belongs to the whole process: tests that configure it give it back as it was."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import structlog


@contextmanager
def logging_as_before() -> Iterator[None]:
    """Restore handlers and levels at the end of the block, and structlog's own defaults."""
    _forget()
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
        _forget()


def _forget() -> None:
    """Undo what loggers remember of the configuration that they were first used with, in tests before this one."""
    for name, module in list(sys.modules.items()):
        logger = getattr(module, "log", None)
        if name.startswith("syncer.") and not isinstance(logger, ModuleType | None):
            vars(logger).pop("bind", None)
