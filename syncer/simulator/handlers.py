"""The documented endpoints, answered from the shelves.

Each handler gets a request that is already let in (see `server`), judges it as the documentation says, and answers
with a body held in memory, so that a fault can spoil it. Errors are `Problem`s: the documented bodies, raised.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import ipaddress
import json
import uuid
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import aiohttp
from aiohttp import hdrs, web
from yarl import URL

from . import corpus
from .state import NotAPicture, Shelf, Stored, describe
from .uploads import Uploaded

IMAGES = "/api/image-service/v1/workspaces/{workspace}/images"
IMAGE = IMAGES + "/{image:[^/]+}"

_MOST = 200  # rows on one page
_FILTERS = {"generationId": "generationId", "modelId": "model", "createdByUserId": "createdByUserId"}


class Problem(Exception):
    """An answer other than the wanted one, with the documented body."""

    def __init__(self, status: HTTPStatus, body: Mapping[str, object], **headers: str) -> None:
        super().__init__(status.phrase)
        self.status = status
        self.body = body
        self.headers = headers

    def answer(self) -> web.Response:
        """Write it down."""
        return web.json_response(self.body, status=self.status, headers=self.headers)


def problem(status: HTTPStatus, error: str, code: str, **headers: str) -> Problem:
    """One error in words and as a code."""
    return Problem(status, {"error": error, "code": code}, **headers)


def invalid(*complaints: tuple[str, str, str]) -> Problem:
    """A request that fails validation: field, message, type of each complaint."""
    errors = [{"field": field, "message": message, "type": kind} for field, message, kind in complaints]
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, {"errors": errors})


class Handlers:
    """The endpoints over one set of shelves; what is uploaded is written down in `uploads`."""

    def __init__(self, shelves: dict[str, Shelf], uploads: list[Uploaded]) -> None:
        self._shelves = shelves
        self._uploads = uploads

    def routes(self) -> list[web.RouteDef]:
        """Every endpoint by its operation's name, which faults and the request log go by."""
        return [
            web.get("/api/workspace-service/v1/workspaces", self.workspaces, name="workspaces"),
            web.get("/api/workspace-service/v1/workspaces/{workspace}", self.workspace, name="workspace"),
            web.get("/api/image-service/v1/workspaces/{workspace}/image-models", self.models, name="models"),
            web.get(IMAGES, self.listing, name="listing"),
            web.post(IMAGES, self.upload, name="upload"),
            web.get(IMAGE, self.image, name="image"),
            web.delete(IMAGE, self.delete, name="delete"),
            web.get(IMAGE + "/content", self.content, name="content"),
        ]

    async def workspaces(self, request: web.Request) -> web.Response:
        """List the workspaces that the credentials reach."""
        return _page(request, [shelf.row for shelf in self._shelves.values() if shelf.accessible])

    async def workspace(self, request: web.Request) -> web.Response:
        """Show one workspace."""
        return web.json_response(self._shelf(request).row)

    async def models(self, request: web.Request) -> web.Response:
        """List the models of a workspace."""
        self._shelf(request)
        return _page(request, list(corpus.MODELS))

    async def listing(self, request: web.Request) -> web.Response:
        """List the images of a workspace, the newest first."""
        shelf = self._shelf(request)
        wanted = {field: request.query[name] for name, field in _FILTERS.items() if name in request.query}
        found = shelf.listing
        if wanted:
            found = [
                stored for stored in found if isinstance(stored.row, dict) and wanted.items() <= _texts(stored.row)
            ]
        return _page(request, found, lambda stored: _shown(request, shelf, stored))

    async def image(self, request: web.Request) -> web.Response:
        """Show one image."""
        shelf, stored = self._stored(request)
        return web.json_response(_shown(request, shelf, stored))

    async def content(self, request: web.Request) -> web.Response:
        """Serve the bytes of one image."""
        _, stored = self._stored(request)
        return picture(stored)

    async def delete(self, request: web.Request) -> web.Response:
        """Delete an image that belongs to the credentials' user."""
        shelf, stored = self._stored(request)
        if not isinstance(stored.row, dict) or stored.row.get("createdByUserId") != corpus.ME:
            raise problem(HTTPStatus.FORBIDDEN, "Only the owner can delete this image", "FORBIDDEN")
        shelf.delete(request.match_info["image"])
        return web.Response(status=HTTPStatus.NO_CONTENT)

    async def upload(self, request: web.Request) -> web.Response:
        """Create an image from a URL or a data URI."""
        shelf = self._shelf(request)
        try:
            asked = await request.json()
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise problem(HTTPStatus.BAD_REQUEST, "The body is not JSON", "BAD_REQUEST") from error
        source = asked.get("imageUrl") if isinstance(asked, dict) else None
        if not isinstance(source, str):
            raise invalid(("imageUrl", "Field required", "missing"))
        try:
            content = _decoded(source) if source.startswith("data:") else await _fetched(source)
            describe(content)
        except (NotAPicture, binascii.Error) as error:
            raise invalid(("imageUrl", "The URL does not lead to a picture", "image")) from error
        new = shelf.take(
            content, generationId=f"gen_{uuid.uuid4().hex[:20]}", createdByUserId=corpus.ME, prompt="", model="upload"
        )
        self._uploads.append(Uploaded(shelf.id, hashlib.sha256(content).hexdigest(), new, shelf.now()))
        return web.json_response(_shown(request, shelf, shelf[new]), status=HTTPStatus.CREATED)

    def _shelf(self, request: web.Request) -> Shelf:
        shelf = self._shelves.get(request.match_info["workspace"])
        if shelf is None:
            raise problem(HTTPStatus.NOT_FOUND, "Workspace not found", "WORKSPACE_NOT_FOUND")
        if not shelf.accessible:
            raise problem(HTTPStatus.FORBIDDEN, "No access to this workspace", "FORBIDDEN")
        return shelf

    def _stored(self, request: web.Request) -> tuple[Shelf, Stored]:
        shelf, id_ = self._shelf(request), request.match_info["image"]
        if id_ not in shelf:
            raise problem(HTTPStatus.NOT_FOUND, "Image not found", "IMAGE_NOT_FOUND")
        return shelf, shelf[id_]


def picture(stored: Stored) -> web.Response:
    """The bytes of an image with what the headers can say about them."""
    content = stored.body
    digest = hashlib.md5(content, usedforsecurity=False).digest()
    return web.Response(
        body=content, content_type=stored.media_type, headers={hdrs.CONTENT_MD5: base64.b64encode(digest).decode()}
    )


def content_path(workspace: str, image: str) -> str:
    """Where the bytes of an image are, on this host; both ids are escaped, separators too."""
    return f"{IMAGES.format(workspace=quote(workspace, safe=''))}/{_escaped(image)}/content"


def _escaped(image: str) -> str:
    escaped = quote(image, safe="")
    return escaped if escaped.strip(".") else escaped.replace(".", "%2E")  # a path drops a bare dot or two


def _shown(request: web.Request, shelf: Shelf, stored: Stored) -> Any:
    """An image's row as it is sent: with its content link, unless the row brings its own or is no object."""
    if not isinstance(stored.row, dict) or "_links" in stored.row or "id" not in stored.row:
        return stored.row
    link = f"{request.url.origin()}{content_path(shelf.id, str(stored.row['id']))}"
    return {**stored.row, "_links": {"content": link}}


def _page(request: web.Request, rows: list[Any], show: Any = lambda row: row) -> web.Response:
    """Answer with one page of the rows."""
    size, number = _whole(request, "size", 50, _MOST), _whole(request, "page", 1, None)
    start = (number - 1) * size
    page = {
        "size": size,
        "totalElements": len(rows),
        "totalPages": -(-len(rows) // size),
        "currentPage": number,
    }
    return web.json_response({"page": page, "data": [show(row) for row in rows[start : start + size]]})


def _whole(request: web.Request, name: str, default: int, most: int | None) -> int:
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise invalid((name, "Input should be a whole number above 0", "int_parsing"))
    number = int(text)
    if number < 1:
        raise invalid((name, "Input should be greater than or equal to 1", "greater_than_equal"))
    if most is not None and number > most:
        raise invalid((name, f"Input should be less than or equal to {most}", "less_than_equal"))
    return number


def _texts(row: Mapping[str, object]) -> set[tuple[str, str]]:
    return {(name, value) for name, value in row.items() if isinstance(value, str)}


def _decoded(uri: str) -> bytes:
    head, comma, data = uri.removeprefix("data:").partition(",")
    if not comma:
        raise NotAPicture("a data URI without data")
    raw = unquote_to_bytes(data)
    return base64.b64decode(raw, validate=True) if head.endswith(";base64") else raw


async def _fetched(source: str) -> bytes:
    """Fetch the picture that an upload names; a simulation has no business beyond this machine."""
    try:
        url = URL(source, encoded=True)
        local = url.scheme in ("http", "https") and ipaddress.ip_address(url.host or "").is_loopback
    except ValueError:
        local = False
    if not local:
        raise problem(HTTPStatus.BAD_REQUEST, "Only loopback addresses can be fetched", "IMAGE_URL_NOT_ALLOWED")
    limit = aiohttp.ClientTimeout(total=10)
    try:
        async with (
            aiohttp.ClientSession(timeout=limit, raise_for_status=True) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            return await answer.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise NotAPicture("the URL did not answer") from error
