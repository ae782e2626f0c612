"""`sidecar`: what is rendered can be read, and the document's spelling survives."""

import json
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncer.archive.sidecar import compact, read, render
from syncer.errors import Damaged
from syncer.model import Revision

REVISION = Revision(
    workspace_id="ws",
    image_id="a/b",
    number=2,
    sha256="ab" * 32,
    size=10,
    media_type="image/png",
    path="ws/2026/03/01/a=2fb.r2.png",
    sidecar="ws/2026/03/01/a=2fb.r2.json",
    fetched_at="2026-11-22T12:00:00.000Z",
    run="r1",
    document=b'{"id":"a/b"}',
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.decimals(allow_nan=False, allow_infinity=False) | st.text("aé\n😀"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('aé"\\', max_size=3), inner, max_size=4),
    max_leaves=12,
)


def exact(data):
    return json.loads(data, parse_float=Decimal, parse_int=Decimal)


class Spelled(float):
    """A number that `json` writes as it is told."""

    def __init__(self, value):
        self.spelling = str(value)

    def __repr__(self):
        return self.spelling


def test_reads_what_it_rendered():
    """A sidecar gives its revision back."""
    assert read(render(REVISION), REVISION.sidecar) == REVISION


def test_numbers_keep_their_spelling():
    """A seed of thirty digits and a trailing zero are the service's words, not ours to round."""
    document = b'{"seed":123456789012345678901234567890,"scale":1.10,"e":1E5,"text":"\\u00e9\\/ \xc3\xa9"}'
    data = render(replace(REVISION, document=document))
    assert b"123456789012345678901234567890" in data
    assert b"1.10" in data
    assert read(data, REVISION.sidecar).document == document


@given(VALUES)
def test_any_document_survives(value):
    """Whatever JSON the service sends, its content is the same afterwards."""
    document = json.dumps(value, default=str).encode()
    back = read(render(replace(REVISION, document=document)), REVISION.sidecar).document
    assert exact(back) == exact(document)


def test_it_is_for_people():
    """A person can read a sidecar, document included, line by line."""
    lines = render(REVISION).decode().splitlines()
    assert lines[1] == '  "format": 1,'
    assert '    "id": "a/b"' in lines


@pytest.mark.parametrize("document", [b"", b"{", b"[]x", b"\xff", b'{"a":"\xff"}', b"[" * 5000 + b"]" * 5000])
def test_only_json_is_embedded(document):
    """A document that is not JSON is refused before it spoils a sidecar."""
    with pytest.raises(Damaged, match="not JSON"):
        render(replace(REVISION, document=document))


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"revision": 0},
        {"bytes": "many"},
        {"sha256": "short"},
        {"file": "../../etc/passwd"},
        {"file": ".."},
        {"file": ""},
    ],
)
def test_nonsense_is_damage(change):
    """A sidecar that says what cannot be, or points out of its folder, is not believed."""
    fields = json.loads(render(REVISION)) | change
    with pytest.raises(Damaged):
        read(json.dumps(fields).encode(), "ws/x.json")


@pytest.mark.parametrize("cut", [0, 1, 50, -10])
def test_a_torn_sidecar_is_damage(cut):
    """Half a sidecar is none."""
    with pytest.raises(Damaged):
        read(render(REVISION)[:cut], "ws/x.json")


def test_white_space_does_not_make_another_document():
    """Two documents are compared without their indentation."""
    assert compact(b'{ "a" : [1, 2] }') == compact(b'{"a":[1,2]}')
