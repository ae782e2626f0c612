"""structlog is configured here, and only here.

Logs go to stderr: lines for people, or JSON with `SYNCER_LOG_FORMAT=json`. Where stderr is journald's, JSON goes to
journald itself with priority and fields, so that `journalctl -p warning SYNCER_IMAGE=…` finds it. What is bound by
structlog's contextvars stands on each line; the words are `run`, `workspace`, `image`. Every value passes `redact`.
"""

from __future__ import annotations

import json as jsonlib
import logging
import os
import socket
import sys
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any, TextIO

import structlog

from syncer.redaction import redact

JOURNALD = Path("/run/systemd/journal/socket")
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))  # syslog(3)
_DEBUG = 7
_FIELDS = {"event": "SYNCER_EVENT", "run": "SYNCER_RUN", "workspace": "SYNCER_WORKSPACE", "image": "SYNCER_IMAGE"}
_to_json = structlog.processors.JSONRenderer(ensure_ascii=False)


def _redacted(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        event[name] = redact.value(value)
    return event


class _ToStderr(logging.StreamHandler[TextIO]):
    """Writes to what stderr is at that moment: progress bars put something of theirs in its place."""

    @property
    def stream(self) -> TextIO:
        return sys.stderr

    @stream.setter
    def stream(self, _: TextIO) -> None:
        pass

    def format(self, record: logging.LogRecord) -> str:
        """Say at least whose line it was when it cannot be made: `"%d" % "many"`, a value that cannot be shown."""
        try:
            return super().format(record)
        except Exception as error:  # whatever a library's own values may raise
            where = f"{record.name}:{record.lineno}"
            return jsonlib.dumps({"event": "log.unreadable", "logger": where, "error": type(error).__name__})

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802  the standard library's name
        """Say nothing: the standard words would show the record's arguments, a token among them."""


class _ToJournal(_ToStderr):
    """Hands each line to journald; what it does not take goes to stderr, where a prefix keeps the priority."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = os.fspath(path)

    def format(self, record: logging.LogRecord) -> str:
        return f"<{_priority(record)}>{super().format(record)}"  # sd-daemon(3)

    def emit(self, record: logging.LogRecord) -> None:
        if not _sent(_journal_entry(super().format(record), _priority(record)), self._path):
            super().emit(record)


def _priority(record: logging.LogRecord) -> int:
    return next((priority for level, priority in _PRIORITIES if record.levelno >= level), _DEBUG)


def _journal_entry(line: str, priority: int) -> bytes:
    """Write systemd's native journal protocol; the fields are read from the line, so that nothing else gets in."""
    told = jsonlib.loads(line)
    fields = {"MESSAGE": line, "PRIORITY": str(priority), "SYSLOG_IDENTIFIER": "syncer"}
    fields |= {field: str(told[name]) for name, field in _FIELDS.items() if told.get(name) is not None}
    return b"".join(_journal_field(name.encode(), value) for name, value in fields.items())


def _journal_field(name: bytes, value: str) -> bytes:
    data = value.encode("utf-8", "backslashreplace")  # half a surrogate pair is no letter of UTF-8
    if value.isprintable():
        return name + b"=" + data + b"\n"
    return name + b"\n" + len(data).to_bytes(8, "little") + data + b"\n"


def _sent(entry: bytes, path: str) -> bool:
    """Say whether journald took it. Asked anew each time: it may be restarted, or the sandbox may not show it."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.setblocking(False)  # a journald that hangs must not hold up a backup
            sender.sendto(entry, path)
    except OSError:
        return False
    return True


def under_journal(environ: Mapping[str, str]) -> bool:
    """Say whether stderr, descriptor 2, is a stream of journald's: systemd.exec(5), `$JOURNAL_STREAM`."""
    try:
        stderr = os.fstat(2)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{stderr.st_dev}:{stderr.st_ino}"


def _harmless(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Names from the service must not steer the terminal of whoever reads the log."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in value)
    return event


def _as_json(logger: object, method: str, event: MutableMapping[str, Any]) -> str:
    """Names from the service must not steer a terminal, nor be no UTF-8: escaped, they are the same JSON."""
    line = str(_to_json(logger, method, event))
    return line if line.isprintable() else "".join(c if c.isprintable() else jsonlib.dumps(c)[1:-1] for c in line)


def configure(*, level: str = "info", json: bool = False, colour: bool = False, journal: Path | None = None) -> None:
    """Send all logs, ours and those of the libraries, as redacted lines to stderr or to journald.

    `level` is one of debug, info, warning, error. `journal` is journald's socket, `JOURNALD`, where `under_journal`
    says so: then lines are JSON, and stderr gets only what cannot be sent there.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Frames' locals may hold a token; the plain traceback does not show them.
    traceback = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
    ending: list[structlog.typing.Processor]
    if json or journal:
        ending = [traceback, _redacted, _as_json]
    else:
        plain = structlog.dev.ConsoleRenderer(
            colors=colour, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
        )
        ending = [structlog.processors.format_exc_info, _redacted, _harmless, plain]
    handler = _ToJournal(journal) if journal else _ToStderr()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for library in ("asyncio", "aiohttp", "apscheduler"):  # what they say below this is not for operators
        logging.getLogger(library).setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
