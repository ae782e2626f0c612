"""What was said on the command line for every command: which configuration, and what overrides it."""

from __future__ import annotations

import os
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from syncer.cli.output import clean, err, say
from syncer.errors import ConfigError

if TYPE_CHECKING:
    from syncer.settings import Settings


@dataclass(frozen=True, slots=True)
class Invocation:
    """The options that every command has."""

    config: Path | None = None
    overrides: dict[str, object] = field(default_factory=dict)
    log_level: str | None = None


current: ContextVar[Invocation] = ContextVar("invocation", default=Invocation())  # noqa: B039  it is frozen


def overrides(pairs: list[str]) -> dict[str, object]:
    """Read `--set limits.downloads=8` into a mapping. Raises `ConfigError`."""
    read: dict[str, object] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise ConfigError("--set wants KEY=VALUE", hint="for example: --set limits.downloads=8")
        read[key.strip()] = value
    return read


def settings() -> Settings:
    """Load the settings that this invocation names; warnings go to the person. Raises `ConfigError`."""
    from syncer import settings as configuration

    asked = current.get()
    path = configuration.find_config(asked.config, os.environ, Path.cwd())
    loaded, warnings = configuration.load(path, os.environ, asked.overrides)
    for warning in warnings:
        say(f"[yellow]warning:[/] {clean(warning)}")
    return loaded


def configure_log(default: str = "info") -> None:
    """Send the log to stderr, as lines for people or as JSON when SYNCER_LOG_FORMAT says so.

    Where stderr is journald's stream, it is journald that gets them, as JSON and with fields of its own.
    """
    from syncer import log

    level = current.get().log_level or os.environ.get("SYNCER_LOG_LEVEL") or default
    if level.lower() not in {"debug", "info", "warning", "error"}:
        raise ConfigError(f"no log level {level!r}", hint="one of: debug, info, warning, error")
    json = os.environ.get("SYNCER_LOG_FORMAT", "").lower() == "json"
    journal = log.JOURNALD if log.under_journal(os.environ) else None
    log.configure(level=level.lower(), json=json, colour=err.is_terminal, journal=journal)
