"""A second imitation of the service, written from its documentation alone and with other habits than the simulator.

Small pages whatever is asked, gzipped JSON, relative links in every documented form, bodies without a length, an
object store on another origin with signatures that any re-quoting breaks, ids that no file system likes, times with
offsets, `expires_in` as a string, tokens that end early. What is uploaded is answered with 200, other fields first, a
time with fractions, no size, and content by way of the store. It shares no line with the simulator or the program.
"""

from __future__ import annotations

import base64
import gzip
import json
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from aiohttp import web

PER_PAGE = 7
SECRET = "canary-5e1f7c9ab2d34860"  # and so are its tokens and signatures: they must turn up nowhere
SIGNATURE = "canary-signature%2Bwith%2fodd%7equoting%3D%3D"


def escaped(text: str) -> str:
    """One path segment; dots alone would walk away."""
    return quote(text, safe="") if text.strip(".") else text.replace(".", "%2E")


FORMS: tuple[Callable[[str, str, str], Any], ...] = (  # of links: the API's host, the store's, the path below /v1
    lambda host, store, path: f"{host}/api/image-service/v1{path}",
    lambda host, store, path: f"/api/image-service/v1{path}",
    lambda host, store, path: f"/image-service/v1{path}",
    lambda host, store, path: f"image-service/v1{path}",
    lambda host, store, path: f"/v1{path}",
    lambda host, store, path: f"{host.partition(':')[2]}/api/image-service/v1{path}",
    lambda host, store, path: {"href": f"{host}/api/image-service/v1{path}"},
    lambda host, store, path: f"{store}{path}?X-Goog-Signature={SIGNATURE}",
    lambda host, store, path: f"{host}/api/image-service/v1{path}?via=store",
)


def by_the_store(host: str, store: str, path: str) -> str:
    """A relative link, which leads on to the store."""
    return f"image-service/v1{path}?via=store"


@dataclass
class Piece:
    """One image: what is served, the fields of its row beyond id and link, and the form of its link, if it is fixed."""

    body: bytes
    fields: dict[str, Any]
    form: Callable[[str, str, str], Any] | None = None


@dataclass
class Stranger:
    """The running service; what it holds is changed in place."""

    shelves: dict[str, dict[str, Piece]] = field(default_factory=dict)
    host: str = ""
    store: str = ""
    seen: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)  # where, raw path, headers
    troubles: list[web.Response] = field(default_factory=list)  # instead of the next answers of the API
    token: str = "canary-token-1"
    tokens: int = 0
    uploads: list[str] = field(default_factory=list)  # the ids of those that were carried out
    lost: list[web.Response] = field(default_factory=list)  # instead of the answers to the next uploads
    good_for: int | None = None  # requests that a token is good for
    content: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] | None = None  # instead of every picture
    _used: int = 0

    @classmethod
    @asynccontextmanager
    async def start(cls, tls: ssl.SSLContext | None = None) -> AsyncIterator[Stranger]:
        """Listen on loopback until the block ends."""
        one = cls()
        async with AsyncExitStack() as stack:
            for name, handler, context in (("host", one._api, tls), ("store", one._from_store, None)):
                runner = web.ServerRunner(
                    web.Server(handler, access_log=None), shutdown_timeout=0.1
                )  # no router: raw paths
                await runner.setup()
                stack.push_async_callback(runner.cleanup)
                await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
                setattr(one, name, f"http{'s' if context else ''}://127.0.0.1:{runner.addresses[0][1]}")
            yield one

    def configure(self, folder: Path, **service: Any) -> Path:
        """Write a configuration for all that it holds."""
        (folder / "client_secret").write_text(SECRET)
        (folder / "client_secret").chmod(0o600)
        settings = {
            "url": f"{self.host}/api/",
            "token_url": f"{self.host}/oauth",
            "client_id": "somebody",
            "client_secret_file": str(folder / "client_secret"),
            "content_origins": [self.store],
        } | service
        lines = ["[service]", *(f"{key} = {json.dumps(value)}" for key, value in settings.items())]
        lines += ["[archive]", f"path = {json.dumps(str(folder / 'archive'))}", "reserve = 0"]
        lines += ["[limits]", "retries = 2", "retry_seconds = 10", "stall_seconds = 5"]
        lines += [f"[[workspaces]]\nid = {json.dumps(workspace)}" for workspace in self.shelves]
        path = folder / "syncer.toml"
        path.write_text("\n".join(lines))
        return path

    # --- the API --------------------------------------------------------------------------------------

    async def _api(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        self.seen.append(("api", path, dict(request.headers)))
        if path == "/oauth":
            return await self._grant(request)
        if self.troubles:
            return self.troubles.pop(0)
        self._used += 1
        worn = self.good_for is not None and self._used > self.good_for
        if worn or request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.Response(status=401, text="<html>expired</html>", content_type="text/html")
        segments = path.removeprefix("/api/image-service/v1/workspaces/").split("/")
        workspace = unquote(segments[0])
        if not path.startswith("/api/image-service/v1/workspaces/") or workspace not in self.shelves:
            return web.json_response({"error": "no such thing"}, status=404)
        match [unquote(segment) for segment in segments[1:]]:
            case ["images"] if request.method == "POST":
                return await self._take(request, workspace)
            case ["images"]:
                return self._page(workspace, int(request.query["page"]))
            case ["images", image] if image in self.shelves[workspace]:
                return _packed(self._row(workspace, image))
            case ["images", image, "content"] if image in self.shelves[workspace]:
                if query == "via=store":
                    return web.Response(status=302, headers={"Location": self._signed(workspace, image)})
                return await self._serve(request, workspace, image)
        return web.json_response({"error": "no such image", "code": "NOT_FOUND"}, status=404)

    async def _take(self, request: web.BaseRequest, workspace: str) -> web.Response:
        source = (await request.json())["imageUrl"]
        body = base64.b64decode(source.partition(";base64,")[2], validate=True)
        image = f"up/{len(self.uploads) + 1}"
        now = datetime.now(timezone(timedelta(hours=2))).isoformat(timespec="microseconds")
        fields = {"updatedAt": now, "imageSize": None, "prompt": None, "createdAt": now}
        shelf = self.shelves[workspace]
        shelf |= {image: Piece(body, fields, by_the_store)} | {id_: shelf.pop(id_) for id_ in list(shelf)}
        self.uploads.append(image)
        return self.lost.pop(0) if self.lost else _packed(self._row(workspace, image))

    async def _grant(self, request: web.BaseRequest) -> web.Response:
        form = dict(await request.post())
        right = {"grant_type": "client_credentials", "client_id": "somebody", "client_secret": SECRET}
        if request.method != "POST" or form != {**right, "scope": "openid"}:
            return web.json_response({"error": "invalid_client", "error_description": str(form)}, status=400)
        self.tokens += 1
        self._used = 0
        self.token = f"canary-token-{self.tokens}"
        return web.json_response({"access_token": self.token, "token_type": "bearer", "expires_in": "14399"})

    def _page(self, workspace: str, number: int) -> web.Response:
        ids = list(self.shelves[workspace])
        shown = ids[(number - 1) * PER_PAGE : number * PER_PAGE]
        page = {
            "size": PER_PAGE,
            "totalElements": len(ids),
            "totalPages": -(-len(ids) // PER_PAGE),
            "currentPage": number,
        }
        return _packed({"data": [self._row(workspace, image) for image in shown], "page": page, "_links": {}})

    def _row(self, workspace: str, image: str) -> dict[str, Any]:
        form = self.shelves[workspace][image].form
        form = form or FORMS[list(self.shelves[workspace]).index(image) % len(FORMS)]
        link = form(self.host, self.store, self._path(workspace, image))
        fields = self.shelves[workspace][image].fields
        return {"_links": {"self": None, "content": link}, "id": image, "workspaceId": workspace, **fields}

    def _path(self, workspace: str, image: str) -> str:
        return f"/workspaces/{escaped(workspace)}/images/{escaped(image)}/content"

    def _signed(self, workspace: str, image: str) -> str:
        return f"{self.store}{self._path(workspace, image)}?X-Goog-Signature={SIGNATURE}"

    async def _serve(self, request: web.BaseRequest, workspace: str, image: str) -> web.StreamResponse:
        if self.content is not None:
            return await self.content(request)
        body = self.shelves[workspace][image].body
        answer = web.StreamResponse()
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        for start in range(0, len(body), 1000):
            await answer.write(body[start : start + 1000])
        await answer.write_eof()
        return answer

    # --- the object store -----------------------------------------------------------------------------

    async def _from_store(self, request: web.BaseRequest) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        self.seen.append(("store", path, dict(request.headers)))
        _, _, workspace, _, image, _ = map(unquote, path.split("/"))
        if query != f"X-Goog-Signature={SIGNATURE}":
            return web.Response(status=403, text=f"<Error><Resource>{request.raw_path}</Resource></Error>")
        return await self._serve(request, workspace, image)


def _packed(document: Any) -> web.Response:
    body = gzip.compress(json.dumps(document).encode())
    return web.Response(body=body, headers={"Content-Encoding": "gzip", "Set-Cookie": "session=canary-cookie"})


def certificate(folder: Path) -> tuple[Path, ssl.SSLContext]:
    """Make a certificate for loopback that nobody but itself has signed, and what a server needs to use it."""
    key, public = folder / "key.pem", folder / "certificate.pem"
    subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    made = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    subprocess.run([*made, *subject, "-keyout", key, "-out", public], check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(public, key)
    return public, context
