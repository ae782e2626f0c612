"""Say where a request may go, and whether it may carry the token.

Two questions with two answers. A *URL* is judged on every hop, before anything is sent (`Perimeter.judge`): the
token goes to the API's own origin only, other origins are allowed only if the configuration names them. An
*address* is judged when a name has been resolved (`PublicResolver`), so that a name cannot lead us into the network
we stand in. Following redirects is left to the transport, reading links to `links`.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urljoin

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from syncer.errors import Refused
from syncer.service import links

_HOST = re.compile(r"[a-z0-9._-]+|[0-9a-f:.]+")
_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")
_NAT64 = IPv6Network("64:ff9b::/96")


class Trust(Enum):
    """What a request to an origin may carry."""

    API = "with the token"
    FOREIGN = "without any credential"


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port, normalised so that equal origins are equal values."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        return _spelled(self.scheme, self.host, self.port)

    @property
    def is_local(self) -> bool:
        """Whether the host is written as loopback: `localhost`, `127.0.0.1`, `[::1]`."""
        literal = literal_address(self.host)
        return self.host == "localhost" or (literal is not None and unwrapped(literal).is_loopback)


@lru_cache(maxsize=1024)
def _spelled(scheme: str, host: str, port: int) -> str:
    bracketed = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}[scheme]
    return f"{scheme}://{bracketed}" + ("" if port == default else f":{port}")


def origin_of(url: URL | str) -> Origin:
    """Read the origin of an absolute URL; `Refused` where there is none that could be asked."""
    try:
        parsed = url if isinstance(url, URL) else URL(url)
        return _origin(parsed.scheme, parsed.raw_host or "", parsed.port)
    except ValueError:
        raise Refused("broken address") from None  # yarl repeats the URL, signature included


@lru_cache(maxsize=1024)  # every request asks, and there are few origins
def _origin(scheme: str, raw_host: str, port: int | None) -> Origin:
    """Read what yarl made of a URL. Raises `ValueError` as yarl does."""
    scheme = scheme.lower()
    # Building anew lower-cases, encodes international names and shortens IPv6, also where the URL was "encoded".
    host = (URL.build(scheme="http", host=raw_host).raw_host or "").removesuffix(".")
    if scheme not in ("http", "https") or port is None or not _HOST.fullmatch(host):
        raise Refused("broken address")
    if _NUMBER.fullmatch(host.rpartition(".")[2]) and literal_address(host) is None:
        raise Refused("broken address")  # 127.1, 0x7f.1: resolvers read these as addresses, we do not
    return Origin(scheme, host, port)


def public(url: URL) -> dict[str, Any]:
    """What may be said of a URL in an error or a log: no query, no fragment, no user."""
    return {"origin": str(origin_of(url)), "path": url.raw_path}


def redirected(url: URL, location: str | None) -> URL:
    """Read a redirect's `Location` relative to the URL that answered."""
    if not location or not location.isprintable():
        raise Refused("a redirect without a usable target", **public(url))
    try:
        absolute = urljoin(str(url), location.strip())
    except ValueError:
        raise Refused("a redirect without a usable target", **public(url)) from None
    return links.content_links(absolute, str(url.origin()))[0].with_fragment(None)


# --- addresses ----------------------------------------------------------------------------------------


Address = IPv4Address | IPv6Address


@lru_cache(maxsize=1024)
def literal_address(host: str) -> Address | None:
    """The address that a host is written as, or None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def unwrapped(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one that only carries it; other addresses as they are."""
    if isinstance(address, IPv6Address):
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFF_FFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address


def is_never_asked(address: Address) -> bool:
    """Link-local (cloud metadata lives there), multicast, unspecified, reserved: no image is ever there."""
    address = unwrapped(address)
    if address.is_loopback:  # which Python also counts as reserved in IPv6
        return False
    return address.is_link_local or address.is_multicast or address.is_unspecified or address.is_reserved


# --- the rules ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Perimeter:
    """The origins that the configuration names, and what follows from them."""

    api: Origin
    token: Origin
    content: frozenset[Origin]

    @classmethod
    def of(cls, url: str, token_url: str, content_origins: Iterable[str]) -> Perimeter:
        """Read the origins of the configuration."""
        return cls(origin_of(url), origin_of(token_url), frozenset(map(origin_of, content_origins)))

    def judge(self, url: URL, previous: URL | None = None) -> Trust:
        """Say how the content at `url` may be asked for, having come there from `previous`; `Refused` if not at all."""
        origin = origin_of(url)
        if url.raw_user is not None or url.raw_password is not None:
            raise Refused("an address with a user name in it is not followed", **public(url))
        self._check_literal(origin)
        if origin != self.api and origin not in self.content:
            raise Refused(
                "the content is at an origin that the configuration does not name",
                origin=str(origin),
                hint=f'add "{origin}" to service.content_origins if you trust it',
            )
        came_from = self.api if previous is None else origin_of(previous)
        if came_from.scheme == "https" and origin.scheme == "http" and not origin.is_local:
            raise Refused("the way to the content goes from https to http", origin=str(origin))
        return Trust.API if origin == self.api else Trust.FOREIGN

    def judge_api(self, url: URL, previous: URL | None = None) -> Trust:
        """Say the same for a call of the API, which never leaves its origin."""
        origin = origin_of(url)
        self._check_literal(origin)
        if origin != self.api or url.raw_user is not None or url.raw_password is not None:
            raise Refused(
                "the service sends its API calls to another origin",
                origin=str(origin),
                hint="set service.url to the address that the service really has",
            )
        return Trust.API

    def admits(self, host: str, address: Address) -> bool:
        """Say whether a connection to `host` may go to this address, which it is written as or resolves to.

        What the configuration names may be in a private network, for it was written down by somebody who knows.
        Loopback is stricter: a content origin's *name* that leads there is a trap, not a wish.
        """
        host = host.lower().removesuffix(".")
        if is_never_asked(address):
            return False
        if unwrapped(address).is_global:
            return True
        if host in (self.api.host, self.token.host):
            return True
        if not any(host == origin.host for origin in self.content):
            return False
        return host == "localhost" or literal_address(host) is not None or not unwrapped(address).is_loopback

    def _check_literal(self, origin: Origin) -> None:
        # aiohttp asks a resolver for names only, so that addresses have to be looked at here.
        literal = literal_address(origin.host)
        if literal is not None and not self.admits(origin.host, literal):
            raise Refused("the address is inside a network that content may not come from", origin=str(origin))


class PublicResolver(AbstractResolver):
    """Resolve names by another resolver and pass on only the addresses that the perimeter admits."""

    def __init__(self, perimeter: Perimeter, resolver: AbstractResolver) -> None:
        self._perimeter = perimeter
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Resolve `host`; `Refused` where all its addresses are ones that we do not go to."""
        found = await self._resolver.resolve(host, port, family)
        admitted = [result for result in found if self._perimeter.admits(host, ip_address(result["host"]))]
        if found and not admitted:
            raise Refused("the name leads into a network that content may not come from", host=host)
        return admitted

    async def close(self) -> None:
        """Close the resolver underneath."""
        await self._resolver.close()
