"""What we ask of the service, and where its content links may point."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncer.errors import Refused
from syncer.service import links

BASE = "https://app.neuroflash.com/api"
CANARY = "c4n4ry" * 8

# --- what we ask --------------------------------------------------------------------------------------


def test_pages_and_documents_are_asked_under_the_base_url():
    """Each call of the documentation has its URL, below whatever base was configured."""
    assert [
        str(links.images_page_url(BASE, "w", 3, 200)),
        str(links.image_url(BASE, "w", "i")),
        str(links.workspaces_page_url(BASE, 1, 50)),
        str(links.workspace_url("http://127.0.0.1:8080", "w")),
    ] == [
        f"{BASE}/image-service/v1/workspaces/w/images?page=3&size=200",
        f"{BASE}/image-service/v1/workspaces/w/images/i",
        f"{BASE}/workspace-service/v1/workspaces?page=1&size=50",
        "http://127.0.0.1:8080/workspace-service/v1/workspaces/w",
    ]


@given(st.text(min_size=1) | st.sampled_from([".", "..", "...", "a/../b", "a?b#c", "%2e", "ä ö", "a\\b"]))
def test_every_id_is_one_path_segment_that_reads_back(name):
    """Whatever an id holds, it stays one segment of the path, and no segment that means another place."""
    path = links.image_url(BASE, "w", name).raw_path
    head, _, segment = path.rpartition("/")
    assert head == "/api/image-service/v1/workspaces/w/images"
    assert segment not in (".", "..")
    assert unquote(segment) == name


# --- links --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("link", "places"),
    [
        ("https://h/x?a=b", ["https://h/x?a=b"]),
        ("HTTP://h", ["http://h/"]),
        ("//h/x", ["https://h/x"]),
        ("/api/image-service/v1/x", [f"{BASE}/image-service/v1/x"]),
        ("/image-service/v1/x", [f"{BASE}/image-service/v1/x", "https://app.neuroflash.com/image-service/v1/x"]),
        ("/v1/x", [f"{BASE}/image-service/v1/x", f"{BASE}/v1/x", "https://app.neuroflash.com/v1/x"]),
        ("/x", ["https://app.neuroflash.com/x", f"{BASE}/x"]),
        ("x/y", [f"{BASE}/x/y", "https://app.neuroflash.com/x/y"]),
        ("v1/x", [f"{BASE}/v1/x", f"{BASE}/image-service/v1/x", "https://app.neuroflash.com/v1/x"]),
        ("/apix", ["https://app.neuroflash.com/apix", f"{BASE}/apix"]),
    ],
)
def test_a_relative_link_may_be_meant_in_several_ways(link, places):
    """The likeliest reading comes first, and each comes once."""
    assert [str(place) for place in links.content_links(link, BASE)] == places


def test_without_a_path_in_the_base_there_is_less_to_guess():
    """Readings that come to the same address are one."""
    assert [str(place) for place in links.content_links("/x", "http://127.0.0.1:8080")] == ["http://127.0.0.1:8080/x"]


@pytest.mark.parametrize(
    ("link", "asked"),
    [
        ("https://h/a%2Fb%20c?s=a+b%2B%3d&t=/:@!$'()*,;[]~", "https://h/a%2Fb%20c?s=a+b%2B%3d&t=/:@!$'()*,;[]~"),
        ("https://h/ä b/%zz?q=|%", "https://h/%C3%A4%20b/%25zz?q=%7C%25"),
        ("https://bücher.example/x", "https://xn--bcher-kva.example/x"),
        ("http://[::1]:8080/x", "http://[::1]:8080/x"),
    ],
)
def test_a_signed_url_is_asked_as_it_is(link, asked):
    """Legal characters stay as they were written, or the signature breaks; only illegal ones are quoted."""
    (place,) = links.content_links(link, BASE)
    assert f"{place.scheme}://{place.raw_authority}{place.raw_path_qs}" == asked


@pytest.mark.parametrize(
    "link",
    [
        "ftp://h/x",
        "file:///etc/passwd",
        "data:image/png;base64,AA",
        "javascript:alert(1)",
        "https:x",
        "https://",
        "https:///x",
        "///x",
        "https://?x",
        "https://h:99999/",
        "https://h:port/",
        "https://[::1/",
        "https://exa mple/",
        "https://h\\.example/",
        f"https://user:{CANARY}@h/",
        f"https://{CANARY}@h/",
        f"//{CANARY}@h/",
        f"https://h/\r\nX-Evil: {CANARY}",
        f"https://h/\x00?sig={CANARY}",
        f"ftp://h/?sig={CANARY}",
        "\ud800",
    ],
)
def test_a_link_that_cannot_be_followed_is_refused_without_repeating_it(link):
    """Other schemes, names and passwords, control characters and missing hosts are no places to ask."""
    with pytest.raises(Refused, match="broken content link") as caught:
        links.content_links(link, BASE)
    assert CANARY not in f"{caught.value} {caught.value!r} {caught.value.facts}"


@pytest.mark.parametrize("link", ["", "  "])
def test_an_empty_link_is_no_link(link):
    """There is nothing to guess about an empty link."""
    with pytest.raises(Refused, match="no content link"):
        links.content_links(link, BASE)


@given(st.text())
def test_any_link_is_an_address_or_refused(link):
    """Whatever a document holds as a link, it never breaks us, and never becomes another scheme."""
    try:
        places = links.content_links(link, BASE)
    except Refused:
        return
    for place in places:
        assert place.scheme in ("http", "https")
        assert place.raw_host
        assert place.user is None
        assert str(place).isascii()
