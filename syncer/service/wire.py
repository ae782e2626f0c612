"""Read the service's answers into our words. No I/O, no log.

Tolerant towards one row, strict towards the whole: a field that is missing, null or of another type than
documented never costs an image, a row without an id that we can use becomes one `Unreadable`, and an answer
that is not a listing at all raises `UnexpectedAnswer`. Documents keep the service's bytes exactly, except for
the values of signature parameters in URLs: those are credentials, and only `Image.content` holds them.
Asking, retrying and the addresses to ask belong to others, and so does what the service says of an error (`refusals`).

Most pages show nothing new, so of a row that is plainly in order only the id and the times are read at once, and the
rest when somebody asks for it. That a row is not in order shows at once all the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import fields
from functools import cached_property
from hashlib import sha256

import msgspec

from syncer.errors import Refused, UnexpectedAnswer
from syncer.model import Image, ImagePage, Unreadable, Workspace
from syncer.service.signatures import without_signatures


class _Listing(msgspec.Struct):
    data: list[msgspec.Raw]
    page: msgspec.Raw = msgspec.Raw(b"null")


class _Totals(msgspec.Struct, rename="camel"):
    total_elements: object = None
    total_pages: object = None
    current_page: object = None
    size: object = None


class _Row(msgspec.Struct, rename="camel"):
    id: object = None
    generation_id: object = None
    created_by_user_id: object = None
    prompt: object = None
    model: object = None
    image_width: object = None
    image_height: object = None
    image_size: object = None
    created_at: object = None
    updated_at: object = None
    name: object = None  # workspaces have one
    links: object = msgspec.field(default=None, name="_links")


class _Glance(msgspec.Struct, rename="camel", gc=False):
    """What a row that is plainly in order is recognised by, and compared by."""

    id: str
    updated_at: str | None = None
    created_at: str | None = None


class _Glances(msgspec.Struct):
    data: list[_Glance]
    page: msgspec.Raw = msgspec.Raw(b"null")


_LISTING = msgspec.json.Decoder(_Listing)
_TOTALS = msgspec.json.Decoder(_Totals)
_GLANCES = msgspec.json.Decoder(_Glances)
_ROW = msgspec.json.Decoder(_Row)
_SYNTAX = msgspec.json.Decoder(msgspec.Raw)  # checks that it is JSON, builds nothing

# What a text from outside can do to the readers: RecursionError is deep nesting, ValueError is bad UTF-8.
_NOT_JSON = (msgspec.DecodeError, ValueError, RecursionError)


class _UnreadableRowError(Exception):
    """Why one row cannot be read."""


class _OddRowError(ValueError):
    """A row needs the full look at once."""


def decode_page(body: bytes, workspace_id: str) -> ImagePage:
    """Read one page of images; a row that cannot be read becomes one `Unreadable` and costs no other row."""
    images: list[Image] = []
    unreadable: list[Unreadable] = []
    try:
        glances, totals = _glances(body)
        rows: Sequence[object] = glances
        images = _shown(glances, _Page(body), workspace_id)
    except _NOT_JSON:  # or a row that needs the full look at once, and then each of the page gets it
        documents, totals = _listing(body, workspace=workspace_id)
        rows = documents
        for document in map(bytes, documents):
            try:
                images.append(_image(document, workspace_id))
            except _UnreadableRowError as error:
                unreadable.append(Unreadable(_name(document), str(error)))
    return ImagePage(
        images=tuple(images),
        unreadable=tuple(unreadable),
        rows=len(rows),
        total=_count(totals.total_elements),
        pages=_count(totals.total_pages),
        number=_count(totals.current_page),
        size=_count(totals.size),
    )


def decode_image(body: bytes, workspace_id: str) -> Image:
    """Read one image's own document."""
    try:
        return _image(body.strip(), workspace_id)
    except _UnreadableRowError as error:
        raise UnexpectedAnswer(f"the image's document cannot be read: {error}", workspace=workspace_id) from error


def decode_workspaces(body: bytes) -> tuple[tuple[Workspace, ...], int, int | None]:
    """Read one page of workspaces, the number of its rows, and the total that the service claims.

    A workspace that cannot be read raises: leaving it out in silence would call a backup of "all" complete.
    """
    rows, totals = _listing(body)
    return tuple(decode_workspace(bytes(raw)) for raw in rows), len(rows), _count(totals.total_elements)


def decode_workspace(body: bytes) -> Workspace:
    """Read one workspace's own document."""
    try:
        row = _row(body)
        return Workspace(id=_id(row), name=_text(row.name))
    except _UnreadableRowError as error:
        raise UnexpectedAnswer(f"a workspace cannot be read: {error}") from error


def _glances(body: bytes) -> tuple[list[_Glance], _Totals]:
    if not body.isascii():
        body.decode()  # else a row's fields that are not read at once would not be checked
    listing = _GLANCES.decode(body)
    return listing.data, _totals(listing.page)


def _listing(body: bytes, *, workspace: str | None = None) -> tuple[list[msgspec.Raw] | list[bytes], _Totals]:
    rows: list[msgspec.Raw] | list[bytes]
    try:
        if not body.isascii():
            body.decode()  # else a row's fields that are not read at once would not be checked
        listing = _LISTING.decode(body)
        rows, page = listing.data, bytes(listing.page)
    except _NOT_JSON:
        split = _split(body)
        if split is None:
            raise UnexpectedAnswer("the answer is not a listing", bytes=len(body), workspace=workspace) from None
        rows, page = split
    return rows, _totals(page)


def _totals(page: bytes | msgspec.Raw) -> _Totals:
    try:
        return _TOTALS.decode(page)
    except _NOT_JSON:
        return _Totals()


_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[\]{},:"]', re.DOTALL)


def _split(body: bytes) -> tuple[list[bytes], bytes] | None:
    """Cut a listing into the text of its rows and of its page object by brackets and commas alone.

    For a page that no JSON reader takes as a whole, because one row is nested too deep, holds half a surrogate
    pair or is not UTF-8, so that only that row is lost. None: this is not an object with a list `data`.
    """
    if not body.lstrip().startswith(b"{"):
        return None
    rows: list[bytes] = []
    page, key, last = b"null", b"", b""
    depth = start = 0
    found = inside = False  # whether there is a list `data`, and whether we are in it
    for token in _TOKEN.finditer(body):
        text, end = token.group(), token.end()
        part = body[start : token.start()] if depth <= 2 and text in b",]}" else b""
        if depth == 1 and text == b":":
            key, start = last, end
        elif depth == 1 and text in b",}" and key == b'"page"':
            page = part
        elif depth == 2 and inside and text in b",]":
            if part.strip() or text == b",":
                rows.append(part.strip())
            inside, start = text == b",", end
        if text in b"[{":
            if depth == 1 and key == b'"data"' and text == b"[":
                rows, start, found, inside = [], end, True, True
            depth += 1
        elif text in b"]}":
            depth -= 1
            if depth == 0:
                return (rows, page) if found and not body[end:].strip() else None
        elif text == b'"':  # a string that never ends
            return None
        last = text
    return None


class _Page:
    """A page whose rows are taken apart once somebody asks for one of them."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def row(self, number: int) -> bytes:
        """Return the text of a row."""
        return bytes(self._rows[number])

    @cached_property
    def _rows(self) -> list[msgspec.Raw] | list[bytes]:
        return _listing(self._body)[0]


class _Shown(Image):
    """An image on a page: what was not read at once is read when it is asked for."""

    __slots__ = ("_number", "_page")
    _number: int
    _page: _Page | None  # None once it was read, for it holds the whole page in memory

    def __getattr__(self, name: str) -> object:
        """Fill what `_shown` has left unset."""
        if name not in _FIELDS or self._page is None:
            raise AttributeError(name)
        try:
            read = _image(self._page.row(self._number), self.workspace_id)
        except _UnreadableRowError as error:  # nesting that was just not too deep where the page was read
            raise Refused("the listed row cannot be read", reason=str(error), image=self.id) from error
        for field in _FIELDS:
            object.__setattr__(self, field, getattr(read, field))
        object.__setattr__(self, "_page", None)
        return getattr(read, name)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Image) and all(getattr(self, name) == getattr(other, name) for name in _FIELDS)

    __hash__ = Image.__hash__


# What sets a field of a frozen image, without looking for it by its name each time.
_SET_ID, _SET_WORKSPACE, _SET_UPDATED, _SET_CREATED, _SET_NUMBER, _SET_PAGE = (
    vars(of)[name].__set__
    for of, names in ((Image, ("id", "workspace_id", "updated_at", "created_at")), (_Shown, ("_number", "_page")))
    for name in names
)


def _shown(rows: list[_Glance], page: _Page, workspace_id: str) -> list[Image]:
    """Read what rows that are plainly in order are recognised by; raises `_OddRowError` if one is not.

    Only for rows of a page that was taken as a whole for JSON in UTF-8: only nesting can make a later reading fail.
    """
    images: list[Image] = []
    for number, row in enumerate(rows):
        name, updated_at, created_at = row.id, row.updated_at, row.created_at
        if not name or "\0" in name:
            raise _OddRowError
        if "//" in (updated_at or "") or "//" in (created_at or ""):  # there may be something to blank
            raise _OddRowError
        image = object.__new__(_Shown)
        _SET_ID(image, name)
        _SET_WORKSPACE(image, workspace_id)
        _SET_UPDATED(image, updated_at)
        _SET_CREATED(image, created_at)
        _SET_NUMBER(image, number)
        _SET_PAGE(image, page)
        images.append(image)
    return images


_FIELDS = frozenset(field.name for field in fields(Image))


def _image(document: bytes, workspace_id: str) -> Image:
    row = shown = _row(document)
    kept = without_signatures(document)
    if kept is not document:  # the words that we keep come from what we keep; the id and the link stay true
        shown = _row(kept)
    return Image(
        id=_id(row),
        workspace_id=workspace_id,
        updated_at=_text(shown.updated_at),
        created_at=_text(shown.created_at),
        prompt=_text(shown.prompt),
        model=_text(shown.model),
        created_by=_text(shown.created_by_user_id),
        generation_id=_text(shown.generation_id),
        width=_number(shown.image_width),
        height=_number(shown.image_height),
        size=_number(shown.image_size),
        content=_link(row.links),
        document=kept,
    )


def _row(document: bytes) -> _Row:
    try:
        if not document.isascii():
            document.decode()  # fields that we skip are not checked otherwise
        return _ROW.decode(document)
    except msgspec.ValidationError:
        return _odd_row(document)
    except _NOT_JSON as error:
        raise _UnreadableRowError(_reason(error)) from error


def _odd_row(document: bytes) -> _Row:
    """Read what msgspec takes for JSON but not for a row: numbers out of its range, or no object at all."""
    try:
        _SYNTAX.decode(document)
        found = json.loads(document, parse_int=_integer)
    except _NOT_JSON as error:
        raise _UnreadableRowError(_reason(error)) from error
    if not isinstance(found, dict):
        raise _UnreadableRowError("not an object")
    return msgspec.convert(found, _Row)


def _reason(error: Exception) -> str:
    match error:
        case RecursionError():
            return "nested too deep"
        case UnicodeDecodeError():
            return "not UTF-8"
        case _:
            return "not JSON"


def _name(document: bytes) -> str:
    """Name a row that cannot be read: by its id if a more lenient reader finds one, else by its digest."""
    try:
        found = json.loads(document, strict=False, parse_int=_integer)
        return _id(msgspec.convert(found, _Row))
    except (*_NOT_JSON, _UnreadableRowError):
        return f"?{sha256(document).hexdigest()[:16]}"


def _id(row: _Row) -> str:
    text = row.id
    if isinstance(text, int) and not isinstance(text, bool):
        text = str(text)
    if not isinstance(text, str) or not text:
        raise _UnreadableRowError("no id")
    if "\0" in text or not _encodable(text):
        raise _UnreadableRowError("an id that cannot be written down")
    return text


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _text(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def _number(value: object) -> int | None:
    if isinstance(value, str):
        value = _integer(value)
    elif isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value
    return None


def _count(value: object) -> int | None:
    number = _number(value)
    return number if number is not None and number >= 0 else None


def _integer(text: str) -> int | None:
    try:
        return int(text)
    except ValueError:  # also for more digits than Python is willing to read
        return None


def _link(links: object) -> str | None:
    content = links.get("content") if isinstance(links, dict) else None
    if isinstance(content, dict):  # as HAL writes it
        content = content.get("href")
    return content if isinstance(content, str) else None
