"""The data behind the imitation, to be read by its handlers and changed by tests and the demo.

A `Shelf` is one workspace: images by id, newest first, each with the JSON row that is sent and the content that is
served. Everything is changed in place and at once; the next request sees it. Rows may be any JSON, so that the
tolerance of a client can be tried. It knows nothing of HTTP; who may do what is for the handlers.
"""

from __future__ import annotations

import io
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from PIL import Image, UnidentifiedImageError

from . import corpus
from .pictures import LOOKS, Picture

Clock = Callable[[], float]


class NotAPicture(Exception):
    """The bytes offered for an upload are not a picture that the service takes."""


@dataclass(slots=True)
class Stored:
    """One image: its row, its bytes (or the recipe for them), and its place in the listing."""

    row: Any
    content: bytes | Picture
    media_type: str
    place: tuple[str, int]  # the time of creation, then the order of arrival

    @property
    def body(self) -> bytes:
        """The bytes of the picture."""
        return self.content if isinstance(self.content, bytes) else self.content.render()


class Shelf:
    """One workspace and its images."""

    def __init__(self, id_: str, name: str, created: datetime, clock: Clock, *, accessible: bool = True) -> None:
        self.id = id_
        self.name = name
        self.accessible = accessible  # a test takes the permission away by setting it to False
        self.recode: Callable[[bytes], bytes] | None = None  # what the service makes of an upload's bytes
        self.lagging = False  # whether uploads are not listed until `catch_up`
        self._unlisted: set[str] = set()
        self._created = corpus.timestamp(created)
        self._clock = clock
        self._chance = random.Random(id_)  # noqa: S311 - pictures to play with, not secrets
        self._images: dict[str, Stored] = {}
        self._deleted: dict[str, Stored] = {}
        self._listing: list[Stored] | None = None
        self._arrivals = itertools.count()
        self._versions = itertools.count(2)

    # --- reading --------------------------------------------------------------------------------------

    @property
    def row(self) -> dict[str, Any]:
        """The workspace as the workspace service shows it."""
        return {"id": self.id, "name": self.name, "createdAt": self._created, "updatedAt": self._created}

    @property
    def listing(self) -> list[Stored]:
        """All images that are listed, the newest first; of one second, the later arrival first."""
        if self._listing is None:
            listed = (stored for id_, stored in self._images.items() if id_ not in self._unlisted)
            self._listing = sorted(listed, key=lambda stored: stored.place, reverse=True)
        return self._listing

    @property
    def ids(self) -> list[str]:
        """The ids under which images are stored, in the order of the listing."""
        names = {id(stored): key for key, stored in self._images.items()}
        return [names[id(stored)] for stored in self.listing]

    def __len__(self) -> int:
        return len(self._images)

    def __contains__(self, id_: str) -> bool:
        return id_ in self._images

    def __getitem__(self, id_: str) -> Stored:
        return self._images[id_]

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    # --- changing -------------------------------------------------------------------------------------

    def put(
        self,
        id_: str,
        row: Any,
        content: bytes | Picture = b"",
        *,
        media_type: str = "image/png",
        at: str | None = None,
    ) -> None:
        """Store any row under an id, whatever the row says; `at` is its place in the listing (default: newest)."""
        place = (self.now() if at is None else at, next(self._arrivals))
        self._images[id_] = Stored(row, content, media_type, place)
        self._listing = None

    def shelve(self, image: corpus.Invented) -> str:
        """Store an invented image at the place its time of creation gives it."""
        document = image.document
        self.put(document["id"], document, image.picture, media_type=image.picture.media_type, at=document["createdAt"])
        return str(document["id"])

    def add(self, content: bytes | None = None, **fields: Any) -> str:
        """Add a new image, made just now, with an invented picture or the given bytes; `fields` replace its own."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        image = corpus.fresh(self._chance, self._chance.randrange(LOOKS), self.id, now)
        document: dict[str, Any] = {**image.document, "updatedAt": image.document["createdAt"]}
        media_type = image.picture.media_type
        if content is not None:
            media_type, width, height = describe(content)
            document |= {"imageWidth": width, "imageHeight": height, "imageSize": len(content), "parameters": {}}
        document |= fields
        picture = image.picture if content is None else content
        self.put(str(document["id"]), document, picture, media_type=media_type, at=str(document["createdAt"]))
        return str(document["id"])

    def take(self, content: bytes, **fields: Any) -> str:
        """Add an image from outside, as the service keeps such: see `recode` and `lagging`."""
        id_ = self.add(content if self.recode is None else self.recode(content), **fields)
        if self.lagging:
            self._unlisted.add(id_)
        return id_

    def catch_up(self) -> None:
        """List what has been uploaded meanwhile, and from now on at once."""
        self.lagging = False
        self._unlisted.clear()
        self._listing = None

    def add_many(self, count: int) -> list[str]:
        """Add so many new images; the last one is the newest."""
        return [self.add() for _ in range(count)]

    def change(self, id_: str, *, touch: bool = True, **fields: Any) -> None:
        """Change fields of an image's row. `updatedAt` moves unless `touch` is False or the fields set it."""
        stored = self._images[id_]
        moved = {"updatedAt": self._later(stored.row.get("updatedAt"))} if touch else {}
        stored.row = {**stored.row, **moved, **fields}

    def repaint(self, id_: str, content: bytes | None = None, *, touch: bool = True) -> None:
        """Give an image other bytes; the row follows, and `updatedAt` moves unless `touch` is False."""
        stored = self._images[id_]
        if content is None:
            version = next(self._versions)
            look = stored.content.look + 3 * version if isinstance(stored.content, Picture) else version
            picture = Picture(look % LOOKS, f"{id_} {version}")
            stored.content, stored.media_type = picture, picture.media_type
            self.change(id_, touch=touch, **corpus.facts(picture))
        else:
            stored.content = content
            self.change(id_, touch=touch, imageSize=len(content))

    def replace_bytes(self, id_: str, content: bytes) -> None:
        """Serve other bytes and say nothing about it in the row."""
        self._images[id_].content = content

    def delete(self, id_: str) -> None:
        """Delete an image; `restore` can bring it back."""
        self._deleted[id_] = self._images.pop(id_)
        self._listing = None

    def restore(self, id_: str) -> None:
        """Bring a deleted image back as it was, at its old place."""
        self._images[id_] = self._deleted.pop(id_)
        self._listing = None

    def now(self) -> str:
        """The service's time, as it writes it."""
        return corpus.timestamp(datetime.fromtimestamp(self._clock(), UTC))

    def _later(self, before: object) -> str:
        now = self.now()
        if now != before:
            return now
        return corpus.timestamp(datetime.fromtimestamp(self._clock() + 1, UTC))  # within one second: still another


def describe(content: bytes) -> tuple[str, int, int]:
    """Read media type, width and height off a picture; raises `NotAPicture`."""
    try:
        with Image.open(io.BytesIO(content), formats=("PNG", "JPEG", "WEBP", "GIF")) as picture:
            picture.load()
            return f"image/{str(picture.format).lower()}", picture.width, picture.height
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise NotAPicture("not a picture that can be read") from error


def furnish(images: int, seed: int, until: datetime, clock: Clock) -> dict[str, Shelf]:
    """Build the two workspaces of the team, filled, and a third one that is not theirs."""
    opened = datetime(until.year - 2, 1, 15, 9, 30, tzinfo=UTC)
    shelves = {
        id_: Shelf(id_, name, opened, clock, accessible=id_ != corpus.CLOSED) for id_, name in corpus.NAMES.items()
    }
    for image in corpus.invent(images, seed=seed, until=until):
        shelves[image.workspace].shelve(image)
    return shelves
