"""Where a request may go, and whether it may carry the token."""

from __future__ import annotations

import socket
from ipaddress import ip_address

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from syncer.errors import Refused
from syncer.service.addresses import Origin, Perimeter, PublicResolver, Trust, origin_of, redirected

STORE = "https://storage.googleapis.com"


def perimeter(url="https://app.example.com/api", token="https://id.example.com/t", content=(STORE,)) -> Perimeter:
    return Perimeter.of(url, token, content)


def encoded(text: str) -> URL:
    return URL(text, encoded=True)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("https://App.Example.COM/x", "https://app.example.com:443/y?z"),
        ("http://app.example.com.", "HTTP://app.example.com:80"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        ("http://[0:0::1]:8080", "http://[::1]:8080/"),
    ],
)
def test_spellings_of_one_origin_are_equal(one, other):
    """Case, default ports, a final dot, international names and IPv6 forms do not make another origin."""
    assert origin_of(one) == origin_of(other)
    assert str(origin_of(one)) == str(origin_of(other))


@pytest.mark.parametrize(
    "text",
    [
        "ftp://app.example.com/",
        "https:///path",
        "/path",
        "",
        "https://a:99999/",
        "http://127.1/",
        "http://0x7f.1/",
        "http://2130706433/",
        "http://ex%61mple.com/",
        "http://a b/",
        "http://[::1",
    ],
)
def test_what_names_no_host_is_refused(text):
    """No scheme of ours, no host, or an address in disguise: there is no origin to judge."""
    with pytest.raises(Refused):
        origin_of(text)


def test_token_goes_to_the_api_only():
    """The API's own origin is asked with the token, an allowed content origin without any credential."""
    rules = perimeter()

    assert rules.judge(encoded("https://app.example.com:443/api/x")) is Trust.API
    assert rules.judge(encoded(f"{STORE}/bucket/x?X-Goog-Signature=abc")) is Trust.FOREIGN


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example.com/x",
        "https://app.example.com.evil.com/x",
        "https://app.example.com:8443/x",
        "http://app.example.com/x",
        "https://id.example.com/x",
    ],
)
def test_origin_that_is_not_named_is_refused(url):
    """Another host, port or scheme is another origin; the hint says what to add, the query stays out of it."""
    with pytest.raises(Refused) as caught:
        perimeter().judge(encoded(f"{url}?sig=SECRET"))

    assert f'add "{origin_of(url)}" to service.content_origins' in caught.value.hint
    assert "SECRET" not in repr(caught.value.facts) + caught.value.hint + str(caught.value)


def test_credentials_in_a_url_are_not_sent():
    """A user name in an address would become a header, whoever wrote it there."""
    for judge in (perimeter().judge, perimeter().judge_api):
        with pytest.raises(Refused) as caught:
            judge(encoded("https://canary:canary@app.example.com/x"))
        assert "canary" not in str(caught.value)


def test_https_does_not_lead_to_http():
    """An http origin is not followed from https even where it is allowed, for the way there can be forged."""
    rules = perimeter(content=("http://cdn.example.com",))

    with pytest.raises(Refused, match="https to http"):
        rules.judge(encoded("http://cdn.example.com/x"))
    assert perimeter(url="http://app.example.com", content=("http://cdn.example.com",)).judge(
        encoded("http://cdn.example.com/x")
    )


def test_configured_loopback_may_be_http():
    """For trying things out, http on loopback is followed from https, if the configuration names it."""
    with pytest.raises(Refused):
        perimeter().judge(encoded("http://127.0.0.1:9000/x"))
    assert perimeter(content=("http://127.0.0.1:9000",)).judge(encoded("http://127.0.0.1:9000/x")) is Trust.FOREIGN


def test_api_calls_stay_with_the_api():
    """A page is never read from a content origin, allowed as it is for pictures."""
    with pytest.raises(Refused, match="another origin"):
        perimeter().judge_api(encoded(f"{STORE}/x"))


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "224.0.0.1", "0.0.0.0", "240.0.0.1", "fe80::1", "::", "ff02::1"]
)
@pytest.mark.parametrize("carried", ["{}", "::ffff:{}", "64:ff9b::{}"])
def test_some_addresses_are_never_asked(address, carried):
    """Link-local, multicast, unspecified and reserved are out even where the configuration names them."""
    if ":" in address and carried != "{}":
        return
    text = carried.format(address)
    host = f"[{text}]" if ":" in text else text
    rules = perimeter(url=f"http://{host}", content=(f"http://{host}",))

    assert not rules.admits(text, ip_address(text))
    for judge in (rules.judge, rules.judge_api):
        with pytest.raises(Refused):
            judge(encoded(f"http://{host}/x"))


@pytest.mark.parametrize("address", ["10.0.0.7", "127.0.0.1", "192.168.1.1", "::1", "fd00::1", "::ffff:10.0.0.7"])
def test_private_addresses_need_to_be_configured(address):
    """The API's host may be in our own network; a name that nobody configured must not lead there."""
    private = ip_address(address)

    assert perimeter().admits("app.example.com", private)
    assert perimeter().admits("id.example.com", private)
    assert not perimeter().admits("other.example.com", private)


def test_named_content_origin_does_not_lead_to_loopback():
    """A configured name may be in a private network, but one that resolves to this machine is a trap."""
    rules = perimeter(content=("https://cdn.example.com", "http://localhost:9000", "http://10.0.0.9"))

    assert rules.admits("cdn.example.com", ip_address("10.1.2.3"))
    assert not rules.admits("cdn.example.com", ip_address("127.0.0.1"))
    assert rules.admits("localhost", ip_address("127.0.0.1"))
    assert rules.admits("10.0.0.9", ip_address("10.0.0.9"))


class Names(AbstractResolver):
    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(self, host, port=0, family=socket.AF_UNSPEC):
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in self.addresses
        ]

    async def close(self):
        pass


async def test_resolver_passes_on_what_is_admitted():
    """Of several addresses only the admitted ones are connected to; with none left, the name is refused."""
    mixed = PublicResolver(perimeter(), Names("169.254.169.254", "142.250.1.1"))
    trap = PublicResolver(perimeter(), Names("127.0.0.1", "::1"))

    assert [found["host"] for found in await mixed.resolve("storage.googleapis.com", 443)] == ["142.250.1.1"]
    with pytest.raises(Refused, match="leads into a network"):
        await trap.resolve("storage.googleapis.com", 443)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/b?x=%2F&y=a+b", "https://h.example/b?x=%2F&y=a+b"),
        ("c", "https://h.example/a/c"),
        ("?q", "https://h.example/a/b?q"),
        ("//o.example/x", "https://o.example/x"),
        ("https://o.example?Signature=a%2fb/c==#part", "https://o.example/?Signature=a%2fb/c=="),
    ],
)
def test_location_is_read_relative_to_what_answered(location, target):
    """A redirect may be relative; a signed query is kept to the letter, a fragment is not for servers."""
    assert str(redirected(encoded("https://h.example/a/b"), location)) == target


@pytest.mark.parametrize(
    "location", [None, "", "ftp://x/", "javascript:alert(1)", "https://u:p@h/", "/a\x00b", "http://[", "\udcff"]
)
def test_unusable_location_is_refused(location):
    """A redirect to nowhere, to another kind of place, or with credentials in it is not followed."""
    with pytest.raises(Refused):
        redirected(encoded("https://h.example/a"), location)


@given(st.text(min_size=1, max_size=40))
def test_no_text_gets_past_the_rules(text):
    """Whatever a service writes into a link or a redirect, it is refused or asked at an origin that we named."""
    rules = perimeter()
    for place in (f"https://{text}", f"https://app.example.com{text}", text):
        try:
            url = redirected(encoded("https://app.example.com/api"), place)
            trust = rules.judge(url)
        except Refused:
            continue
        assert isinstance(origin_of(url), Origin)
        assert origin_of(url) == (rules.api if trust is Trust.API else origin_of(STORE))
