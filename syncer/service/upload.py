"""Send one picture to a workspace, and say truly what is known of it afterwards.

Sent twice, a picture is there twice. So a request is repeated only where surely nothing was carried out: no connection,
"too many requests", a token that had ended. Whatever goes wrong once a byte may have left is `Unsettled`, and what to
do then is for the caller. The body goes out as `sending` writes it; the transport gives it a connection of its own,
since one that was kept alive may be closing just then.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, quote_plus, unquote, unquote_plus

from yarl import URL

from syncer.errors import (
    Damaged,
    NotFound,
    QuotaReached,
    Refused,
    SyncerError,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    Unsettled,
)
from syncer.model import Image
from syncer.service import auth, refusals, wire
from syncer.service.addresses import public
from syncer.service.pacing import Pacing
from syncer.service.sending import Outgoing
from syncer.service.transport import Answer, Transport

MAX_ANSWER = 64 * 1024 * 1024  # after unpacking; a service may repeat in it what it was sent
_CREATED = frozenset({200, 201})
_LATER = frozenset({425, 429})  # says that it was not carried out; 408 and 503 may come from somebody who cannot know


@dataclass(frozen=True, slots=True)
class Inline:
    """A picture's bytes, sent along as a `data:` URI of this media type."""

    media_type: str
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Remote:
    """An address from which the service fetches the picture itself; it may be signed, so it is never shown."""

    address: str = field(repr=False)


Source = Inline | Remote


def outgoing(source: Source) -> Outgoing:
    """Say in JSON what is to be uploaded."""
    match source:
        case Remote(address):
            return Outgoing(json.dumps({"imageUrl": address}).encode(), b"", b"")
        case Inline(media_type, body):
            document = json.dumps({"imageUrl": f"data:{media_type};base64,"}).encode()
            return Outgoing(document.removesuffix(b'"}'), body, b'"}')


@dataclass(frozen=True, slots=True)
class Uploader:
    """The way up, over the connections and with the patience of one client. `headers` go with each request."""

    transport: Transport
    pacing: Pacing
    tokens: auth.Tokens
    headers: Mapping[str, str]

    async def upload(self, url: URL, workspace_id: str, source: Source) -> Image:
        """Post the source to a workspace's images; see `ImageService.upload` for what is raised."""
        try:
            return await self.pacing.retrying(lambda: self._attempt(url, workspace_id, source))
        except UnexpectedAnswer as error:  # only the token endpoint's: nothing was sent
            unsent: dict[str, Any] = error.facts
            raise Unavailable(error.message, hint=error.hint, **unsent) from error

    async def _attempt(self, url: URL, workspace_id: str, source: Source) -> Image:
        for _ in range(2):
            token = await self.tokens.current()
            authorized = {**self.headers, "Authorization": f"Bearer {token}"}
            async with aclosing(await self.transport.post(url, authorized, outgoing(source))) as answer:
                if answer.status != 401:
                    return await self._image(answer, workspace_id, source)
                await answer.excerpt()
            self.tokens.refused(token)
        raise Unauthorized("the service refuses a token that is new", status=401, hint=auth.HINT, **public(url))

    async def _image(self, answer: Answer, workspace_id: str, source: Source) -> Image:
        if answer.status not in _CREATED:
            raise await self._refusal(answer, source)
        try:
            image = wire.decode_image(await answer.body(MAX_ANSWER), workspace_id)
        except (Damaged, Unavailable, UnexpectedAnswer) as error:
            facts: dict[str, Any] = {**public(answer.url), **error.facts}
            facts |= {"status": answer.status, "reason": error.message}
            raise Unsettled("the service took the upload; its answer is lost", accepted=True, **facts) from error
        self.pacing.succeeded(answer.origin)
        return image

    async def _refusal(self, answer: Answer, source: Source) -> SyncerError:
        body = _without(source, await answer.excerpt())
        said, code = (text and self.tokens.blanked(text) for text in refusals.decode_error(answer.status, body))
        error = _meaning(answer, said or "", code)
        if isinstance(error, Refused):
            self.pacing.succeeded(answer.origin)
        return error


def _meaning(answer: Answer, said: str, code: str | None) -> SyncerError:
    """Say what an answer without an image means for what was sent."""
    status = answer.status
    facts = {**public(answer.url), "said": said or None}
    if 200 <= status < 300:
        message = "the service took the upload, and does not say what became of it"
        return Unsettled(message, accepted=True, status=status, code=code, **facts)
    if status in (404, 410):
        return NotFound("the service does not know it", status=status, code=code, **facts)
    if status == 402 or (status in (403, 429) and speaks_of_quota(f"{code or ''} {said}")):
        message = "the service takes no more uploads from this workspace for now"
        return QuotaReached(message, status=status, code=code, retry_after=answer.retry_after, **facts)
    if status in _LATER:
        message = "the service asks to come later"
        return Unavailable(message, retry_after=answer.retry_after, status=status, code=code, **facts)
    if 300 <= status < 400:
        message = "the service sends the upload elsewhere, and an upload is never sent on"
        return Refused(message, status=status, code=code, hint="set service.url to where it really is", **facts)
    if 400 <= status < 500 and status != 408:
        return Refused("the service refuses the upload", status=status, code=code, **facts)
    message = "the service does not say whether it took the upload"
    return Unsettled(message, status=status, code=code, retry_after=answer.retry_after, **facts)


# --- quotas -------------------------------------------------------------------------------------------

_END = r"(?:reached|exceeded|exhausted|used\W+up|hit)"
_QUOTA = re.compile(
    rf"""(?ix) quota | credits? (?![a-z]) | allowance | payment \W* required | insufficient \W* (?:funds|balance)
    | limit s? (?:\W+ \w+){{0,3}} \W+ {_END} | {_END} (?:\W+ \w+){{0,4}} \W+ limit """
)
_RATE = re.compile(r"(?i)\brates?\b|per\W+(?:second|minute)|throttl|concurren|\brequests?\W+limit")


def speaks_of_quota(text: str) -> bool:
    """Whether a refusal's code and words speak of what a workspace may have, rather than of how fast it asks."""
    text = text.replace("_", " ")
    return bool(_QUOTA.search(text)) and not _RATE.search(text)


# --- what is not repeated -----------------------------------------------------------------------------

_ADDRESS = re.compile(rb'(?i)(?:https?|data)(?::|\\u003a|%(?:25)*3a)[^\s"]*')
_SHORT = 6  # a piece of an address that is shorter is a word like any other


def _without(source: Source, body: bytes) -> bytes:
    """Blank in an error's body what the service repeats of the upload: its address, in part or as a whole."""
    body = _ADDRESS.sub(b"...", body)
    if isinstance(source, Remote):
        for piece in sorted(_pieces(source.address), key=len, reverse=True):
            body = body.replace(piece.encode(errors="replace"), b"...")
    return body


def _pieces(address: str) -> set[str]:
    """What a secret may be in: the path, the query, each part of them, in the spellings that an answer may have."""
    _, _, rest = address.partition("://")
    path, mark, query = rest.partition("/")[2].partition("?")
    values = [pair.partition("=")[2] for pair in re.split("[&;#]", query)]
    found = {path + mark + query, path, query, *query.split("#"), *path.split("/"), *values}
    found |= {spelled(piece) for piece in found for spelled in (unquote, unquote_plus, quote, quote_plus)}
    found |= {json.dumps(piece, ensure_ascii=raw)[1:-1] for piece in found for raw in (True, False)}
    found |= {piece.replace("/", r"\/") for piece in found}
    return {piece for piece in found if len(piece) >= _SHORT}
