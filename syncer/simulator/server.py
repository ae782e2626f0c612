"""The imitation as a running server: who is let in, how fast, and what goes wrong on request.

`async with Simulator.start(Options(...)) as sim:` listens on loopback, twice: the API with its token endpoint, and
an object store on another port that takes signed URLs and no token. Everything it keeps is in memory and gone at
the end. The data is in `sim.workspaces`, the switches in `sim.faults`, what was asked in `sim.requests`, what was
uploaded, whether it was answered or not, in `sim.uploads`.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import math
import random
import secrets
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Self

import google_crc32c
from aiohttp import hdrs, web
from aiohttp.typedefs import Handler
from aiolimiter import AsyncLimiter
from multidict import CIMultiDictProxy

from . import faults
from .faults import Faults
from .handlers import Handlers, Problem, content_path, picture, problem
from .state import Clock, Shelf, furnish
from .uploads import Uploaded

_REMEMBERED = 20_000  # requests in `Simulator.requests`
_LARGEST = 64 * 2**20  # of a request's body


@dataclass(frozen=True)
class Options:
    """What to imitate."""

    port: int = 0  # 0: any free one
    images: int = 120  # over both workspaces
    latency: float = 0.0  # seconds before each answer
    rate_limit: float = 0.0  # requests a second, then 429; 0: no limit
    token_ttl: int = 14399  # seconds
    fault_rate: float = 0.0  # the chance that a request fails, 0 to 1
    seed: int = 1
    client_id: str = "demo"
    client_secret: str = field(default="demo-secret", repr=False)
    until: datetime | None = None  # the end of the year that the images come from; None: this day's start


@dataclass(slots=True)
class Served:
    """One request; `status` is None while the answer is still being made."""

    method: str
    path: str  # as it was sent, escaped, without the query
    operation: str  # the route's name: listing, image, content, token, store …; "" for none
    query: dict[str, str]
    headers: CIMultiDictProxy[str]
    workspace: str | None = None
    image: str | None = None
    status: int | None = None


class Simulator:
    """A running imitation of the service."""

    def __init__(self, options: Options, clock: Clock, sleep: Callable[[float], Awaitable[object]]) -> None:
        now = datetime.fromtimestamp(clock(), UTC)
        until = options.until or now.replace(hour=0, minute=0, second=0, microsecond=0)
        self.options = options
        self.workspaces: dict[str, Shelf] = furnish(options.images, options.seed, until, clock)
        self.faults = Faults()
        self.requests: deque[Served] = deque(maxlen=_REMEMBERED)
        self.uploads: list[Uploaded] = []  # in the order in which they were carried out
        self.counts: Counter[str] = Counter()  # requests by operation, all of them
        self.url = self.token_url = self.store_url = ""
        self._clock = clock
        self._sleep = sleep
        self._tokens: dict[str, float] = {}
        self._key = secrets.token_bytes()
        self._limiter = _limiter(options.rate_limit)
        self._trouble = _trouble(options)

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        options: Options = Options(),
        *,
        clock: Clock = time.time,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> AsyncIterator[Self]:
        """Listen until the block ends."""
        sim = await asyncio.to_thread(cls, options, clock, sleep)  # drawing the pictures takes a moment
        async with AsyncExitStack() as stack:
            api = web.Application(middlewares=[sim._remember, sim._admit], client_max_size=_LARGEST)
            api.add_routes(
                [web.post("/oauth/v2/token", sim._grant, name="token"), *Handlers(sim.workspaces, sim.uploads).routes()]
            )
            store = web.Application(middlewares=[sim._remember])
            store.add_routes([web.get("/bucket/{workspace}/{image:[^/]+}", sim._store, name="store")])
            host = await _listen(stack, api, options.port)
            sim.store_url = await _listen(stack, store, 0)
            sim.url, sim.token_url = f"{host}/api", f"{host}/oauth/v2/token"
            yield sim

    # --- for tests and the demo -----------------------------------------------------------------------

    def issue_token(self) -> str:
        """A token that the service takes, for those who hold only a token."""
        token = secrets.token_urlsafe(24)
        self._tokens[token] = self._clock() + self.options.token_ttl
        return token

    def expire_tokens(self) -> None:
        """Let every token issued so far be expired."""
        self._tokens.clear()

    def signed_url(self, workspace: str, image: str) -> str:
        """Where the object store serves an image, with a signature that any re-quoting breaks."""
        path = content_path(workspace, image).removeprefix("/api/image-service/v1/workspaces").removesuffix("/content")
        path = "/bucket" + path.replace("/images/", "/", 1)
        claim = f"{path}?X-Goog-Credential=demo%40store%2Fauto&X-Goog-Date={int(self._clock())}"
        return f"{self.store_url}{claim}&X-Goog-Signature={self._sign(claim)}"

    def is_uploaded(self, request: web.Request) -> bool:
        """Whether the image that a request is about came by upload: `when=sim.is_uploaded`."""
        return any(request.match_info.get("image") == uploaded.image for uploaded in self.uploads)

    def to_store(self, request: web.Request) -> str:
        """The signed URL for the image a request is about: `redirect(sim.to_store)`."""
        return self.signed_url(request.match_info["workspace"], request.match_info["image"])

    # --- answering ------------------------------------------------------------------------------------

    @web.middleware
    async def _remember(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Write down what is asked and what came of it."""
        info = request.match_info
        served = Served(
            method=request.method,
            path=request.rel_url.raw_path,
            operation=info.route.name or "",
            query=dict(request.query),
            headers=request.headers,
            workspace=info.get("workspace"),
            image=info.get("image"),
        )
        self.requests.append(served)
        self.counts[served.operation] += 1
        answer = await handler(request)
        served.status = answer.status
        return answer

    @web.middleware
    async def _admit(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Delay, fail on request, limit, check the token; then let the handler answer."""
        if self.options.latency:
            await self._sleep(self.options.latency)

        async def honest(request: web.Request) -> web.StreamResponse:
            try:
                if request.match_info.route.name != "token":
                    await self._limit()
                    self._check(request)
                return await handler(request)
            except Problem as refused:
                return refused.answer()
            except web.HTTPException as refused:  # no such route, no such method, a body too large
                return problem(HTTPStatus(refused.status), refused.reason, "HTTP_ERROR").answer()

        async def troubled(request: web.Request) -> web.StreamResponse:
            return await self._trouble.apply(request, honest)

        return await self.faults.apply(request, troubled)

    async def _limit(self) -> None:
        if self._limiter is None:
            return
        if not self._limiter.has_capacity():
            wait = str(math.ceil(1 / self.options.rate_limit))
            raise problem(HTTPStatus.TOO_MANY_REQUESTS, "Too many requests", "RATE_LIMITED", **{hdrs.RETRY_AFTER: wait})
        await self._limiter.acquire()

    def _check(self, request: web.Request) -> None:
        scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
        if scheme.lower() != "bearer" or self._tokens.get(token, -math.inf) <= self._clock():
            challenge = {hdrs.WWW_AUTHENTICATE: "Bearer"}
            raise problem(HTTPStatus.UNAUTHORIZED, "Missing, unknown or expired token", "UNAUTHORIZED", **challenge)

    async def _grant(self, request: web.Request) -> web.Response:
        form = await request.post()
        if form.get("grant_type") != "client_credentials":
            raise Problem(HTTPStatus.BAD_REQUEST, {"error": "unsupported_grant_type"})
        if (form.get("client_id"), form.get("client_secret")) != (self.options.client_id, self.options.client_secret):
            raise Problem(HTTPStatus.UNAUTHORIZED, {"error": "invalid_client"})
        if "openid" not in str(form.get("scope", "")).split():
            raise Problem(HTTPStatus.BAD_REQUEST, {"error": "invalid_scope"})
        answer = {"access_token": self.issue_token(), "token_type": "Bearer", "expires_in": self.options.token_ttl}
        return web.json_response(answer)

    async def _store(self, request: web.Request) -> web.StreamResponse:
        return await self.faults.apply(request, self._from_store)

    async def _from_store(self, request: web.Request) -> web.StreamResponse:
        claim, _, signature = request.rel_url.raw_path_qs.rpartition("&X-Goog-Signature=")
        shelf = self.workspaces.get(request.match_info["workspace"])
        if hdrs.AUTHORIZATION in request.headers:  # as the real one: a signature or a token, never both
            return _xml(HTTPStatus.BAD_REQUEST, "InvalidArgument")
        if not hmac.compare_digest(signature, self._sign(claim)):
            return _xml(HTTPStatus.FORBIDDEN, "SignatureDoesNotMatch")
        if shelf is None or request.match_info["image"] not in shelf:
            return _xml(HTTPStatus.NOT_FOUND, "NoSuchKey")
        answer = picture(shelf[request.match_info["image"]])
        checksum = base64.b64encode(google_crc32c.value(answer.body).to_bytes(4, "big")).decode()
        answer.headers["x-goog-hash"] = f"crc32c={checksum},md5={answer.headers.popone(hdrs.CONTENT_MD5)}"
        return answer

    def _sign(self, claim: str) -> str:
        return hmac.new(self._key, claim.encode(), hashlib.sha256).hexdigest()


async def _listen(stack: AsyncExitStack, app: web.Application, port: int) -> str:
    """Serve an application on loopback until the stack closes; a client that hangs does not hold us up."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return f"http://127.0.0.1:{runner.addresses[0][1]}"


def _limiter(rate: float) -> AsyncLimiter | None:
    burst = max(1.0, rate)
    return AsyncLimiter(burst, burst / rate) if rate else None


def _trouble(options: Options) -> Faults:
    """The rule behind `fault_rate`: by a seeded throw, one of the failures that gateways and networks have."""
    chance = random.Random(options.seed)  # noqa: S311 - bad luck, not a secret
    kinds = (faults.status(500), faults.html(502), faults.html(503), faults.reset(), faults.cut())

    async def act(request: web.Request, proceed: faults.Proceed) -> web.StreamResponse:
        return await chance.choice(kinds)(request, proceed)

    trouble = Faults()
    if options.fault_rate:
        trouble.on(
            "*",
            act,
            when=lambda request: request.match_info.route.name != "token" and chance.random() < options.fault_rate,
        )
    return trouble


def _xml(status: HTTPStatus, code: str) -> web.Response:
    text = f"<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code></Error>"
    return web.Response(status=status, text=text, content_type="application/xml")
