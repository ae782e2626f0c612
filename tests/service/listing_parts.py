"""Listings to read, page by page, from an honest service or a scripted one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from syncer.model import Image, ImagePage
from syncer.service.listing import Listing


def image(name: object, created_at: str | None = "2026-01-01T00:00:00Z") -> Image:
    """One listed image."""
    return Image(id=str(name), workspace_id="w", updated_at=None, created_at=created_at)


def images(count: int) -> list[Image]:
    """So many images, newest first."""
    return [image(number) for number in range(count, 0, -1)]


def page_of(rows: list[Image], number: int, size: int) -> ImagePage:
    """A page as an honest service answers it."""
    shown = rows[(number - 1) * size : number * size]
    pages = -(-len(rows) // size)
    return ImagePage(images=tuple(shown), rows=len(shown), total=len(rows), pages=pages, number=number, size=size)


def untold(page: ImagePage) -> ImagePage:
    """The same page of a service that says nothing about its listing."""
    return replace(page, total=None, pages=None, number=None, size=None)


def read(answer: Callable[[int], ImagePage], *, size: int = 5, patience: int = 20_000) -> tuple[Listing, list[str]]:
    """Read a listing to its end; the answer is the listing and the ids that it passed on, in order."""
    listing = Listing(size=size)
    passed: list[str] = []
    while listing.next is not None:
        assert listing.pages < patience, "the listing does not end"
        passed += [one.id for one in listing.take(answer(listing.next))]
    assert len(passed) == len(set(passed)), "an image was passed on twice"
    return listing, passed


def scripted(*sweeps: Iterable[ImagePage]) -> Callable[[int], ImagePage]:
    """Answer with these pages one after another, whatever is asked."""
    pages = iter([page for sweep in sweeps for page in sweep])
    return lambda number: next(pages)
