"""The images of a page: what is read at once, and what when it is asked for."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import FrozenInstanceError, replace

import pytest

from syncer.errors import Refused, UnexpectedAnswer
from syncer.service import wire


def row(**fields: object) -> bytes:
    """One image as the documentation shows it."""
    given = {
        "id": "i1",
        "prompt": "a lake",
        "imageSize": 1234,
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": "2026-01-02T00:00:00Z",
        "_links": {"content": "/v1/i1"},
        **fields,
    }
    return json.dumps(given).encode()


def body(*rows: bytes) -> bytes:
    """A list answer with these rows."""
    return b'{"page": {}, "data": [%s]}' % b", ".join(rows)


def test_an_image_of_a_page_is_as_if_it_had_been_read_at_once():
    """Equal to the image of its own document, whichever field is asked for first, and as good to copy from."""
    document = row(prompt="a link https://x/?signature=abc")
    for field in ("document", "prompt", "size", "content"):
        (image,) = wire.decode_page(body(document), "w").images
        whole = wire.decode_image(document, "w")
        assert getattr(image, field) == getattr(whole, field)
        assert (image, whole, hash(image)) == (whole, image, hash(whole))
        assert replace(image, id="other") == replace(whole, id="other") != whole
    assert b"REDACTED" in image.document
    with pytest.raises(AttributeError):
        _ = image.colour  # type: ignore[attr-defined]
    with pytest.raises(FrozenInstanceError):
        image.id = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    "fields",
    [{"id": 7}, {"id": ""}, {"id": "a\0b"}, {"updatedAt": 5}, {"updatedAt": "https://x/?sig=abc"}, {"createdAt": [1]}],
)
def test_a_row_that_is_not_plainly_in_order_is_read_in_full_at_once(fields: dict[str, object]):
    """The id and the times are those of a full reading: numbers as text, signatures blanked, no id no image."""
    document = row(**fields)
    page = wire.decode_page(body(document), "w")
    try:
        whole = wire.decode_image(document, "w")
    except UnexpectedAnswer:
        assert len(page.unreadable) == 1
        return
    (image,) = page.images
    assert (image.id, image.updated_at, image.created_at) == (whole.id, whole.updated_at, whole.created_at)


def test_a_row_that_cannot_be_read_shows_at_once_whatever_field_it_is_in():
    """Not only when its image is fetched: the row counts as unreadable, and the others as images."""
    bad = [rb'{"id":"b","prompt":"\ud800"}', b'{"id":"c","model":"\xff"}', rb'{"id":"d","more":"\x"}']
    for row_ in bad:
        page = wire.decode_page(body(b'{"id":"a"}', row_), "w")
        assert ([image.id for image in page.images], len(page.unreadable)) == (["a"], 1)


def test_an_image_that_was_read_does_not_hold_its_page():
    """A pass may keep some images to its end, out of thousands of pages."""
    page = body(row(), row(id="i2", prompt="x" * 4_000_000))
    tracemalloc.start()
    try:
        image, other = wire.decode_page(bytes(bytearray(page)), "ws").images
        del other
        assert image.prompt == "a lake"
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 1_000_000


def test_a_row_that_is_nested_nearly_too_deep_is_one_images_failure():
    """Where the page was read there was room for it, and further down there is not: no bug, but a refusal."""
    nested = b'{"id": "i1", "zz": ' + b"[" * 800 + b"]" * 800 + b', "prompt": "a lake"}'
    image, other = wire.decode_page(body(nested, row(id="i2")), "ws").images

    def further_down(steps: int) -> tuple[str | None, str | None]:
        if steps:
            return further_down(steps - 1)
        told = other.prompt
        return told, image.prompt

    with pytest.raises(Refused, match="nested too deep"):
        further_down(300)
    assert other.prompt == "a lake"
