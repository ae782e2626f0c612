"""Keep secrets out of everything that is printed: those that were learnt, and whatever looks like one.

Log lines, messages to people and data all pass the one `redact`: bearer tokens, signed queries and data URIs become
`…`, and so does every secret that it was told of.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Any
from urllib.parse import quote_plus

BLANK = "…"
PASSING_SECRETS = 64  # that are remembered: the tokens of some ten days
# What looks like a secret, what stands in its place, and what such text holds in lower case, one or another of it: most
# text holds none, and to see that takes a tenth of the time.
_SHAPES = (
    (
        re.compile(r"(?i)\b(bearer(?=\s+[\w.~+/=-]{6})|basic(?=\s+[\w.~+/=-]{16}))\s+[\w.~+/=-]+"),
        r"\1 " + BLANK,
        ("bearer", "basic"),
    ),
    (
        re.compile(
            r"(?i)\b(client_secret|access_token|refresh_token|id_token|password)(=|['\"]?:\s*['\"]?)[^\s&\"',}]+"
        ),
        r"\1\2" + BLANK,
        ("client_secret", "_token", "password"),
    ),
    (
        re.compile(r"(?i)([?&](?:[\w-]*(?:signature|credential|security-token)|sig|token|key)=)[^&\s\"'<>]+"),
        r"\1" + BLANK,
        ("=",),
    ),
    (re.compile(r"(?i)data:[\w.+-]+/[\w.+-]+;base64,[A-Za-z0-9+/=]{16,}"), "data:" + BLANK, (";base64,",)),
)


class Redactor:
    """Blanks secrets in text: those it was told of, and what looks like one."""

    def __init__(self) -> None:
        self._lasting: set[str] = set()
        self._passing: deque[set[str]] = deque(maxlen=PASSING_SECRETS)
        self._known: list[str] = []

    def learn(self, secret: str, *, passing: bool = False) -> None:
        """Never let this value through from now on. Shorter than four characters would blank ordinary words.

        Of those that are `passing`, as tokens that are renewed for years, only the latest are remembered.
        """
        if len(secret) >= 4:
            spellings = {
                secret,
                repr(secret)[1:-1],
                quote_plus(secret, errors="replace"),
            }  # as errors and forms show it
            if passing:
                self._passing.append(spellings)
            else:
                self._lasting |= spellings
            # The longest first: a secret inside another must not split it.
            self._known = sorted(self._lasting.union(*self._passing), key=len, reverse=True)

    def __call__(self, text: str) -> str:
        """Return the text without secrets."""
        for secret in self._known:
            if secret in text:
                text = text.replace(secret, BLANK)
        if text.isidentifier():  # a name alone fits no shape: each has a sign or a space in it
            return text
        low = text.lower() if text.isascii() else None  # beyond ASCII more than two letters may be the same to a shape
        for shape, instead, needs in _SHAPES:
            if low is not None:
                for need in needs:
                    if need in low:
                        break
                else:
                    continue
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
