"""Everything that may go wrong on the way, as small actions that tests combine.

A rule is a matcher and an action. The action stands between the request and its honest answer: it may answer
itself, ask for the honest answer (`proceed`) and spoil it, or wait first. Rules are tried in the order they were
added; the first that matches acts, `times` says how often. It knows requests and answers, not what they mean.

    sim.faults.on("content", cut(), image=id)                 every time, for one image
    sim.faults.on("listing", status(429, retry_after=1), times=2)
    sim.faults.on("listing", before(lambda request: shelf.delete(id)), page=2, times=1)
"""

from __future__ import annotations

import asyncio
import gzip as gz
import inspect
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import hdrs, web

Proceed = Callable[[web.Request], Awaitable[web.StreamResponse]]
Action = Callable[[web.Request, Proceed], Awaitable[web.StreamResponse]]
Matcher = Callable[[web.Request], bool]

OPERATIONS = frozenset(
    ("*", "token", "workspaces", "workspace", "models", "listing", "upload", "image", "delete", "content", "store")
)


@dataclass(slots=True)
class Rule:
    """One matcher with its action; `left` counts down (None: for ever), `hits` up."""

    matches: Matcher
    act: Action
    left: int | None = None
    hits: int = 0


@dataclass(slots=True)
class Faults:
    """The rules in force."""

    rules: list[Rule] = field(default_factory=list)

    def on(
        self,
        operation: str,
        action: Action,
        *,
        workspace: str | None = None,
        image: str | None = None,
        page: int | None = None,
        times: int | None = None,
        when: Matcher = lambda request: True,
    ) -> Rule:
        """Add a rule for an operation (a route's name, or `*`), narrowed as far as said."""
        if operation not in OPERATIONS:
            raise ValueError(f"no operation is called {operation!r}")  # a rule that never acts would prove nothing
        wanted = {"workspace": workspace, "image": image}

        def matches(request: web.Request) -> bool:
            return (
                operation in ("*", request.match_info.route.name)
                and all(value is None or request.match_info.get(name) == value for name, value in wanted.items())
                and (page is None or request.query.get("page", "1") == str(page))
                and when(request)
            )

        rule = Rule(matches, action, times)
        self.rules.append(rule)
        return rule

    def clear(self) -> None:
        """Behave again."""
        self.rules.clear()

    async def apply(self, request: web.Request, proceed: Proceed) -> web.StreamResponse:
        """Let the first rule that matches act, else answer honestly."""
        for rule in self.rules:
            if rule.left != 0 and rule.matches(request):
                rule.hits += 1
                rule.left = None if rule.left is None else rule.left - 1
                return await rule.act(request, proceed)
        return await proceed(request)


# --- answers instead of the honest one ----------------------------------------------------------------


def status(code: int, *, retry_after: int | str | None = None, error: str = "", machine: str | None = None) -> Action:
    """Answer with an error status and the documented body; `retry_after` is sent as it is given."""

    async def act(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        body = {"error": error or f"simulated {code}"} | ({"code": machine} if machine else {})
        headers = {} if retry_after is None else {hdrs.RETRY_AFTER: str(retry_after)}
        return web.json_response(body, status=code, headers=headers)

    return act


def body(content: bytes, media_type: str, *, code: int = 200) -> Action:
    """Answer with these bytes under this type: a page of HTML, some JSON, nothing at all."""

    async def act(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        return web.Response(body=content, content_type=media_type, status=code)

    return act


def html(code: int = 502) -> Action:
    """Answer as a gateway does that has lost the service behind it."""
    return body(b"<html><head><title>Bad Gateway</title></head><body>nginx</body></html>", "text/html", code=code)


def redirect(location: str | Callable[[web.Request], str], *, code: int = 302) -> Action:
    """Send the client elsewhere; the location may be made from the request (see `Simulator.to_store`)."""

    async def act(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        target = location if isinstance(location, str) else location(request)
        return web.Response(status=code, headers={hdrs.LOCATION: target})

    return act


def hops(count: int | None, *, code: int = 302) -> Action:
    """Send the client round so many times before the honest answer; None never stops."""

    async def act(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        done = int(request.query.get("hop", "0"))
        if done == count:
            return await proceed(request)
        target = f"{request.rel_url.raw_path}?hop={done + 1}"
        return web.Response(status=code, headers={hdrs.LOCATION: target})

    return act


def reset() -> Action:
    """Break the connection before any answer, the hard way (RST). aiohttp's client quietly asks a GET once more."""

    async def act(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        hang_up(request)
        return web.Response()

    return act


def unanswered() -> Action:
    """Do what was asked, then break the connection instead of answering: did the upload arrive?"""

    async def act(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        answer = await proceed(request)
        hang_up(request)
        return answer

    return act


# --- the honest answer, spoiled -----------------------------------------------------------------------


def headers(changes: Mapping[str, str | None]) -> Action:
    """Set headers of the honest answer, or leave them out (None): another Content-MD5, no Content-Type."""

    async def act(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        answer = await proceed(request)
        for name, value in changes.items():
            answer.headers.popall(name, None)
            if value is not None:
                answer.headers[name] = value
        return answer

    return act


def rewrite(edit: Callable[[bytes], bytes]) -> Action:
    """Change the bytes of a good answer, and the length with them: a truncated picture, a flipped bit."""

    async def act(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        answer, content = await _honest(request, proceed)
        if answer.status < 300:
            answer.body = edit(content)
        return answer

    return act


def gzip(*, claim: str = "gzip") -> Action:
    """Compress the body, asked or not."""

    async def act(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        answer, content = await _honest(request, proceed)
        answer.body = gz.compress(content, mtime=0)
        answer.headers[hdrs.CONTENT_ENCODING] = claim
        return answer

    return act


def chunked() -> Action:
    """Send the body without saying its length."""

    async def act(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        answer, content = await _honest(request, proceed)
        answer.headers.popall(hdrs.CONTENT_LENGTH, None)
        stream = web.StreamResponse(status=answer.status, headers=answer.headers)
        stream.enable_chunked_encoding()
        await stream.prepare(request)
        await stream.write(content[: len(content) // 2])
        await stream.write(content[len(content) // 2 :])
        await stream.write_eof()
        return stream

    return act


def cut(keep: float = 0.5) -> Action:
    """Promise the whole length, send a part of the body, hang up."""
    return _raw(lambda content: (len(content), content[: int(len(content) * keep)]))


def overlong(extra: bytes = b"and more") -> Action:
    """Send more bytes than the length that was promised."""
    return _raw(lambda content: (len(content), content + extra))


def until_close(keep: float = 1.0) -> Action:
    """Send no length at all, and (a part of) the body until the connection closes."""
    return _raw(lambda content: (None, content[: int(len(content) * keep)]))


def stall(go_on: asyncio.Event, *, after: float = 0.5) -> Action:
    """Send a part of the body, then nothing until the event is set."""

    async def act(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        answer, content = await _honest(request, proceed)
        stream = web.StreamResponse(status=answer.status, headers=answer.headers)
        stream.content_length = len(content)
        await stream.prepare(request)
        await stream.write(content[: int(len(content) * after)])
        await go_on.wait()
        await stream.write(content[int(len(content) * after) :])
        await stream.write_eof()
        return stream

    return act


def before(hook: Callable[[web.Request], object]) -> Action:
    """Call (and await) something before the honest answer is made: change the data, wait for an event."""

    async def act(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        result = hook(request)
        if inspect.isawaitable(result):
            await result
        return await proceed(request)

    return act


def both(outer: Action, inner: Action) -> Action:
    """Two actions on one answer: the outer one spoils what the inner one made."""

    async def act(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        async def spoiled(request: web.Request) -> web.StreamResponse:
            return await inner(request, proceed)

        return await outer(request, spoiled)

    return act


# --- pages --------------------------------------------------------------------------------------------


def edit(change: Callable[[Any], Any]) -> Action:
    """Change a JSON answer: the function gets the decoded document and returns the one to send."""
    return rewrite(lambda content: json.dumps(change(json.loads(content))).encode())


def totals(**claims: Any) -> Action:
    """Claim other numbers in `page` than the true ones; None leaves the number out."""

    def change(document: Any) -> Any:
        page = {**document["page"], **claims}
        return {**document, "page": {name: value for name, value in page.items() if value is not None}}

    return edit(change)


def each(change: Callable[[dict[str, Any]], Any]) -> Action:
    """Change every row of a page, or the one row of an image's own answer."""

    def change_all(document: Any) -> Any:
        if "data" not in document:
            return change(document)
        return {**document, "data": [change(row) for row in document["data"]]}

    return edit(change_all)


def without(*fields: str) -> Action:
    """Leave fields out of every row."""
    return each(lambda row: {name: value for name, value in row.items() if name not in fields})


def relink(link: Callable[[dict[str, Any]], str]) -> Action:
    """Give every row another content link: a relative one, a signed one at the store, nonsense."""
    return each(lambda row: {**row, "_links": {"content": link(row)}})


def empty() -> Action:
    """Send a page without rows and with the honest totals."""
    return edit(lambda document: {**document, "data": []})


def same() -> Action:
    """Send the first page that was asked for again and again, whatever is asked."""
    first: list[Any] = []

    def change(document: Any) -> Any:
        if not first:
            first.append(document)
        return first[0]

    return edit(change)


def endless() -> Action:
    """Always send a full page of rows that were never seen, and claim that another follows."""
    pages = 0

    def change(document: Any) -> Any:
        nonlocal pages
        pages += 1
        page = document["page"]
        size, asked = page["size"], page["currentPage"]
        row = document["data"][0] if document["data"] else {"createdAt": "2026-01-01T00:00:00Z", "updatedAt": ""}
        rows = [{**row, "id": f"endless-{pages}-{number}"} for number in range(size)]
        claims = {"totalElements": (asked + 1) * size, "totalPages": asked + 1}
        return {"page": {**page, **claims}, "data": rows}

    return edit(change)


async def _honest(request: web.Request, proceed: Proceed) -> tuple[web.Response, bytes]:
    answer = await proceed(request)
    if not isinstance(answer, web.Response) or not isinstance(answer.body, bytes | None):
        raise TypeError("this action needs an answer that is held in memory: make it the inner one of `both`")
    return answer, answer.body or b""


def _raw(spoil: Callable[[bytes], tuple[int | None, bytes]]) -> Action:
    """Write an answer past the HTTP library, which would not let us lie, and hang up."""

    async def act(request: web.Request, proceed: Proceed) -> web.StreamResponse:
        answer, content = await _honest(request, proceed)
        length, sent = spoil(content)
        lines = [f"HTTP/1.1 {answer.status} {answer.reason}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in answer.headers.items() if name != hdrs.CONTENT_LENGTH]
        if length is not None:
            lines.append(f"Content-Length: {length}")
        transport = connection(request)
        transport.write("\r\n".join([*lines, "", ""]).encode() + sent)
        transport.close()
        return answer

    return act


def hang_up(request: web.Request) -> None:
    """Break the connection that a request came over, the hard way (RST)."""
    transport = connection(request)
    raw = transport.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no farewell: RST
    transport.abort()


def connection(request: web.Request) -> asyncio.Transport:
    """Return the connection that a request came over, to write past the HTTP library."""
    transport = request.transport
    if not isinstance(transport, asyncio.Transport):
        raise ConnectionResetError("the client has gone")
    return transport
