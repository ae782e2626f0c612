"""Say in URLs what we ask of the service, and where its content links may point. No I/O, no log.

Whether an address may be asked, and whether the token may go there, is left to `addresses`.
"""

from __future__ import annotations

import re
from functools import lru_cache
from urllib.parse import quote

from yarl import URL

from syncer.errors import Refused

# --- what we ask --------------------------------------------------------------------------------------


def images_page_url(base: str, workspace_id: str, number: int, size: int) -> URL:
    """One page of a workspace's images, newest first; `number` counts from 1."""
    path = f"/image-service/v1/workspaces/{_segment(workspace_id)}/images"
    return URL(f"{base}{path}?page={number}&size={size}", encoded=True)


def image_url(base: str, workspace_id: str, image_id: str) -> URL:
    """One image's own document."""
    path = f"/image-service/v1/workspaces/{_segment(workspace_id)}/images/{_segment(image_id)}"
    return URL(f"{base}{path}", encoded=True)


def workspaces_page_url(base: str, number: int, size: int) -> URL:
    """One page of the workspaces that the credentials can reach."""
    return URL(f"{base}/workspace-service/v1/workspaces?page={number}&size={size}", encoded=True)


def workspace_url(base: str, workspace_id: str) -> URL:
    """One workspace's own document."""
    return URL(f"{base}/workspace-service/v1/workspaces/{_segment(workspace_id)}", encoded=True)


def _segment(text: str) -> str:
    """Encode an id as exactly one path segment; `.` and `..` would otherwise walk to another resource."""
    return quote(text, safe="") if text.strip(".") else text.replace(".", "%2E")


# --- links --------------------------------------------------------------------------------------------

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_ABSOLUTE = re.compile(r"(https?)://([^/?#]*)(.*)", re.IGNORECASE | re.DOTALL)
_ILLEGAL = re.compile(r"[^A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]|%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def content_links(link: str, base: str) -> tuple[URL, ...]:
    """Say where a content link may point, the likeliest first; the next is worth asking after a 404 only.

    The documentation leaves open whether links are absolute, relative to the host or to the base URL. A signed
    URL is not touched: a character that is quoted anew breaks the signature.
    """
    link = link.strip(" ")
    if not link:
        raise Refused("no content link")
    if not (link.isascii() and link.isprintable()) and (_CONTROL.search(link) or not _encodable(link)):
        raise _broken("a control character")
    if _SCHEME.match(link):
        candidates = [link]
    else:
        root = URL(base, encoded=True)
        host = f"{root.scheme}://{root.raw_authority}"
        along = link.startswith("//")
        candidates = [f"{root.scheme}:{link}"] if along else _relative(link, base, host, root.raw_path.rstrip("/"))
    return tuple(_address(candidate) for candidate in dict.fromkeys(candidates))


def _relative(link: str, base: str, host: str, prefix: str) -> list[str]:
    if not link.startswith("/"):
        return [f"{base}/{link}", *_relative(f"/{link}", base, host, prefix)]
    if prefix and link.startswith(f"{prefix}/"):
        return [host + link]
    if link.startswith(("/image-service/", "/workspace-service/")):
        return [base + link, host + link]
    if link.startswith("/v1/"):
        return [f"{base}/image-service{link}", base + link, host + link]
    return [host + link, base + link]


def _address(text: str) -> URL:
    found = _ABSOLUTE.fullmatch(text)
    if found is None:
        raise _broken("neither http nor https")
    scheme, authority, rest = found.groups()
    site = _site(scheme.lower(), authority)
    if _ILLEGAL.search(rest) is not None:
        rest = _ILLEGAL.sub(lambda character: quote(character.group(), safe=""), rest)
    if not rest.startswith("/"):
        rest = f"/{rest}"
    return URL(f"{site}{rest}", encoded=True)


@lru_cache(maxsize=256)  # the same for all of a service's links
def _site(scheme: str, authority: str) -> str:
    if "@" in authority:
        raise _broken("a name or password in it")
    try:
        site = URL(f"{scheme}://{authority}")  # writes the host as IDNA
    except ValueError as error:
        raise _broken("not an address") from error
    if not site.raw_host or _ILLEGAL.search(site.raw_host.replace("%", "")):
        raise _broken("no host that could be asked")
    return f"{site.scheme}://{site.raw_authority}"


def _broken(reason: str) -> Refused:
    return Refused("broken content link", reason=reason)


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
