"""structlog is configured here, and only here; and here secrets are kept out of everything that is printed.

Logs go to stderr: lines for people, or JSON with `SYNCER_LOG_FORMAT=json`. Every value passes one `Redactor`, which
blanks the secrets it was told of and whatever looks like one: bearer tokens, signed queries, data URIs.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO
from urllib.parse import quote_plus

import structlog

BLANK = "…"
_SHAPES = (
    (re.compile(r"(?i)\b(bearer(?=\s+[\w.~+/=-]{6})|basic(?=\s+[\w.~+/=-]{16}))\s+[\w.~+/=-]+"), r"\1 " + BLANK),
    (
        re.compile(
            r"(?i)\b(client_secret|access_token|refresh_token|id_token|password)(=|['\"]?:\s*['\"]?)[^\s&\"',}]+"
        ),
        r"\1\2" + BLANK,
    ),
    (
        re.compile(r"(?i)([?&](?:[\w-]*(?:signature|credential|security-token)|sig|token|key)=)[^&\s\"'<>]+"),
        r"\1" + BLANK,
    ),
    (re.compile(r"(?i)data:[\w.+-]+/[\w.+-]+;base64,[A-Za-z0-9+/=]{16,}"), "data:" + BLANK),
)


class Redactor:
    """Blanks secrets in text: those it was told of, and what looks like one."""

    def __init__(self) -> None:
        self._known: list[str] = []

    def learn(self, secret: str) -> None:
        """Never let this value through from now on. Shorter than four characters would blank ordinary words."""
        if len(secret) >= 4:
            spellings = {
                secret,
                repr(secret)[1:-1],
                quote_plus(secret, errors="replace"),
            }  # as errors and forms show it
            # The longest first: a secret inside another must not split it.
            self._known = sorted({*self._known, *spellings}, key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return the text without secrets."""
        for secret in self._known:
            if secret in text:
                text = text.replace(secret, BLANK)
        for shape, instead in _SHAPES:
            text = shape.sub(instead, text)
        return text

    def value(self, value: Any) -> Any:
        """Return a value of any shape without secrets: text inside lists and mappings included."""
        if isinstance(value, str):
            return self(value)
        if isinstance(value, dict):
            return {self.value(k): self.value(v) for k, v in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self.value(v) for v in value]
        if value is None or isinstance(value, int | float):
            return value
        return self(str(value))


redact = Redactor()


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


def _harmless(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Names from the service must not steer the terminal of whoever reads the log."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = "".join(c if c.isprintable() or c == "\n" else "\N{REPLACEMENT CHARACTER}" for c in value)
    return event


def configure(*, level: str = "info", json: bool = False, colour: bool = False) -> None:
    """Send all logs, ours and those of the libraries, as redacted lines to stderr.

    `level` is one of debug, info, warning, error.
    """
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Frames' locals may hold a token; the plain traceback does not show them.
    traceback = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
    ending: list[structlog.typing.Processor]
    if json:
        ending = [traceback, _redacted, structlog.processors.JSONRenderer(ensure_ascii=False)]
    else:
        plain = structlog.dev.ConsoleRenderer(
            colors=colour, pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
        )
        ending = [structlog.processors.format_exc_info, _redacted, _harmless, plain]
    handler = _ToStderr()
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
