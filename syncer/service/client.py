"""The hosted service as the operations see it: workspaces, pages, images, content.

Says what each answer means and which requests carry the token: those to the API's own origin, and no others.
Redirects are followed here, hop by hop, each judged by the perimeter. `page`, `image` and the workspaces are repeated
as a whole; `content` is one attempt, because only its caller knows where half a body went: wrap it in `retrying`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from yarl import URL

from syncer.errors import Damaged, NotFound, Refused, SyncerError, Unauthorized, Unavailable, UnexpectedAnswer
from syncer.model import Content, Image, ImagePage, Workspace
from syncer.service import auth, content, links, refusals, wire
from syncer.service.addresses import Perimeter, Trust, public, redirected
from syncer.service.pacing import Pacing
from syncer.service.transport import Answer, Transport
from syncer.service.upload import Source, Uploader

T = TypeVar("T")

MAX_HOPS = 5
MAX_JSON = 64 * 1024 * 1024  # after unpacking
MAX_TOKEN_ANSWER = 1024 * 1024
MAX_WORKSPACE_PAGES = 1000
PAGE_SIZE = 200

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LATER = frozenset({408, 425, 429})
_EXPIRED = frozenset({400, 401, 403})  # what object stores answer to a signature that is too old

_JSON = {"Accept": "application/json", "Accept-Encoding": "gzip, deflate"}
_BYTES = {"Accept": "*/*", "Accept-Encoding": "identity"}

Judge = Callable[[URL, URL | None], Trust]


@dataclass(frozen=True, slots=True)
class Connection:
    """Where the service is, who we are to it, and how patient to be. `retries` counts tries after the first."""

    url: str
    token_url: str
    credentials: auth.Credentials
    content_origins: tuple[str, ...] = ()
    requests_per_second: float = 0
    slots: int = 32  # requests in flight to one origin, at most
    retries: int = 5
    retry_seconds: float = 300
    stall_seconds: float = 60
    ca_file: str | None = None


class ImageService:
    """One open connection to the service; see `open`."""

    def __init__(
        self, connection: Connection, perimeter: Perimeter, transport: Transport, pacing: Pacing, tokens: auth.Tokens
    ) -> None:
        self._base = connection.url.rstrip("/")
        self._perimeter = perimeter
        self._transport = transport
        self._pacing = pacing
        self._tokens = tokens
        self._link_prefix: str | None = None  # of the reading of relative links that has worked

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        connection: Connection,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        random: Callable[[], float] = random.random,
        on_secret: Callable[[str], None] | None = None,
    ) -> AsyncIterator[ImageService]:
        """Open the connection; nothing is asked yet. `on_secret` is told every access token before it is used."""
        perimeter = Perimeter.of(connection.url, connection.token_url, connection.content_origins)
        pacing = Pacing(
            retries=connection.retries,
            retry_seconds=connection.retry_seconds,
            requests_per_second=connection.requests_per_second,
            slots=connection.slots,
            clock=clock,
            sleep=sleep,
            random=random,
        )
        opened = Transport.open(
            perimeter,
            pacing,
            stall_seconds=connection.stall_seconds,
            document_seconds=connection.retry_seconds,
            ca_file=connection.ca_file,
        )
        async with opened as transport:

            async def ask(form: dict[str, str]) -> bytes:
                return await _ask_for_token(transport, pacing, URL(connection.token_url), form)

            tokens = auth.Tokens(connection.credentials, ask, clock=clock, on_secret=on_secret or _nobody)
            async with aclosing(tokens):
                yield cls(connection, perimeter, transport, pacing, tokens)

    @property
    def requests(self) -> int:
        """How many HTTP requests were sent, tokens and redirects included."""
        return self._transport.requests

    @property
    def statuses(self) -> Counter[int]:
        """How often each status was answered."""
        return self._transport.statuses

    @property
    def clock_skew(self) -> float | None:
        """Our clock minus the service's, in seconds, at its last answer; None where it did not say."""
        return self._transport.clock_skew

    @property
    def token_age(self) -> float | None:
        """The age of the access token in seconds; None before the first one, or where it was given to us ready."""
        return self._tokens.age

    @property
    def down(self) -> bool:
        """Whether the service or a content origin keeps failing; see `Pacing`."""
        return self._pacing.down

    @property
    def activity(self) -> int:
        """A count that goes up with everything that is sent or arrives: while it does, the service is not hanging."""
        return self._transport.activity

    def try_anew(self) -> None:
        """Give a service that was `down` its chance again, for another run over the same connection."""
        self._pacing.forget()

    async def retrying(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Carry out the attempt, and repeat it within the configured tries and time while that may help."""
        return await self._pacing.retrying(attempt)

    # --- documents ------------------------------------------------------------------------------------

    async def workspaces(self) -> tuple[Workspace, ...]:
        """Every workspace that the credentials can reach; raises rather than leaving one out."""
        found: dict[str, Workspace] = {}
        for _ in range(2):  # pages shift while they are read: a second sweep may see what the first one missed
            total = await self._sweep_workspaces(found)
            if total is None or len(found) >= total:
                return tuple(found.values())
        raise UnexpectedAnswer(
            "the service shows fewer workspaces than it says there are",
            shown=len(found),
            total=total,
            hint='name the workspaces in the configuration instead of "*"',
        )

    async def _sweep_workspaces(self, found: dict[str, Workspace]) -> int | None:
        read, swept = 0, set[str]()
        for number in range(1, MAX_WORKSPACE_PAGES + 1):
            url = links.workspaces_page_url(self._base, number, PAGE_SIZE)
            workspaces, rows, total = await self._ask(url, wire.decode_workspaces)
            read += rows
            fresh = {workspace.id for workspace in workspaces} - swept
            swept |= fresh
            found.update((workspace.id, workspace) for workspace in workspaces)
            # A short page alone does not end it, for pages may be smaller than asked; nor does a total that is refuted.
            if not fresh or (read == total and rows < PAGE_SIZE):
                return total
        raise UnexpectedAnswer("the list of workspaces does not end", pages=MAX_WORKSPACE_PAGES)

    async def workspace(self, workspace_id: str) -> Workspace:
        """One workspace's own document."""
        return await self._ask(links.workspace_url(self._base, workspace_id), wire.decode_workspace)

    async def page(self, workspace_id: str, number: int, size: int = PAGE_SIZE) -> ImagePage:
        """One page of a workspace's images, newest first, counted from 1."""
        url = links.images_page_url(self._base, workspace_id, number, size)
        return await self._ask(url, lambda body: wire.decode_page(body, workspace_id))

    async def image(self, workspace_id: str, image_id: str) -> Image:
        """One image's own document."""
        url = links.image_url(self._base, workspace_id, image_id)
        image = await self._ask(url, lambda body: wire.decode_image(body, workspace_id))
        if image.id != image_id:
            raise UnexpectedAnswer("the service answers with another image", asked=image_id, answered=image.id)
        return image

    async def _ask(self, url: URL, decode: Callable[[bytes], T]) -> T:
        return await self.retrying(lambda: self._ask_once(url, decode))

    async def _ask_once(self, url: URL, decode: Callable[[bytes], T]) -> T:
        with _understanding(url):
            async with aclosing(await self._follow(url, self._perimeter.judge_api, _JSON)) as answer:
                document = decode(await answer.body(MAX_JSON))
        self._answered(answer)
        return document

    # --- uploads --------------------------------------------------------------------------------------

    async def upload(self, workspace_id: str, source: Source) -> Image:
        """Make a new image in a workspace; returns it as the service's answer shows it. Never redirected.

        Repeated only where surely nothing was carried out. Raises `Unavailable` (given up, and surely nothing was),
        `Unsettled` (it may have been; `accepted` where the service said yes and the rest is lost), `QuotaReached`,
        `NotFound` and `Refused` with their `status` (402, 403, 404, 410 and 3xx are about the workspace or the
        service, other 4xx about this content), `Unauthorized`. Cancelled, it may have been carried out.
        """
        url = links.images_page_url(self._base, workspace_id, 1, PAGE_SIZE).with_query(None)
        self._perimeter.judge_api(url)
        return await Uploader(self._transport, self._pacing, self._tokens, _JSON).upload(url, workspace_id, source)

    # --- content --------------------------------------------------------------------------------------

    @asynccontextmanager
    async def content(self, image: Image) -> AsyncIterator[Content]:
        """The bytes of one image, in one attempt; the body is whole if `chunks` ends without an error."""
        async with aclosing(await self._open_content(image)) as answer:
            media_type, encoded = content.media_type(answer.headers), content.encoding(answer.headers)
            try:
                if encoded is None:
                    length, digests = content.length(answer.headers), content.digests(answer.headers)
                    yield Content(answer, length, media_type, digests)
                else:  # length and hashes are of the body as it was sent: they say nothing about what it unpacks to
                    async with aclosing(content.decoded(answer, encoded)) as chunks:
                        yield Content(chunks, media_type=media_type)
            finally:
                if answer.whole:
                    self._answered(answer)

    async def _open_content(self, image: Image) -> Answer:
        link = image.content or await self._link(image)
        try:
            return await self._open_link(link)
        except Unauthorized as error:
            # Either the credentials are refused, which ends the run, or this content alone is: the document tells.
            await self.image(image.workspace_id, image.id)
            raise Refused("the service refuses this image's content", status=401) from error
        except Refused as error:
            if error.status not in _EXPIRED or error.facts.get("origin") == str(self._perimeter.api):
                raise
            refused = error
        # A signed link ends some time after the listing that showed it: the image's own document has a new one.
        fresh = await self._link(image)
        if fresh == link:
            raise refused
        return await self._open_link(fresh)

    async def _link(self, image: Image) -> str:
        link = (await self.image(image.workspace_id, image.id)).content
        if not link:
            raise Refused("no content link", workspace=image.workspace_id, image=image.id)
        return link

    async def _open_link(self, link: str) -> Answer:
        """Open the first reading of the link that is found, beginning with the way that links were meant before."""

        def prefix(url: URL) -> str:
            return str(url).removesuffix(link)

        missing: NotFound | None = None
        for url in sorted(links.content_links(link, self._base), key=lambda url: prefix(url) != self._link_prefix):
            try:
                answer = await self._follow(url, self._perimeter.judge, _BYTES)
            except NotFound as error:
                missing = missing or error
            else:
                self._link_prefix = prefix(url)
                return answer
        raise missing or Refused("no content link")

    # --- hops -----------------------------------------------------------------------------------------

    async def _follow(self, url: URL, judge: Judge, headers: dict[str, str]) -> Answer:
        """Ask, and go where the answers send us; returns an answer with status 200, raises for any other."""
        seen: list[URL] = []
        while len(seen) <= MAX_HOPS:
            trust = judge(url, seen[-1] if seen else None)
            seen.append(url)
            answer = await self._hop(url, trust, headers)
            if answer.status == 200:
                return answer
            async with aclosing(answer):
                if answer.status not in _REDIRECTS:
                    raise await self._refusal(answer)
                await answer.excerpt()
                self._answered(answer)
                url = redirected(url, answer.headers.get("Location"))
            if url in seen:
                raise Refused("the redirects go round in a circle", **public(url))
        raise Refused("more redirects than anybody needs", redirects=len(seen), **public(url))

    async def _hop(self, url: URL, trust: Trust, headers: dict[str, str]) -> Answer:
        if trust is Trust.FOREIGN:
            return await self._transport.send(url, trust, headers)
        for _ in range(2):
            token = await self._tokens.current()
            authorized = {**headers, "Authorization": f"Bearer {token}"}
            answer = await self._transport.send(url, trust, authorized)
            if answer.status != 401:
                return answer
            async with aclosing(answer):
                await answer.excerpt()
            self._tokens.refused(token)
        raise Unauthorized("the service refuses a token that is new", status=401, hint=auth.HINT, **public(url))

    async def _refusal(self, answer: Answer) -> SyncerError:
        # Only the service's own words are repeated: an object store quotes the signed request in its errors.
        body = await answer.excerpt() if answer.trust is Trust.API else b""
        said, code = refusals.decode_error(answer.status, body)
        error = _meaning(answer, self._tokens.blanked(said), code and self._tokens.blanked(code))
        if not error.retryable:
            self._answered(answer)
        return error

    def _answered(self, answer: Answer) -> None:
        self._pacing.succeeded(answer.origin)


async def _ask_for_token(transport: Transport, pacing: Pacing, url: URL, form: dict[str, str]) -> bytes:
    """Post the form, to this URL only: a redirect would carry the client's secret to somebody else."""
    with _understanding(url):
        async with aclosing(await transport.send(url, Trust.FOREIGN, _JSON, form)) as answer:
            if answer.status == 200:
                body = await answer.body(MAX_TOKEN_ANSWER)
                pacing.succeeded(answer.origin)
                return body
            body = await answer.excerpt()
    if answer.status in (400, 401, 403):
        raise Unauthorized(
            "the token endpoint refuses the credentials",
            status=answer.status,
            code=auth.read_refusal(body),
            hint=auth.HINT,
            **public(url),
        )
    error = _meaning(answer, "", None)
    if isinstance(error, Unavailable):
        raise error
    raise UnexpectedAnswer(
        "no token endpoint is there", status=answer.status, hint="check service.token_url", **public(url)
    )


@contextmanager
def _understanding(url: URL) -> Iterator[None]:
    """Whatever is wrong with a document is an answer of this origin that cannot be understood."""
    try:
        yield
    except (Damaged, UnexpectedAnswer) as error:
        raise UnexpectedAnswer(error.message, hint=error.hint, **{**public(url), **error.facts}) from error


def _meaning(answer: Answer, said: str, code: str | None) -> SyncerError:
    """Say what a status other than 200 means."""
    status = answer.status
    facts = {**public(answer.url), "said": said or None}
    if status in (404, 410):
        return NotFound("the service does not know it", status=status, code=code, **facts)
    if status in _LATER or status >= 500:
        message = "the service asks to come later" if status in _LATER else "the service fails"
        return Unavailable(message, retry_after=answer.retry_after, status=status, code=code, **facts)
    if 400 <= status < 500:
        return Refused("the service refuses", status=status, code=code, **facts)
    return UnexpectedAnswer("the service answers with an unexpected status", status=status, **facts)


def _nobody(_: str) -> None:
    pass
