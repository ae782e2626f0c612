"""Requests as URLs and answers as values: what the service may send, and what we make of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncer.errors import UnexpectedAnswer
from syncer.model import Image, Unreadable, Workspace
from syncer.service import signatures, wire

BASE = "https://app.neuroflash.com/api"
CANARY = "c4n4ry" * 8


def row(**fields: object) -> dict[str, object]:
    """One image as the documentation shows it."""
    return {
        "id": "i1",
        "generationId": "g1",
        "workspaceId": "w",
        "createdByUserId": "u1",
        "prompt": "a lake",
        "model": "flux",
        "parameters": {"seed": 2**70},
        "imageWidth": 640,
        "imageHeight": 480,
        "imageSize": 1234,
        "createdAt": "2026-01-01T00:00:00Z",
        "updatedAt": "2026-01-02T00:00:00Z",
        "_links": {"content": "/v1/i1"},
        **fields,
    }


def body(*rows: object, **totals: object) -> bytes:
    """A list answer with these rows, each given as a value or as its very bytes."""
    texts = [item if isinstance(item, bytes) else json.dumps(item).encode() for item in rows]
    return b'{"page": %s, "data": [%s]}' % (json.dumps(totals).encode(), b", ".join(texts))


def read(**fields: object) -> Image:
    """The one image of a page whose row has these fields."""
    (image,) = wire.decode_page(body(row(**fields)), "w").images
    return image


# --- pages --------------------------------------------------------------------------------------------


def test_a_page_is_read_with_its_claims_and_its_documents_byte_for_byte():
    """Every documented field has its place, and the document is the service's own text, spaces and order kept."""
    document = json.dumps(row(extra=[1, {"b": 2.50}]), indent=3).encode()
    page = wire.decode_page(body(document, size=50, totalElements=1, totalPages=1, currentPage=1), "w")
    assert (page.rows, page.total, page.pages, page.number, page.size) == (1, 1, 1, 1, 50)
    assert page.images == (
        Image(
            id="i1",
            workspace_id="w",
            updated_at="2026-01-02T00:00:00Z",
            created_at="2026-01-01T00:00:00Z",
            prompt="a lake",
            model="flux",
            created_by="u1",
            generation_id="g1",
            width=640,
            height=480,
            size=1234,
            content="/v1/i1",
            document=document,
        ),
    )


def test_a_row_needs_nothing_but_its_id():
    """All other fields may be missing or null, and the image is still read, under the workspace that was asked."""
    page = wire.decode_page(body({"id": "a"}, dict.fromkeys(row(), None) | {"id": "b", "workspaceId": "other"}), "w")
    assert [(image.id, image.workspace_id, image.updated_at, image.content) for image in page.images] == [
        ("a", "w", None, None),
        ("b", "w", None, None),
    ]


@pytest.mark.parametrize(
    ("value", "text"), [("x", "x"), (None, None), (17, "17"), ({"a": [1, None]}, '{"a":[1,null]}'), (False, "false")]
)
def test_a_text_of_another_type_is_kept_as_its_json(value, text):
    """A prompt, a model or a time that is not a text costs nothing: its JSON stands in for it."""
    image = read(prompt=value, updatedAt=value)
    assert (image.prompt, image.updated_at) == (text, text)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (640, 640),
        (640.0, 640),
        ("640", 640),
        (640.5, None),
        ("wide", None),
        (True, None),
        (None, None),
        ({"w": 640}, None),
        (2**63, None),
        (-(2**63), -(2**63)),
        (float("1e300"), None),
        ("9" * 5000, None),
    ],
)
def test_numbers_are_read_where_they_are_whole_and_fit(value, number):
    """Sizes are documented as "object": what is a whole number of 64 bits is one, and anything else is unknown."""
    image = read(imageWidth=value, imageSize=value)
    assert (image.width, image.size) == (number, number)


@pytest.mark.parametrize("number", [b"1e999", b"9" * 5000])
def test_a_number_beyond_every_range_costs_only_itself(number):
    """JSON numbers have no bound; one that we cannot hold is unknown, and its image is read."""
    page = wire.decode_page(body(b'{"id": "a", "imageSize": %s, "prompt": "p"}' % number), "w")
    assert [(image.id, image.size, image.prompt) for image in page.images] == [("a", None, "p")]


@pytest.mark.parametrize(
    ("links", "link"),
    [
        ({"content": "https://h/x"}, "https://h/x"),
        ({"content": {"href": "https://h/x"}}, "https://h/x"),
        ({"content": ""}, ""),
        ({"content": None}, None),
        ({"content": 7}, None),
        ({}, None),
        (None, None),
        ("https://h/x", None),
        ([], None),
    ],
)
def test_the_content_link_may_be_a_text_or_hal_or_missing(links, link):
    """A link is taken as received, in either form, and its absence is no fault of the row."""
    assert read(_links=links).content == link


@pytest.mark.parametrize(("value", "name"), [(5, "5"), (2**70, str(2**70)), ("a/b é", "a/b é"), ("?", "?")])
def test_an_id_may_be_a_whole_number_or_any_text(value, name):
    """Ids are object-store keys: any text will do, and a whole number is taken as its digits."""
    assert read(id=value).id == name


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"id": None},
        {"id": ""},
        {"id": 1.5},
        {"id": True},
        {"id": ["a"]},
        {"id": "a\0b"},
        {"id": "\ud800"},
        [],
        None,
        7,
        "text",
        b'{"id": "\xff"}',
        b'{"id": ' + b"9" * 5000 + b"}",
        b"{id: 1}",
    ],
)
def test_a_row_without_an_id_that_can_be_used_is_one_unreadable(bad):
    """Such a row is named by its digest, always the same, and its neighbours are read."""
    page = wire.decode_page(body(row(id="a"), bad, row(id="z"), totalElements=3), "w")
    assert [image.id for image in page.images] == ["a", "z"]
    assert (page.rows, page.total) == (3, 3)
    (unreadable,) = page.unreadable
    assert unreadable.name.startswith("?")
    assert len(unreadable.name) == 17
    assert page.unreadable == wire.decode_page(body(bad), "w").unreadable


@pytest.mark.parametrize(
    ("bad", "unreadable"),
    [
        (rb'{"id": "b", "prompt": "half a smile \ud83d"}', Unreadable("b", "not JSON")),
        (b'{"id": "b", "parameters": NaN}', Unreadable("b", "not JSON")),
        (b'{"id": "b", "prompt": "a\x01,]}b"}', Unreadable("b", "not JSON")),
        (b'{"id": "b", "parameters": "\xff"}', None),
        (b'{"id": "b", "parameters": ' + b"[" * 9000 + b"]" * 9000 + b"}", None),
        (b'{"id": "b", "imageSize": 1e999, "prompt": "\\ud83d"}', Unreadable("b", "not JSON")),
    ],
)
def test_a_row_that_no_reader_takes_costs_only_itself(bad, unreadable):
    """Half a surrogate pair, bad UTF-8 or endless nesting in one row leaves the others and the totals readable."""
    page = wire.decode_page(body(row(id="a", prompt='[{"'), bad, row(id="z"), totalElements=3, size=50), "w")
    assert [image.id for image in page.images] == ["a", "z"]
    assert (page.rows, page.total, page.size) == (3, 3, 50)
    assert len(page.unreadable) == 1
    assert unreadable in (None, *page.unreadable)


@pytest.mark.parametrize(
    ("value", "count"), [(3, 3), (3.0, 3), ("3", 3), (-1, None), (2.5, None), (None, None), ("many", None), ([], None)]
)
def test_totals_are_believed_only_as_whole_numbers(value, count):
    """A total that is no count is as good as missing."""
    page = wire.decode_page(body(totalElements=value, totalPages=value, size=value, currentPage=value), "w")
    assert (page.total, page.pages, page.size, page.number) == (count,) * 4


@pytest.mark.parametrize("totals", [b"", b'"page": null, ', b'"page": [], ', b'"page": 7, '])
def test_a_page_may_come_without_totals(totals):
    """The rows are what counts: a page object that is missing or odd leaves every claim unknown."""
    page = wire.decode_page(b"{" + totals + b'"data": [{"id": "a"}]}', "w")
    assert (len(page.images), page.total, page.pages, page.size) == (1, None, None, None)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html><body>Bad gateway</body></html>",
        b"[]",
        b"null",
        b'"data"',
        b"{}",
        b'{"data": null}',
        b'{"data": {"a": []}}',
        b'{"page": {"data": [{"id": "a"}]}}',
        b'{"data": [{"id": "a"}',
        b'{"data": [{"id": "a"}]',
        b'{"data": [{"id": "a"}]} and more',
        b'{"data": [{"id": "a}]}',
        b"\xff\xfe",
        b'{"a":' * 9000,
    ],
)
def test_what_is_no_listing_is_an_unexpected_answer(answer):
    """HTML, a cut answer or one without a list of rows is never taken for an empty page."""
    with pytest.raises(UnexpectedAnswer):
        wire.decode_page(answer, "w")


@given(st.binary() | st.lists(st.sampled_from([b'{"data":', b"[", b"]", b"{", b"}", b'"', b'"id":', b"1", b","])))
def test_nothing_that_arrives_breaks_the_reader(answer):
    """Any bytes are a page that balances, or an unexpected answer."""
    try:
        page = wire.decode_page(answer if isinstance(answer, bytes) else b"".join(answer), "w")
    except UnexpectedAnswer:
        return
    assert page.rows == len(page.images) + len(page.unreadable)


@given(
    st.lists(
        st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text(), max_size=2), max_size=3), max_size=3
    )
)
def test_cutting_a_page_by_brackets_finds_the_rows_that_a_reader_finds(rows):
    """The way out for odd pages sees the same rows, byte for byte, as the ordinary way."""
    answer = json.dumps({"x": {"data": [0]}, "data": rows, "page": {"size": 7}, "z": [[]]}, indent=1).encode()
    split = wire._split(answer)
    assert split is not None
    assert [json.loads(text) for text in split[0]] == rows
    assert json.loads(split[1]) == {"size": 7}


def test_one_document_is_read_as_its_row_would_be():
    """The answer for one image gives the same image as its row in a listing."""
    document = json.dumps(row()).encode()
    assert wire.decode_image(document, "w") == read()
    with pytest.raises(UnexpectedAnswer):
        wire.decode_image(b"<html>", "w")
    with pytest.raises(UnexpectedAnswer):
        wire.decode_image(b'{"prompt": "no id"}', "w")


def test_workspaces_are_read_or_the_whole_is_refused():
    """A workspace that cannot be read is not left out in silence."""
    answer = body({"id": "w1", "name": "brand"}, {"id": 2, "name": None}, totalElements=2)
    assert wire.decode_workspaces(answer) == ((Workspace("w1", "brand"), Workspace("2")), 2, 2)
    assert wire.decode_workspace(b'{"id": "w1"}') == Workspace("w1")
    with pytest.raises(UnexpectedAnswer):
        wire.decode_workspaces(body({"id": "w1"}, {"name": "nameless"}))


# --- signatures ---------------------------------------------------------------------------------------

SIGNED = [
    f"https://storage.googleapis.com/b/o.png?X-Goog-Date=2026&X-Goog-Signature={CANARY}&X-Goog-Expires=900",
    f"https://storage.googleapis.com/b/o.png?X-Goog-Credential={CANARY}%2F2026%2Fauto",
    f"https://b.s3.amazonaws.com/o?X-Amz-Security-Token={CANARY}%3D%3D&x-amz-signature={CANARY}&x=1",
    f"https://b.s3.amazonaws.com/o?AWSAccessKeyId={CANARY}&Signature={CANARY}%2B&Expires=1",
    f"https://a.blob.core.windows.net/o?sv=2026&sig={CANARY}%2F",
    f"HTTPS://d.cloudfront.net/o?Policy={CANARY}~&Key-Pair-Id={CANARY}",
    f"http://h/o?a=b#access_token={CANARY}",
    f"https://h/o?token={CANARY}",
    f"https://h/o?url=https%3A%2F%2Fh%3Fsig%3D{CANARY}",
]


@pytest.mark.parametrize("link", SIGNED)
@pytest.mark.parametrize("escape", [{}, {"&": r"\u0026", "=": r"\u003d", "?": r"\u003f"}, {"/": r"\/"}])
def test_signatures_are_blanked_in_what_is_kept_and_true_in_the_link(link, escape):
    """However the JSON writes a signed URL, its secret stays in memory only, and all else stays as it was."""
    document = json.dumps(row(_links={"content": link}, prompt=f"like {link} please"))
    for character, written in escape.items():
        document = document.replace(character, written)
    (image,) = wire.decode_page(body(document.encode()), "w").images
    assert image.content == link
    assert CANARY not in image.document.decode()
    assert CANARY not in str(image.prompt)
    kept = json.loads(image.document)
    assert kept["_links"]["content"].startswith(link[:12])
    assert "REDACTED" in kept["_links"]["content"]
    assert {**kept, "_links": None, "prompt": None} == {**row(), "_links": None, "prompt": None}


@pytest.mark.parametrize("ampersand", ["&", r"\u0026"])
def test_only_the_value_of_a_signature_is_blanked(ampersand):
    """The parameters around it, and whatever follows the URL, stay byte for byte."""
    document = f'{{ "id":"a", "_links":{{"content":"https:\\/\\/h/o?x=1{ampersand}sig=%s{ampersand}y=2"}},\n"z":[1] }}'
    (image,) = wire.decode_page(body((document % CANARY).encode()), "w").images
    assert image.document.decode() == document % "REDACTED"


@pytest.mark.parametrize(
    "prompt",
    [
        "what?token=5&sig=7",
        "https://h/design?assignee=me&page=2",
        "see https://h/x and ask: who?signature=me",
        "https://h/tokens/sig=1",
        'a "quoted https://h/" word',
    ],
)
def test_documents_without_signed_urls_are_not_touched(prompt):
    """Words that only look like a signature are the user's words."""
    document = json.dumps(row(prompt=prompt)).encode()
    assert signatures.without_signatures(document) is document
